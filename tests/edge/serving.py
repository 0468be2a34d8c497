"""The product's own server around an edge, in the test's event loop, so that a test can look inside while it serves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from httpx2 import AsyncClient

from cluster.day_keys import OF_NOTICES, DayKeys, make_day_keys
from cluster.edge_server import serve_until
from edge.services import Services
from tests.servers import free_ports


@asynccontextmanager
async def serving(
    services: Services, port: int | None = None, *, leave: asyncio.Event | None = None, drain_s: float = 0
) -> AsyncGenerator[AsyncClient]:
    """On `port`, or on any that is free. `leave` stands for the signal; the end of the context sets it too."""
    port = port or free_ports(1)[0]
    leave = leave or asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_until(leave, services, host="127.0.0.1", port=port, drain_s=drain_s))
        await _answering(port)
        keys = DayKeys(services.settings.home / "keys")
        await make_day_keys(keys, services.database, services.clock())
        await make_day_keys(keys.of_notices, services.database, services.clock(), OF_NOTICES)
        try:
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
                yield client
        finally:
            leave.set()


async def _answering(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
