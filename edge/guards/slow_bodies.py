"""A body comes whole within a time, or its call is refused: who sends a byte a second holds nothing open for ever."""

import asyncio
from collections.abc import Awaitable

from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

from edge.errors import BodyTooSlow

Received = HTTPReceiveMessage | WebSocketReceiveMessage


class WholeWithin:
    """A `Receive`. The time runs from the moment somebody first asks for the body; whoever reads on after its end waits
    for ever, as they mean to, and at no cost here: very many streams do."""

    __slots__ = ("_ends_at_s", "_is_whole", "_receive", "_within_s")

    def __init__(self, receive: Receive, within_s: float) -> None:
        self._receive = receive
        self._within_s = within_s
        self._ends_at_s: float | None = None
        self._is_whole = False

    def __call__(self) -> Awaitable[Received]:
        return self._receive() if self._is_whole else self._in_time()

    async def _in_time(self) -> Received:
        """Raises BodyTooSlow."""
        if self._ends_at_s is None:
            self._ends_at_s = asyncio.get_running_loop().time() + self._within_s
        try:
            async with asyncio.timeout_at(self._ends_at_s):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(self._within_s) from None
        self._is_whole = message["type"] != "http.request" or not message.get("more_body")
        return message
