"""One Ray Serve application per model: HTTP in, a stream of frames out, the engine between.

The only file of this package that knows Ray. Its secret and its store come from the environment of its process, never
from Serve arguments, which dashboards show. A client that leaves cancels its request before the next step.
"""

import hmac
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from policies.load import load_policies
from serve_app.compose import Engines, build_engines
from serve_app.contract import Event, Failed, FrameError, decode_request, frame
from serve_app.errors import BadRequest, EngineFailed, PolicyMismatch
from serve_app.logs import configure_logging
from serve_app.settings import Settings

log = logging.getLogger(__name__)

FRAMES = "application/vnd.sfumato.frames"
MAX_ONGOING_REQUESTS = 10_000  # the engine queues and refuses by itself; Serve must not
UNAVAILABLE = {PolicyMismatch.code: 503}


class Replica:
    """Routes, below `/m/<model>`: POST generate, GET status, POST drain."""

    def __init__(self, model: str) -> None:
        configure_logging(sys.__stderr__)  # Serve has put its own loggers and streams in place by now
        settings = Settings.from_env(os.environ)
        if not settings.serve_secret:
            raise ValueError("SFUMATO_SERVE_SECRET is not set on this machine")
        self._model = model
        self._bearer = f"Bearer {settings.serve_secret}".encode()
        self._engines: Engines = build_engines(
            msgspec.structs.replace(settings, models=[model]), load_policies(settings.policies)
        )

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Exception:  # Ray would write its text to logs of its own, of this process and of the proxy
            log.exception("a call failed")
            return Response(status_code=500)

    async def _answer(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._bearer):
            return Response(status_code=401)
        match request.method, request.url.path.rsplit("/", 1)[-1]:
            case "POST", "generate":
                return await self._generate(request)
            case "GET", "status":
                return Response(msgspec.json.encode(await self._engines.status(self._model)))
            case "POST", "drain":
                self._engines.drain()
                return Response(status_code=202)
            case _:
                return Response(status_code=404)

    async def check_health(self) -> None:
        """Ray Serve calls it; raising replaces the replica."""
        if not (await self._engines.status(self._model)).ready:
            raise RuntimeError("the denoising thread is gone")

    async def _generate(self, request: Request) -> Response:
        try:
            wanted = decode_request(await request.body())
        except FrameError as error:
            return Response(frame(Failed(BadRequest.code, str(error))), 400, media_type=FRAMES)
        events = self._engines.generate(wanted)
        first = await anext(events)
        status = UNAVAILABLE.get(first.code, 200) if isinstance(first, Failed) else 200
        return StreamingResponse(_frames(first, events), status, media_type=FRAMES)


async def _frames(first: Event, events: AsyncGenerator[Event, None]) -> AsyncIterator[bytes]:
    """Frames until the end; when the client leaves, Serve cancels this and closing `events` cancels the request."""
    async with aclosing(events):
        yield frame(first)
        try:
            async for event in events:
                yield frame(event)
        except Exception:  # as above
            log.exception("a stream of events broke")
            yield frame(Failed(EngineFailed.code, "see the log"))


def application(args: dict[str, str]) -> serve.Application:
    """`serve_app.replica:application`. `args`: `model`, and optionally `num_gpus` and `num_cpus` of the replica."""
    options = {"num_cpus": float(args.get("num_cpus", 1)), "num_gpus": float(args.get("num_gpus", 0))}
    deployment = serve.deployment(
        name="replica",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        ray_actor_options=options,
        logging_config=LoggingConfig(enable_access_log=False),
        graceful_shutdown_timeout_s=10,
    )(Replica)
    return deployment.bind(args["model"])
