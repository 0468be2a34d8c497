import asyncio
from functools import partial

import pytest
from sqlalchemy import text

from edge.db.database import Database
from edge.domain import leader
from edge.domain.leader import LEASE_S, candidate, hold, let_go
from edge.errors import DatabaseUnavailable
from tests.edge.edges import Clock

NOW = 1_800_000_000.0


async def holds(database: Database, holder: str, now: float) -> bool:
    return await database.write(partial(hold, name="sweeper", holder=holder, now=now))


async def test_one_leads_as_long_as_it_renews_and_the_next_after_a_lease(database: Database):
    assert await holds(database, "a", NOW)
    assert not await holds(database, "b", NOW + LEASE_S - 1)
    assert await holds(database, "a", NOW + LEASE_S - 1)
    assert not await holds(database, "b", NOW + LEASE_S)
    assert await holds(database, "b", NOW + 2 * LEASE_S)
    assert not await holds(database, "a", NOW + 2 * LEASE_S)


async def test_who_lets_go_is_followed_at_once(database: Database):
    assert await holds(database, "a", NOW)
    await database.write(partial(let_go, name="sweeper", holder="b"))
    assert not await holds(database, "b", NOW)
    await database.write(partial(let_go, name="sweeper", holder="a"))
    assert await holds(database, "b", NOW)


async def test_a_clock_that_was_set_back_blocks_for_a_lease_at_most(database: Database):
    assert await holds(database, "a", NOW)
    back = NOW - 3600
    assert not await holds(database, "b", back)
    assert await holds(database, "a", back + 5), "a leader that lives stays the leader"
    assert not await holds(database, "b", back + LEASE_S)
    assert await holds(database, "b", back + 5 + LEASE_S)


async def test_of_many_at_once_one_leads(database: Database):
    assert sum(await asyncio.gather(*(holds(database, f"{number}", NOW) for number in range(9)))) == 1


async def test_a_second_candidate_leads_when_the_first_has_left(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leader, "RENEW_S", 0.01)
    async with candidate(database, "sweeper", Clock()) as first:
        await asyncio.wait_for(first.wait(), 5)
        async with candidate(database, "sweeper", Clock()) as second:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.wait(), 0.1)
    async with candidate(database, "sweeper", Clock()) as third:
        await asyncio.wait_for(third.wait(), 5)


async def test_a_database_that_does_not_answer_stops_nobody(database: Database, monkeypatch: pytest.MonkeyPatch):
    async def silent(_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(database, "write", silent)
    async with candidate(database, "sweeper", Clock()) as leads:
        await asyncio.wait_for(leads.wait(), 5)


async def test_a_database_that_refuses_stops_nobody_and_is_said(database: Database, caplog: pytest.LogCaptureFixture):
    await database.write(lambda db: db.execute(text("ALTER TABLE lease RENAME TO away")))
    async with candidate(database, "sweeper", Clock()) as leads:
        await asyncio.wait_for(leads.wait(), 5)
    assert "the lease cannot be read or written" in caplog.text
