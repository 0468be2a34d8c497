"""Server-sent events: framing, and a response whose source is closed the moment the client has left."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import MappingProxyType

import msgspec
from litestar import Response
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

Chunks = AsyncGenerator[bytes, None]

PING = b": ping\n\n"
_encoder = msgspec.json.Encoder()


def sse_frame(data: msgspec.Struct, *, event: str | None = None, number: int | None = None) -> bytes:
    lines = [b"data: ", _encoder.encode(data), b"\n\n"]
    if number is not None:
        lines.insert(0, b"id: %d\n" % number)
    if event is not None:
        lines.insert(0, b"event: %s\n" % event.encode())
    return b"".join(lines)


class EventStream(Response[None]):
    """`chunks` ends by itself or is closed: its `finally` runs either way."""

    def __init__(self, chunks: Chunks, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(None)
        self._chunks = chunks
        self._more = headers

    def to_asgi_response(self, *_: object, **__: object) -> ASGIStreamingResponse:
        return _ClosingResponse(
            iterator=self._chunks,
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no", **self._more},
            status_code=200,
        )


class _ClosingResponse(ASGIStreamingResponse):
    async def send_body(self, send: Send, receive: Receive) -> None:
        """One task besides waits for the client to leave: a task group would cost each idle stream some kibibytes."""
        streaming = asyncio.current_task()
        assert streaming is not None
        has_left = False

        async def watch() -> None:
            nonlocal has_left
            while (await receive())["type"] != "http.disconnect":
                pass
            has_left = True
            streaming.cancel()

        watching = asyncio.create_task(watch())
        try:
            await self._stream(send)
        except asyncio.CancelledError:
            if not has_left or streaming.uncancel() > 0:
                raise
        finally:
            watching.cancel()
            await self._close()

    async def _close(self) -> None:
        if isinstance(self.iterator, AsyncGenerator):
            await self.iterator.aclose()
