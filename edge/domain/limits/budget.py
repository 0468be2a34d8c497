"""What all callers without an account may draw together. An edge takes shares of it, and hands them out by itself.

A share belongs to the minute it was taken in and lapses with it. So together the edges never hand out more than there
is, and at most a share for each edge less.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from edge.domain.limits.limiter import Take
from edge.domain.limits.windows import MINUTE_MS, Standing, Window
from policies.schema import AnonymousBudget

SUBJECT = "strangers"


class Budget:
    def __init__(self, policy: AnonymousBudget) -> None:
        self._policy = policy
        self._window = Window("everyone-images-per-minute", policy.images_per_minute, MINUTE_MS, "images")
        self._left = 0
        self._minute = 0
        self._seen: Standing | None = None
        self._asking = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, images: int, now_ms: int) -> AsyncGenerator[None]:
        """To reserve inside, at once. One asks the store for a share at a time, and the others hand out of it."""
        if not self._has(images, now_ms):
            async with self._asking:
                if not self._has(images, now_ms):
                    yield
                    return
        yield

    def reserve(self, images: int, now_ms: int) -> tuple[int, Take]:
        """What is handed out from the share at hand, and what to ask the store for: it looks even where that is
        nothing."""
        self._lapse(now_ms)
        reserved = min(images, self._left)
        self._left -= reserved
        cost = images - reserved
        return reserved, Take(SUBJECT, self._window, cost, max(cost, self._policy.share) if cost else 0)

    def wanted(self, images: int) -> Take:
        """What such a call would need of the store now."""
        return Take(SUBJECT, self._window, max(0, images - self._left))

    def settle(self, granted_beyond: int, seen: Standing) -> None:
        """After the store has answered: what was not needed, or comes back, is at hand."""
        if self._seen is None or seen.at_ms >= self._seen.at_ms:  # what comes back late was seen long ago
            self._seen = seen
        if seen.at_ms // MINUTE_MS == self._minute:
            self._left += granted_beyond

    def is_busy(self, now_ms: int) -> bool:
        """Whether so much of it is used that callers must prove some work."""
        if self._seen is None:
            return False
        now = self._seen.at(now_ms)
        return now.used > self._policy.proof_above * now.window.limit

    def _has(self, images: int, now_ms: int) -> bool:
        self._lapse(now_ms)
        return self._left >= images

    def _lapse(self, now_ms: int) -> None:
        if self._minute != now_ms // MINUTE_MS:
            self._minute, self._left = now_ms // MINUTE_MS, 0
