"""The replica's HTTP, without Ray Serve around it and with engines that only answer."""

from collections.abc import AsyncGenerator, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serve_app import replica as replica_module
from serve_app.contract import (
    Event,
    Failed,
    GenerateRequest,
    ModelStatus,
    Prompt,
    Queued,
    Succeeded,
    Turn,
    encode_request,
    read_frames,
)
from serve_app.errors import BadRequest, EngineFailed, PolicyMismatch
from serve_app.replica import FRAMES, Replica, application
from tests.told import told

SECRET = "t" * 40
REQUEST = GenerateRequest("j", "m", "d", Prompt("a dog"), 1, 64, 64, 4, 1.0, 7, Turn("anonymous", "t", 1.0, 60.0))


class Engines:
    """Answers with `story`; `left` says that the caller went before its end."""

    def __init__(self) -> None:
        self.story: list[Event] = [Queued(0, 1.0), Succeeded()]
        self.is_ready = True
        self.is_draining = False
        self.left = False
        self.bug: Exception | None = None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        assert request == REQUEST
        try:
            for event in self.story:
                yield event
            if self.bug:
                raise self.bug
        except GeneratorExit:
            self.left = True
            raise

    async def status(self, model: str) -> ModelStatus:
        return ModelStatus(model, self.is_ready, 0, 0, 24.0, 0.1, 4)

    def drain(self) -> None:
        self.is_draining = True


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def replica(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Replica:
    build: Callable[..., Engines] = lambda *_: engines  # noqa: E731
    monkeypatch.setattr(replica_module, "build_engines", build)
    monkeypatch.setattr(replica_module, "configure_logging", lambda _: None)  # this process is pytest's
    monkeypatch.setenv("SFUMATO_SERVE_SECRET", SECRET)
    return Replica("m")


async def call(replica: Replica, method: str, name: str, body: bytes = b"", bearer: str = SECRET) -> Response:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"authorization", f"Bearer {bearer}".encode())]
    scope = {"type": "http", "method": method, "path": f"/m/m/{name}", "headers": headers, "query_string": b""}
    return await replica(Request(scope, receive))


async def events_of(reply: Response) -> list[Event]:
    assert isinstance(reply, StreamingResponse)
    assert reply.media_type == FRAMES
    return [event async for event in read_frames(reply.body_iterator)]


async def test_a_request_is_answered_by_a_stream_of_frames(replica: Replica, engines: Engines):
    reply = await call(replica, "POST", "generate", encode_request(REQUEST))
    assert (reply.status_code, await events_of(reply)) == (200, engines.story)


async def test_a_client_that_leaves_ends_its_request(replica: Replica, engines: Engines):
    reply = await call(replica, "POST", "generate", encode_request(REQUEST))
    assert isinstance(reply, StreamingResponse)
    await anext(reply.body_iterator)
    await reply.body_iterator.aclose()
    assert engines.left


@pytest.mark.parametrize("story", [[], [Queued(0, 1.0)]], ids=["at once", "in its stream"])
async def test_a_bug_is_told_by_its_kind_and_its_text_never_leaves_the_replica(
    replica: Replica, engines: Engines, story: list[Event]
):
    engines.story, engines.bug = story, ZeroDivisionError("canary")
    with told() as lines:
        reply = await call(replica, "POST", "generate", encode_request(REQUEST))
        if story:
            *_, last = await events_of(reply)
            assert isinstance(last, Failed)
            assert last.code == EngineFailed.code
        else:
            assert (reply.status_code, bytes(reply.body)) == (500, b"")
    [line] = [line for line in lines if line["logger"] == "serve_app.replica"]
    assert line["exception"] == ["ZeroDivisionError"]
    assert "canary" not in str(lines)


@pytest.mark.parametrize("bearer", ["", "another", SECRET + "t"])
@pytest.mark.parametrize("route", [("POST", "generate"), ("GET", "status"), ("POST", "drain")])
async def test_nobody_gets_in_without_the_secret(
    replica: Replica, engines: Engines, bearer: str, route: tuple[str, str]
):
    reply = await call(replica, *route, encode_request(REQUEST), bearer)
    assert (reply.status_code, engines.is_draining) == (401, False)


@pytest.mark.parametrize("route", [("GET", "generate"), ("POST", "status"), ("GET", "drain"), ("GET", "metrics")])
async def test_there_is_nothing_else(replica: Replica, route: tuple[str, str]):
    assert (await call(replica, *route)).status_code == 404


async def test_a_body_that_is_no_request_is_a_400_that_does_not_quote_it(replica: Replica):
    reply = await call(replica, "POST", "generate", b"an unmistakable prompt")
    assert (reply.status_code, reply.media_type) == (400, FRAMES)
    assert BadRequest.code.encode() in bytes(reply.body)
    assert b"unmistakable" not in bytes(reply.body)


async def test_other_policies_are_a_503_and_other_refusals_are_in_the_stream(replica: Replica, engines: Engines):
    for code, status in ((PolicyMismatch.code, 503), ("overloaded", 200)):
        engines.story = [Failed(code, "…", 5.0)]
        reply = await call(replica, "POST", "generate", encode_request(REQUEST))
        assert (reply.status_code, await events_of(reply)) == (status, engines.story)


async def test_draining_is_asked_for_and_begun(replica: Replica, engines: Engines):
    assert (await call(replica, "POST", "drain")).status_code == 202
    assert engines.is_draining


async def test_a_replica_that_cannot_serve_is_not_healthy(replica: Replica, engines: Engines):
    await replica.check_health()
    engines.is_ready = False
    with pytest.raises(RuntimeError, match="denoising"):
        await replica.check_health()


def test_a_machine_without_the_secret_serves_nothing(replica: Replica, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SFUMATO_SERVE_SECRET")
    with pytest.raises(ValueError, match="SFUMATO_SERVE_SECRET is not set on this machine"):
        Replica("m")


def test_a_replica_asks_ray_for_what_its_model_needs():
    deployment = application({"model": "m", "num_gpus": "0.5"})._bound_deployment
    assert deployment.ray_actor_options == {"num_cpus": 1.0, "num_gpus": 0.5}
