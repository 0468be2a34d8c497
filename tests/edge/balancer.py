"""What stands before several edges: one address, and each new connection goes to the first edge that takes it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 1 << 16


class Balancer:
    """`ports`: of the edges, the preferred one first. A connection ends when its edge's end of it does."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        self._carried: set[asyncio.Task[None]] = set()

    def move_to(self, port: int) -> None:
        """Every connection is cut, as by a balancer that is reloaded; who comes again gets to this edge."""
        self.ports.sort(key=lambda each: each != port)
        self._cut()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncGenerator[None]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", port)
        async with server:
            yield
            server.close()
            self._cut()

    def _cut(self) -> None:
        for task in self._carried:
            task.cancel()

    async def _carry(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._carried.add(task)
        writers = [to_near]
        try:
            far, to_far = await self._connect()
            writers.append(to_far)
            ways = [asyncio.create_task(_pass_on(*way)) for way in ((near, to_far), (far, to_near))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except (asyncio.CancelledError, ConnectionError):
            pass  # the task ends here: nobody waits for it
        finally:
            self._carried.discard(task)
            for writer in writers:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in self.ports:
            with suppress(ConnectionError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("no edge is left")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
