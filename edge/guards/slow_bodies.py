"""A body comes whole within a time, or its call is refused: who sends a byte a second holds nothing open for ever."""

import asyncio

from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

from edge.errors import BodyTooSlow


def whole_within(receive: Receive, within_s: float) -> Receive:
    """From the moment somebody first asks for it. Whoever reads on after its end waits for ever, as they mean to.
    Raises BodyTooSlow."""
    ends_at_s: float | None = None
    is_whole = False

    async def received() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal ends_at_s, is_whole
        if is_whole:
            return await receive()
        ends_at_s = ends_at_s or asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(ends_at_s):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow(within_s) from None
        is_whole = message["type"] != "http.request" or not message.get("more_body")
        return message

    return received
