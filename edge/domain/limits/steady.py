"""Counting that never stops: with the other edges while the store answers, else alone and to a stricter measure."""

from collections.abc import Callable, Sequence
from time import monotonic

import msgspec

from edge.domain.limits.limiter import Answer, Ask, Lease, Limiter, StoreDown, Take

ALONE = 4  # the part of each limit that one edge allows by itself; more edges than this would allow more in all
RETRY_S = 1.0


class SteadyLimiter:
    """Implements `Limiter`, and raises nothing. After a failure one call a second tries the store; the others do not
    wait for it."""

    def __init__(self, shared: Limiter, local: Limiter, now_s: Callable[[], float] = monotonic) -> None:
        self._shared = shared
        self._local = local
        self._now_s = now_s
        self._down_until_s = 0.0

    async def take(self, ask: Ask) -> Answer:
        if self._tries_store():
            try:
                answer = await self._shared.take(ask)
            except StoreDown:
                self._down_until_s = self._now_s() + RETRY_S
            else:
                self._down_until_s = 0.0
                return answer
        return msgspec.structs.replace(await self._local.take(_stricter(ask)), is_local=True)

    async def give_back(self, ask: Ask, takes: Sequence[Take], *, is_local: bool) -> None:
        """Where it was taken. What the store does not hear of stays taken: it comes back with its window."""
        if is_local:
            await self._local.give_back(ask, takes, is_local=True)
            return
        try:
            await self._shared.give_back(ask, takes, is_local=False)
        except StoreDown:
            self._down_until_s = self._now_s() + RETRY_S

    async def hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        """Known in both places, so that neither a failing store nor a new one frees a place that is held."""
        await self._local.hold(leases, now_ms)
        try:
            await self._shared.hold(leases, now_ms)
        except StoreDown:
            self._down_until_s = self._now_s() + RETRY_S

    async def release(self, lease: Lease) -> None:
        await self._local.release(lease)
        try:
            await self._shared.release(lease)
        except StoreDown:
            self._down_until_s = self._now_s() + RETRY_S

    def _tries_store(self) -> bool:
        if self._down_until_s == 0.0:
            return True
        if self._now_s() < self._down_until_s:
            return False
        self._down_until_s = self._now_s() + RETRY_S  # this call tries; the next ones wait for how it went
        return True


def _stricter(ask: Ask) -> Ask:
    takes = tuple(_stricter_take(take) for take in ask.takes)
    return msgspec.structs.replace(ask, takes=takes, most_leases=_part(ask.most_leases))


def _stricter_take(take: Take) -> Take:
    window = msgspec.structs.replace(take.window, limit=_part(take.window.limit))
    return msgspec.structs.replace(take, window=window)


def _part(limit: int) -> int:
    return max(1, limit // ALONE) if limit else 0
