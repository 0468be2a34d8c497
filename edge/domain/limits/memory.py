"""Counting in this process alone: the whole truth where the edge is the only one, a stricter share where it is not."""

from collections.abc import Sequence

from edge.domain.limits.limiter import LEASE_MS, Answer, Ask, Lease, Take
from edge.domain.limits.names import DayKeys
from edge.domain.limits.windows import Standing

MOST_BUCKETS = 500_000  # some hundred bytes each; of more, the oldest tenth goes
TIDY_MS = 10_000


class MemoryLimiter:
    """Implements `Limiter`. Nothing in it waits, so each call is whole."""

    def __init__(self) -> None:
        self._keys = DayKeys()
        self._counts: dict[str, int] = {}
        self._ends_ms: dict[str, int] = {}
        self._leases: dict[str, dict[str, int]] = {}
        self._tidied_ms = 0

    async def take(self, ask: Ask) -> Answer:
        self._tidy(ask.now_ms)
        buckets = self._keys.all_buckets(ask.takes, ask.now_ms)
        found = self._standings(ask, buckets)
        leased = self._leased(ask)
        if leased >= ask.most_leases > 0 or any(
            standing.available < take.cost for standing, take in zip(found, ask.takes, strict=True)
        ):
            return Answer(False, found, (0,) * len(found), leased)
        granted = tuple(
            min(max(take.cost, take.want), standing.available) for standing, take in zip(found, ask.takes, strict=True)
        )
        for take, (_, current), taken in zip(ask.takes, buckets, granted, strict=True):
            self._add(current, take, ask.now_ms, taken)
        if ask.lease is not None:
            await self.hold([ask.lease], ask.now_ms)
        return Answer(True, self._standings(ask, buckets), granted, leased + (ask.lease is not None))

    async def give_back(self, ask: Ask, takes: Sequence[Take], *, is_local: bool = False) -> None:
        for take in takes:
            name = self._keys.buckets(take, ask.now_ms)[1]
            if name in self._counts:
                self._counts[name] = max(0, self._counts[name] - take.cost)

    async def hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        for lease in leases:
            held = self._leases.setdefault(self._keys.lease_set(lease.subject, lease.taken_at_ms), {})
            held[lease.id] = now_ms + LEASE_MS

    async def release(self, lease: Lease) -> None:
        self._leases.get(self._keys.lease_set(lease.subject, lease.taken_at_ms), {}).pop(lease.id, None)

    def _standings(self, ask: Ask, buckets: Sequence[tuple[str, str]]) -> tuple[Standing, ...]:
        return tuple(
            Standing(take.window, self._counts.get(former, 0), self._counts.get(current, 0), ask.now_ms)
            for take, (former, current) in zip(ask.takes, buckets, strict=True)
        )

    def _leased(self, ask: Ask) -> int:
        if ask.lease is None:
            return 0
        sets = [self._leases.get(name, {}) for name in self._keys.leases(ask.lease.subject, ask.now_ms)]
        return sum(end_ms > ask.now_ms for held in sets for end_ms in held.values())

    def _add(self, name: str, take: Take, now_ms: int, count: int) -> None:
        if count == 0:
            return
        if name not in self._counts:
            self._counts[name] = 0
            self._ends_ms[name] = (now_ms // take.window.length_ms + 2) * take.window.length_ms
        self._counts[name] += count

    def _tidy(self, now_ms: int) -> None:
        if 0 <= now_ms - self._tidied_ms < TIDY_MS and len(self._counts) <= MOST_BUCKETS:
            return
        self._tidied_ms = now_ms
        gone = [name for name, end_ms in self._ends_ms.items() if end_ms <= now_ms]
        if len(self._ends_ms) - len(gone) > MOST_BUCKETS:
            gone += list(self._ends_ms)[: MOST_BUCKETS // 10]  # so many that not every call looks through them all
        for name in gone:
            self._counts.pop(name, None)
            self._ends_ms.pop(name, None)
        for name, held in list(self._leases.items()):
            for lease_id in [each for each, end_ms in held.items() if end_ms <= now_ms]:
                del held[lease_id]
            if not held:
                del self._leases[name]
