"""A reply that knows whether it was delivered: `delivered` is called once the whole body was sent to a client that
was still there when the last piece left. One that hung up before, or a HEAD, does not count."""

import asyncio
from collections.abc import Awaitable, Callable

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send

PIECE_BYTES = 64 * 1024
"""At most; two pieces at least, so that leaving between them is seen."""
DELIVERING = "deliver once"  # the name of the task that goes on as long as a delivery does


class WholeDelivery(ASGIResponse):
    def __init__(
        self, body: bytes, delivered: Callable[[], Awaitable[None]], *, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(body=body, headers=headers, media_type=media_type)
        self._delivered = delivered

    async def send_body(self, send: Send, receive: Receive) -> None:
        leaving = asyncio.create_task(_left(receive), name=DELIVERING)
        try:
            pieces = _pieces(self.body)
            for number, piece in enumerate(pieces, 1):
                await asyncio.sleep(0)  # so that a client that left is heard of
                if leaving.done():
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})
            await self._delivered()
        finally:
            leaving.cancel()


def _pieces(body: bytes) -> list[bytes]:
    size = min(PIECE_BYTES, max(1, -(-len(body) // 2)))
    return [body[start : start + size] for start in range(0, len(body), size)] or [b""]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
