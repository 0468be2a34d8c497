"""`sfumato edge`: granian inside the process that composed the app, so that an edge is one process and not two."""

import asyncio
import signal

from granian.constants import Interfaces
from granian.server.embed import Server

from cluster.compose_edge import build_edge
from edge.settings import Settings
from policies.schema import Policies
from serve_app.contract import Generator

BACKPRESSURE = 20_000  # idle event streams are cheap and many


async def run_edge(settings: Settings, policies: Policies, host: str, generator: Generator) -> None:
    """Returns after SIGTERM or SIGINT."""
    server = Server(
        build_edge(settings, policies, generator),
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
