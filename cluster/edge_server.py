"""`sfumato edge`: one granian worker over the composed app, or the engine and the edge in this very process."""

import asyncio
import signal

from granian.constants import Interfaces, Loops
from granian.server import Server
from granian.server.embed import Server as EmbeddedServer

from cluster.compose_edge import build_edge
from edge.settings import Settings
from policies.load import load_policies
from serve_app.contract import Generator

BACKPRESSURE = 20_000  # idle event streams are cheap and many


def run_edge(settings: Settings, host: str) -> None:
    """Returns after SIGTERM or SIGINT."""
    Server(
        "cluster.compose_edge:app",
        factory=True,
        address=host,
        port=settings.port,
        interface=Interfaces.ASGI,
        loop=Loops.asyncio,
        workers=1,
        backpressure=BACKPRESSURE,
        log_access=False,
        websockets=False,
    ).serve()


async def serve_in_process(settings: Settings, host: str, generator: Generator) -> None:
    """Edge and engine share this process: granian's embedded server runs in the caller's event loop."""
    server = EmbeddedServer(
        build_edge(settings, load_policies(settings.policies), generator),
        address=host,
        port=settings.port,
        interface=Interfaces.ASGI,
        backpressure=BACKPRESSURE,
        log_access=False,
        websockets=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
