"""The store dies and comes back while calls are counted: never unlimited, and whole again within seconds."""

import asyncio
from collections.abc import Sequence
from time import monotonic

from valkey.asyncio import Valkey

from edge.domain.limits.limiter import Answer, Ask, Lease, StoreDown, Take
from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.shared import SharedLimiter
from edge.domain.limits.steady import ALONE, SteadyLimiter
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Window
from tests.servers import free_ports, valkey_on

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
LIMIT = 200
SOON_S = 8.0
PATIENT_S = 5.0  # a busy machine is no store that is down; one that is dead refuses at once


def ask(subject: str = "session:a") -> Ask:
    return Ask(NOON_MS, (Take(subject, Window("images-per-minute", LIMIT, MINUTE_MS), 1),))


class FlakyLimiter(MemoryLimiter):
    """Is down when it is told to be, and counts who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.asked = 0

    async def take(self, ask: Ask) -> Answer:
        self.asked += 1
        if self.is_down:
            raise StoreDown("down")
        return await super().take(ask)

    async def hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        if self.is_down:
            raise StoreDown("down")
        await super().hold(leases, now_ms)


async def test_alone_an_edge_allows_a_quarter_and_asks_the_store_once_a_second() -> None:
    now_s, shared = [0.0], FlakyLimiter()
    limiter = SteadyLimiter(shared, MemoryLimiter(), lambda: now_s[0])
    shared.is_down = True
    answers = [await limiter.take(ask()) for _ in range(LIMIT)]
    assert sum(answer.is_admitted for answer in answers) == LIMIT // ALONE
    assert all(answer.is_local for answer in answers)
    assert shared.asked == 1
    now_s[0] = 1.1
    shared.is_down = False
    assert not (await limiter.take(ask())).is_local
    assert not (await limiter.take(ask())).is_local


async def test_a_place_that_is_held_is_held_while_the_store_is_down() -> None:
    shared = FlakyLimiter()
    limiter = SteadyLimiter(shared, MemoryLimiter())
    lease = Lease("session:a", "one", NOON_MS)
    assert (await limiter.take(Ask(NOON_MS, (), lease, most_leases=1))).is_admitted
    await limiter.hold([lease], NOON_MS)
    shared.is_down = True
    await limiter.hold([lease], NOON_MS)
    assert not (await limiter.take(Ask(NOON_MS, (), Lease("session:a", "two", NOON_MS), 1))).is_admitted


async def test_a_valkey_that_is_killed_and_restarted_in_the_middle_never_lets_everyone_in() -> None:
    [port] = free_ports(1)
    url = f"valkey://127.0.0.1:{port}"
    async with Valkey.from_url(url) as one, Valkey.from_url(url) as other:
        edges = [SteadyLimiter(SharedLimiter(client, PATIENT_S), MemoryLimiter()) for client in (one, other)]

        async def admitted(times: int) -> int:
            answers = await asyncio.gather(*(edges[index % 2].take(ask()) for index in range(times)))
            return sum(answer.is_admitted for answer in answers)

        with valkey_on(port):
            assert await admitted(40) == 40
            counting = asyncio.create_task(admitted(4_000))
            await asyncio.sleep(0)
        alone = 2 * (LIMIT // ALONE)
        assert 40 + await counting + await admitted(2_000) <= LIMIT + alone
        assert await admitted(2_000) == 0
        with valkey_on(port):
            began_s = monotonic()
            while (await edges[0].take(ask("probe:0"))).is_local or (await edges[1].take(ask("probe:1"))).is_local:
                assert monotonic() - began_s < SOON_S
            assert await admitted(2_000) == LIMIT  # the store forgot; both edges share what it counts from now on
