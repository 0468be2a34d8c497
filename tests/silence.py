"""A server that hangs: its connections stay open, and nothing comes any more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.engine import make_url


class Line:
    """Between a client and a server. While it is `silent`, what either says waits."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._speaks = asyncio.Event()
        self._speaks.set()

    def fall_silent(self) -> None:
        self._speaks.clear()

    def speak(self) -> None:
        self._speaks.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                await self._speaks.wait()
                writer.write(chunk)
        writer.close()


@asynccontextmanager
async def silenceable(url: str) -> AsyncGenerator[Line]:
    """A line to the database at `url`, whose own `url` is to be used instead."""
    behind = make_url(url)
    ways: list[asyncio.Task[None]] = []

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(behind.host, behind.port)
        ways.append(asyncio.create_task(line.pass_on(reader, far_writer)))
        ways.append(asyncio.create_task(line.pass_on(far_reader, writer)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = Line(behind.set(port=port).render_as_string(hide_password=False))
    try:
        yield line
    finally:
        server.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
