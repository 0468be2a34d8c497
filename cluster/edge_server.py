"""`sfumato edge`: granian inside the process that composed the app, so that an edge is one process and not two.

Leaving is a drain: what runs may finish for a while, then it is ended, every stream says so, and the process goes.
"""

import asyncio
import logging
import signal
from types import FrameType
from typing import Protocol

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from cluster.compose_edge import build_semantics, build_services
from cluster.home import require_free_port
from cluster.open_files import allow_many_open_files
from cluster.store_init import require_safe_store
from edge.app import create_app
from edge.db.migrate import migrate
from edge.services import Services
from edge.settings import Settings
from policies.schema import Policies
from serve_app.contract import Generator
from serve_app.logs import adopt_loggers

log = logging.getLogger(__name__)

BACKPRESSURE = 20_000  # idle event streams are cheap and many
DRAIN_S = 5.0  # with LEAVE_S and an engine's last step, less than `up` waits for a child
LEAVE_S = 3.0


class OwnGenerator(Generator, Protocol):
    """One that nobody else uses."""

    async def close(self) -> None: ...


async def run_edge(settings: Settings, policies: Policies, host: str, generator: OwnGenerator) -> None:
    """Returns after SIGTERM or SIGINT, with `generator` closed. Raises HomeError, DatabaseUnavailable."""
    require_free_port(settings.port, "SFUMATO_PORT")
    allow_many_open_files()
    await require_safe_store(settings.store, policies)
    leave = asyncio.Event()
    set_when_told_to_leave(leave)
    services = build_services(settings, policies, generator, semantics=build_semantics(policies))
    try:
        await migrate(services.database.engine)  # the lifespan does too, but would raise a group
        await serve_until(leave, services, host=host, port=settings.port)
    finally:
        await generator.close()


def set_when_told_to_leave(leave: asyncio.Event) -> None:
    """A loop hears of a signal by a byte, which is lost while very many callbacks wait: so the handler says it too."""
    loop = asyncio.get_running_loop()

    def hear(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(leave.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
        signal.signal(number, hear)


async def serve_until(
    leave: asyncio.Event, services: Services, *, host: str, port: int, drain_s: float = DRAIN_S
) -> None:
    """A client that does not take its reply holds nobody up for longer than LEAVE_S."""
    app = create_app(services)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,  # the lifespan is ours: its errors are raised here, and its end is certain
        backpressure=BACKPRESSURE,
        log_access=False,
        log_level=LogLevels.error,  # it warns at each start that embedding is new
        websockets=False,
    )
    adopt_loggers()  # granian's, which it has just set up
    async with app.lifespan():
        serving = asyncio.create_task(server.serve())
        leaving = asyncio.create_task(leave.wait())
        await asyncio.wait([serving, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        await services.runs.drain(drain_s)
        server.stop()
        await asyncio.wait([serving], timeout=LEAVE_S)
    if serving.done():
        serving.result()
    else:
        log.warning("connections were still open")
