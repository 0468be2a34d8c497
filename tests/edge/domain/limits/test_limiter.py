"""The same claims about both ways to count: in memory, and in a real Valkey that two edges share."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from valkey.asyncio import Valkey

from edge.domain.limits.limiter import LEASE_MS, Ask, Lease, Limiter, Take
from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.shared import SharedLimiter
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Window

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
PATIENT_S = 10.0

Edges = list[Limiter]


@pytest.fixture(params=["memory", "valkey"])
async def edges(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator[Edges]:
    """Two that share what they count; in memory there is one, who is both."""
    if request.param == "memory":
        yield [MemoryLimiter()] * 2
        return
    async with Valkey.from_url(valkey_url) as one, Valkey.from_url(valkey_url) as other:
        yield [SharedLimiter(one, PATIENT_S), SharedLimiter(other, PATIENT_S)]


def window(limit: int, length_ms: int = MINUTE_MS, name: str = "images-per-minute") -> Window:
    return Window(name, limit, length_ms)


async def admitted(edges: Edges, times: int, ask: Ask) -> int:
    answers = await asyncio.gather(*(edges[index % 2].take(ask) for index in range(times)))
    return sum(answer.is_admitted for answer in answers)


async def test_many_at_once_share_a_limit_exactly(edges: Edges) -> None:
    ask = Ask(NOON_MS, (Take("session:a", window(37), 1), Take("network:b", window(1000), 1)))
    assert await admitted(edges, 500, ask) == 37


@pytest.mark.long
async def test_ten_thousand_at_once_share_a_limit_exactly(edges: Edges) -> None:
    ask = Ask(NOON_MS, (Take("session:a", window(1234), 1), Take("session:a", window(5000, DAY_MS, "day"), 1)))
    assert await admitted(edges, 10_000, ask) == 1234


async def test_all_windows_are_taken_or_none(edges: Edges) -> None:
    wide, narrow = Take("session:a", window(10), 4), Take("session:a", window(7, DAY_MS, "images-per-day"), 4)
    assert (await edges[0].take(Ask(NOON_MS, (wide, narrow)))).is_admitted
    refused = await edges[1].take(Ask(NOON_MS, (wide, narrow)))
    assert not refused.is_admitted
    assert [standing.available for standing in refused.standings] == [6, 3]


async def test_at_midnight_nobodys_allowance_doubles(edges: Edges) -> None:
    """Over any span of a window's length, however it lies, little more than the limit is admitted; here: exactly."""
    midnight_ms = 20_001 * DAY_MS
    day = window(100, DAY_MS, "images-per-day")
    minute = window(20)
    took = 0
    for at_ms in range(midnight_ms - 30_000, midnight_ms + 30_000, 1_000):
        for edge in edges:
            ask = Ask(at_ms, (Take("session:a", day, 1), Take("session:a", minute, 1)))
            took += (await edge.take(ask)).is_admitted
    assert took <= 30  # the minute's 20, and what has faded of them half a minute later
    ask = Ask(midnight_ms + 31_000, (Take("session:a", day, 1),))
    left = await admitted(edges, 200, ask)
    assert took + left == 100


async def test_what_is_given_back_can_be_taken_again(edges: Edges) -> None:
    take = Take("session:a", window(10), 10)
    ask = Ask(NOON_MS, (take,))
    assert (await edges[0].take(ask)).is_admitted
    await edges[0].give_back(ask, [take], is_local=False)
    await edges[0].give_back(ask, [take], is_local=False)
    assert (await edges[1].take(ask)).is_admitted
    assert not (await edges[1].take(ask)).is_admitted


async def test_more_than_is_needed_is_granted_where_it_is_there(edges: Edges) -> None:
    ask = Ask(NOON_MS, (Take("strangers", window(25), 1, want=20),))
    assert [(await edges[index % 2].take(ask)).granted for index in range(3)] == [(20,), (5,), (0,)]
    look = await edges[0].take(Ask(NOON_MS, (Take("strangers", window(25), 0),)))
    assert (look.is_admitted, look.standings[0].used) == (True, 25)


async def test_no_more_jobs_at_once_than_places(edges: Edges) -> None:
    def ask(name: str, at_ms: int) -> Ask:
        return Ask(at_ms, (), Lease("session:a", name, at_ms), most_leases=2)

    before_midnight = 20_001 * DAY_MS - 1_000
    first = ask("one", before_midnight)
    assert (await edges[0].take(first)).leased == 1
    assert (await edges[1].take(ask("two", before_midnight))).leased == 2
    assert not (await edges[0].take(ask("three", before_midnight + 2_000))).is_admitted
    assert first.lease
    await edges[0].release(first.lease)
    assert (await edges[1].take(ask("four", before_midnight + 2_000))).is_admitted


async def test_a_place_whose_edge_died_is_free_again_and_one_that_is_renewed_is_not(edges: Edges) -> None:
    lease = Lease("session:a", "one", NOON_MS)
    assert (await edges[0].take(Ask(NOON_MS, (), lease, most_leases=1))).is_admitted
    await edges[0].hold([lease], NOON_MS + LEASE_MS - 1)
    later_ms = NOON_MS + LEASE_MS + 1
    assert not (await edges[1].take(Ask(later_ms, (), Lease("session:a", "two", later_ms), 1))).is_admitted
    later_ms += LEASE_MS
    assert (await edges[1].take(Ask(later_ms, (), Lease("session:a", "two", later_ms), 1))).is_admitted


async def test_a_day_s_key_is_never_said_but_to_share_it(valkey_url: str) -> None:
    async with Valkey.from_url(valkey_url) as store:
        limiter = SharedLimiter(store, PATIENT_S)
        ask = Ask(NOON_MS, (Take("session:a", window(5), 1),))
        assert (await limiter.take(ask)).is_admitted  # it has told its key now
        await store.config_set("slowlog-log-slower-than", 0)
        try:
            await store.slowlog_reset()
            assert (await limiter.take(ask)).is_admitted
            key = await store.get(f"l:key:{NOON_MS // DAY_MS}")
            logged = repr(await store.slowlog_get(100))
        finally:
            await store.config_set("slowlog-log-slower-than", 10_000)
            await store.slowlog_reset()
        assert key
        assert "EVALSHA" in logged
        assert repr(key)[2:-1] not in logged


async def test_more_subjects_than_memory_is_for_push_out_the_oldest_and_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.domain.limits.memory.MOST_BUCKETS", 100)
    limiter, sizes = MemoryLimiter(), list[int]()
    for number in range(400):
        await limiter.take(Ask(NOON_MS, (Take(f"session:{number}", window(5), 1),)))
        sizes.append(len(limiter._counts))
    assert max(sizes) <= 101
    assert sum(later < earlier for earlier, later in pairwise(sizes)) <= 35
