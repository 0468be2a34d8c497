"""A real granian server around an app, in the test's own event loop, so that a test can look inside while it serves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from granian.constants import Interfaces
from granian.server.embed import Server
from httpx2 import AsyncClient
from litestar import Litestar

from tests.servers import free_ports


@asynccontextmanager
async def serving(app: Litestar, port: int | None = None) -> AsyncGenerator[AsyncClient]:
    """On `port`, or on any that is free."""
    port = port or free_ports(1)[0]
    server = Server(app, port=port, interface=Interfaces.ASGI, log_enabled=False, websockets=False)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        await _answering(port)
        try:
            async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
                yield client
        finally:
            server.stop()


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
