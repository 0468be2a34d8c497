"""Very many readers of event streams in a process of their own: `python -m cluster.bench.listeners PORT PATHS COUNT`.

The bearer comes on standard input. Prints how many have heard an event once all have, and stays until standard input
ends. Each reader is a bare connection: what it costs here does not count, but ten thousand must fit.
"""

import asyncio
import sys

from cluster.open_files import allow_many_open_files

AT_ONCE = 100
HEARD = b"event: "


class Listener(asyncio.Protocol):
    """Asks, and notes the first event. What comes after it is dropped."""

    def __init__(self, request: bytes) -> None:
        self.heard = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if HEARD in data and not self.heard.done():
            self.heard.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.heard.done():
            self.heard.set_exception(ConnectionError("the stream ended before an event came"))


async def listen(port: int, paths: list[str], bearer: str, count: int) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def open_one(number: int) -> asyncio.BaseTransport:
        request = (
            f"GET {paths[number % len(paths)]} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n"
            "Accept: text/event-stream\r\n\r\n"
        )
        async with turn:
            connect = asyncio.get_running_loop().create_connection
            transport, listener = await connect(lambda: Listener(request.encode()), "127.0.0.1", port)
            await listener.heard
        return transport

    opened = await asyncio.gather(*map(open_one, range(count)))
    sys.stdout.write(f"{len(opened)}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    allow_many_open_files()
    port, paths, count = sys.argv[1:]
    asyncio.run(listen(int(port), paths.split(","), sys.stdin.readline().strip(), int(count)))


if __name__ == "__main__":
    main()
