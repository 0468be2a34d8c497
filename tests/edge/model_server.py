"""Any Generator behind the wire that a replica speaks, for edges in processes of their own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from serve_app.contract import GenerateRequest, Generator, decode_request, frame
from tests.edge.test_gateway import FRAMES


@asynccontextmanager
async def serving_model(generator: Generator, port: int) -> AsyncGenerator[str]:
    """Its address. A caller that leaves closes what it asked for."""

    async def generate(request: Request) -> Response:
        return StreamingResponse(_frames(generator, decode_request(await request.body())), media_type=FRAMES)

    async def status(request: Request) -> Response:
        return Response(msgspec.json.encode(await generator.status(request.path_params["model"])))

    routes = [Route("/m/{model}/generate", generate, methods=["POST"]), Route("/m/{model}/status", status)]
    server = Server(
        Starlette(routes=routes), address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_access=False,
        log_level=LogLevels.error, websockets=False,
    )  # fmt: skip
    serving = asyncio.create_task(server.serve())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        await serving


async def _frames(generator: Generator, request: GenerateRequest) -> AsyncIterator[bytes]:
    async with aclosing(generator.generate(request)) as events:
        async for event in events:
            yield frame(event)
