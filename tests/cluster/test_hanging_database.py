"""A database or a store that hangs instead of refusing: what is due goes all the same, and callers hear of it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from cluster.lifecycle import run_sweeper, sweep_once
from edge.db import database as database_module
from tests.edge.edges import Clock, Edge, make_edge
from tests.silence import silenceable
from tests.sweeping import parts_of

GONE_WITHIN_S = 20


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(database_module, "ANSWER_S", 0.3)
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 100)


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge


async def one_is_due(edge: Edge) -> None:
    await edge.services.store.put(f"img/1d/20270115T0800Z/{'a' * 32}", b"sealed")
    edge.clock.advance(3600)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_pictures_go_and_callers_hear_of_it_while_the_database_hangs(tmp_path: Path, database_url: str) -> None:
    async with (
        silenceable(database_url) as line,
        make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": line.url}).opened() as edge,
    ):
        await one_is_due(edge)
        line.fall_silent()
        sweeping = asyncio.create_task(run_sweeper(parts_of(edge.services, edge.keys)))
        async with asyncio.timeout(GONE_WITHIN_S):
            while await edge.services.store.keys("img/"):  # noqa: ASYNC110  the store says nothing by itself
                await asyncio.sleep(0.05)
            reply = await edge.client.post("/v1/images/generations", json={"prompt": "a red apple"})
        assert (reply.status_code, "retry-after" in reply.headers) == (503, True)
        line.speak()
        sweeping.cancel()
        await asyncio.wait([sweeping])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_table_that_somebody_holds_keeps_nothing_else_from_going(edge: Edge, database_url: str) -> None:
    await one_is_due(edge)
    operator = create_async_engine(database_url)
    async with operator.begin() as holding:
        await holding.execute(text("LOCK TABLE day_key IN ACCESS EXCLUSIVE MODE"))
        report = await sweep_once(parts_of(edge.services, edge.keys))
    await operator.dispose()
    assert report.removed["objects"] == 1
    assert (
        {"day keys", "day keys to come"}
        <= set(report.left)
        <= {"day keys", "day keys to come", "traces in the database"}
    )


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_that_somebody_writes_without_an_end_keeps_no_picture(edge: Edge) -> None:
    await one_is_due(edge)
    with closing(sqlite3.connect(edge.services.database.engine.url.database or "")) as holding:
        holding.execute("BEGIN IMMEDIATE")
        report = await sweep_once(parts_of(edge.services, edge.keys))
    assert (report.removed["objects"], await edge.services.store.keys("img/")) == (1, [])
    assert "jobs" in report.left


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_store_that_hangs_keeps_no_rows_and_no_report(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    await edge.draw(retention="PT1M")
    edge.clock.advance(40 * 86_400)
    monkeypatch.setattr(edge.services.store, "delete", hang)
    report = await sweep_once(parts_of(edge.services, edge.keys), limit_s=0.3)
    assert {"objects", "rows"} <= set(report.left)
    assert report.removed["sessions"] == 1
    assert report.oldest_due_at is not None
