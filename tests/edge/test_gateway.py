"""The gateway against a scripted HTTP server: what it does when the other side breaks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.compose_edge import build_services
from edge.app import create_app
from edge.gateway import RayServeGateway
from serve_app.contract import (
    Event,
    Failed,
    GenerateRequest,
    Image,
    Prompt,
    Queued,
    Step,
    Succeeded,
    Turn,
    decode_request,
    frame,
)
from serve_app.errors import ModelUnavailable
from serve_app.storage.store import ObjectStore, put_image
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL

FRAMES = "application/vnd.sfumato.frames"
REQUEST = GenerateRequest(
    "j", "m", "digest", Prompt("a dog"), 2, 64, 64, 4, 1.0, 7, Turn("anonymous", "t", 1.0, 60.0), inline=True
)


def image(index: int) -> Image:
    return Image(index, 7 + index, 64, 64, data=b"x")


class Script:
    """Answers each connection with the next reply; `whole` says whether the stream ends properly."""

    def __init__(self, *replies: tuple[list[Event], bool], status: int = 200, content_type: str = FRAMES) -> None:
        self.replies = list(replies)
        self.status = status
        self.content_type = content_type
        self.requests: list[GenerateRequest] = []
        self.authorizations: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        self.authorizations.append(fields.get("authorization", ""))
        self.requests.append(decode_request(await reader.readexactly(int(fields.get("content-length", 0)))))
        events, is_whole = await self.next_reply(self.requests[-1])
        writer.write(
            f"HTTP/1.1 {self.status} X\r\n"
            f"content-type: {self.content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        for event in events:
            data = frame(event)
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if is_whole:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def next_reply(self, request: GenerateRequest) -> tuple[list[Event], bool]:
        return self.replies.pop(0)


class Replicas(Script):
    """Each attempt stores all its images for real, a minute after the one before. `told` says of how many the caller
    hears before the stream breaks; None leaves the stream open until `hold` is set."""

    def __init__(self, store: ObjectStore, clock: Clock, *told: int | None) -> None:
        super().__init__()
        self.told = list(told)
        self.hold = asyncio.Event()
        self.stored = asyncio.Event()
        self._store = store
        self._clock = clock

    async def next_reply(self, request: GenerateRequest) -> tuple[list[Event], bool]:
        self._clock.advance(60)
        images = [await self._image(request, index) for index in range(request.n)]
        self.stored.set()
        told = self.told.pop(0)
        if told is None:
            await self.hold.wait()
        is_whole = told == request.n
        return [Queued(0, 1.0), *images[:told], *([Succeeded()] if is_whole else [])], is_whole

    async def _image(self, request: GenerateRequest, index: int) -> Image:
        assert request.store
        stored = await put_image(self._store, request.store, index, PIXEL, self._clock())
        return Image(
            index,
            request.seed + index,
            64,
            64,
            key=stored.key,
            delete_at=stored.delete_at,
            size_bytes=stored.size_bytes,
            digest=stored.digest,
        )


@asynccontextmanager
async def gateway(script: Script) -> AsyncIterator[RayServeGateway]:
    server = await asyncio.start_server(script.answer, "127.0.0.1", 0)
    made = RayServeGateway(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "secret")
    try:
        yield made
    finally:
        await made.close()
        server.close()


async def events_of(script: Script) -> list[Event]:
    async with gateway(script) as made:
        return [event async for event in made.generate(REQUEST)]


async def test_events_pass_through_and_the_secret_goes_along():
    story: list[Event] = [Queued(0, 1.0), Step(1, 8), image(0), image(1), Succeeded()]
    script = Script((story, True))
    assert await events_of(script) == story
    assert script.authorizations == ["bearer secret"]


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_replica_lost_mid_step_is_asked_once_more_and_no_image_comes_twice(is_whole: bool):
    script = Script(([Queued(0, 1.0), image(0)], is_whole), ([Queued(0, 1.0), image(0), image(1), Succeeded()], True))
    events = await events_of(script)
    assert [event.index for event in events if isinstance(event, Image)] == [0, 1]
    assert events[-1] == Succeeded(retried=True)
    assert script.requests == [REQUEST, REQUEST]


async def test_a_replica_lost_twice_is_a_failure_with_a_code():
    events = await events_of(Script(([Queued(0, 1.0)], False), ([], False)))
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "replica_lost"


async def test_a_refusal_of_the_replica_is_passed_on_and_not_repeated():
    refusal = Failed("policy_mismatch", "…", 5.0)
    script = Script(([refusal], True), status=503)
    assert await events_of(script) == [refusal]


async def test_an_answer_that_is_no_stream_means_the_model_is_not_served():
    events = await events_of(Script(([], True), status=404, content_type="text/plain"))
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "model_unavailable"


async def test_nobody_listening_means_the_model_is_not_served(unused_tcp_port_factory: Callable[[], int]):
    made = RayServeGateway(f"http://127.0.0.1:{unused_tcp_port_factory()}", "secret")
    events = [event async for event in made.generate(REQUEST)]
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "model_unavailable"
    with pytest.raises(ModelUnavailable):
        await made.status("m")
    await made.close()


# what is stored ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def edge_before(home: Path, *told: int | None) -> AsyncIterator[tuple[Edge, Replicas]]:
    """An edge with a gateway to such replicas, all on one store and one clock."""
    edge = make_edge(home, Clock())
    replicas = Replicas(edge.services.store, edge.clock, *told)
    async with gateway(replicas) as made:
        edge.services = build_services(edge.services.settings, edge.services.policies, made, clock=edge.clock)
        edge.app = create_app(edge.services)
        async with edge.opened():
            yield edge, replicas
        replicas.hold.set()


async def test_a_second_attempt_leaves_one_copy_of_each_image_and_deleting_leaves_none(tmp_path: Path):
    async with edge_before(tmp_path, 1, 2) as (edge, replicas):
        made = (await edge.draw(n=2)).json()["data"]
        assert len(replicas.requests) == 2
        assert len(await edge.services.store.keys("img/")) == 2
        for image in made:
            assert (await edge.client.get(image["url"])).content == PIXEL
            await edge.client.delete(image["url"])
        assert await edge.services.store.keys("img/") == []


async def test_two_lost_attempts_leave_nothing(tmp_path: Path):
    async with edge_before(tmp_path, 1, 0) as (edge, _):
        assert (await edge.draw(n=2)).json()["error"]["code"] == "replica_lost"
        assert await edge.services.store.keys("img/") == []


async def test_a_job_that_keeps_some_of_its_images_keeps_no_others(tmp_path: Path):
    async with edge_before(tmp_path, 1, 1) as (edge, _):
        reply = await edge.submit(n=2)
        edge.sign_in(reply)
        if run := edge.services.runs.find(reply.json()["id"]):
            await run.finished()
        job = (await edge.client.get(reply.headers["location"])).json()
        assert job["status"] == "failed"
        (key,) = await edge.services.store.keys("img/")
        assert key.endswith(job["images"][0]["id"].removeprefix("img_"))


async def test_what_was_stored_before_a_cancel_and_not_told_goes(tmp_path: Path):
    async with edge_before(tmp_path, None) as (edge, replicas):
        reply = await edge.submit(n=2)
        edge.sign_in(reply)
        await replicas.stored.wait()
        assert len(await edge.services.store.keys("img/")) == 2
        await edge.client.delete(reply.headers["location"])
        assert await edge.services.store.keys("img/") == []
