"""Ways into accounts and to a person, counted by the part of the network they are tried from, whoever tries.

For what a new session must not escape: it costs nothing to have another one. The numbers are of `plans.toml`. Made
accounts count for a day; what fails costs work alone, so it counts for a minute: nobody's failures keep others out.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import ceil

from msgspec import Struct

from edge.domain.limits.limiter import Ask, Limiter, Take
from edge.domain.limits.networks import Network
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Window
from edge.errors import RateLimited
from policies.schema import ByNetwork, EntryLimits, NoticeLimits


class TryLimit(Struct, frozen=True):
    """`most` by the level of a network. `refusal` is what the one too many reads."""

    name: str
    length_ms: int
    most: Mapping[str, int]
    refusal: str


def made_accounts(entry: ByNetwork[EntryLimits]) -> TryLimit:
    """Each may ask for more than a session may, and counts by itself alone."""
    most = {level: limits.accounts_per_day for level, limits in entry.levels().items()}
    refusal = "as many accounts were made from this network as may be in a day; drawing needs none"
    return TryLimit("accounts-per-day", DAY_MS, most, refusal)


def failed_entries(entry: ByNetwork[EntryLimits]) -> TryLimit:
    most = {level: limits.failed_tries_per_minute for level, limits in entry.levels().items()}
    refusal = "too many tries to make an account or to sign in have just failed in this network"
    return TryLimit("failed-entries-per-minute", MINUTE_MS, most, refusal)


def taken_reports(notices: ByNetwork[NoticeLimits]) -> TryLimit:
    """A person reads each."""
    most = {level: limits.reports_per_day for level, limits in notices.levels().items()}
    refusal = "as many reports came from this network as are taken in a day: one report may name several pictures"
    return TryLimit("reports-per-day", DAY_MS, most, refusal)


def taken_appeals(notices: ByNetwork[NoticeLimits]) -> TryLimit:
    most = {level: limits.appeals_per_day for level, limits in notices.levels().items()}
    refusal = "as many objections came from this network as are taken in a day"
    return TryLimit("appeals-per-day", DAY_MS, most, refusal)


class Tries:
    def __init__(self, limit: TryLimit, limiter: Limiter, clock: Callable[[], float]) -> None:
        self._refusal = limit.refusal
        self._windows = {level: Window(limit.name, most, limit.length_ms) for level, most in limit.most.items()}
        self._limiter = limiter
        self._clock = clock

    @asynccontextmanager
    async def counting_success(self, networks: Sequence[Network]) -> AsyncGenerator[None]:
        """What is inside counts unless it raises. Raises RateLimited before it, and counts nothing then."""
        give_back = await self._take(networks)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            if not is_done:
                await give_back()

    @asynccontextmanager
    async def counting_failure(self, networks: Sequence[Network]) -> AsyncGenerator[None]:
        """What is inside counts while it is tried, and from then on where it raises. Raises RateLimited before it."""
        give_back = await self._take(networks)
        yield
        await give_back()

    async def _take(self, networks: Sequence[Network]) -> Callable[[], Awaitable[None]]:
        takes = tuple(Take(network.subject, self._windows[network.level], 1) for network in networks)
        ask = Ask(int(self._clock() * 1000), takes)
        answer = await self._limiter.take(ask)
        if not answer.is_admitted:
            wait_s = max(1, ceil(max(standing.wait_ms(1) for standing in answer.standings) / 1000))
            raise RateLimited(f"{self._refusal}; there is room again in {wait_s} s", retry_after_s=wait_s)
        return partial(self._limiter.give_back, ask, takes, is_local=answer.is_local)
