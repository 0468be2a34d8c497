"""One end for each job, and everybody hears the same, whoever wrote it and whatever came between."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from edge.db.rows import ImageRow, JobRow
from edge.domain import jobs
from edge.domain.jobs import LEASE_S
from edge.domain.run import Run
from edge.errors import DatabaseUnavailable
from serve_app.contract import Failed
from tests.edge.edges import START, Clock, Edge, make_edge
from tests.edge.routes.test_generation_events import followed, submitted

DAY_S = 86400


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncGenerator[Edge]:
    edge = make_edge(tmp_path, Clock())
    edge.generator.hold.clear()
    async with edge.opened():
        yield edge


@asynccontextmanager
async def locked(edge: Edge) -> AsyncGenerator[None]:
    """Nobody else can write."""
    connection = sqlite3.connect(edge.home / "sfumato.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@asynccontextmanager
async def another_edge(edge: Edge, *, later_s: float) -> AsyncGenerator[Edge]:
    """On the same home, its clock ahead: entering it ends what has no lease."""
    clock = Clock(edge.clock.now + later_s)
    async with make_edge(edge.home, clock).opened() as other:
        yield other


async def drawn(edge: Edge, events: str) -> Run:
    """The job under way, once it has begun."""
    await edge.generator.started.wait()
    run = edge.services.runs.find(events.split("/")[3])
    assert run
    return run


async def with_a_picture(edge: Edge) -> Run:
    """A job that has made its picture and does not end before `hold_end` is set."""
    edge.generator.hold_end.clear()
    edge.generator.hold.set()
    run = await drawn(edge, await submitted(edge))
    await edge.generator.drawn.wait()
    return run


async def job_row(edge: Edge) -> JobRow:
    return await edge.services.database.read(lambda db: db.scalars(select(JobRow)).one())


async def image_rows(edge: Edge) -> int:
    return await edge.services.database.read(lambda db: len(db.scalars(select(ImageRow)).all()))


async def test_a_cancel_while_the_end_is_written_changes_nothing(edge: Edge) -> None:
    events = await submitted(edge)
    run = await drawn(edge, events)
    following = asyncio.create_task(followed(edge, events))
    async with locked(edge):
        edge.generator.failure = Failed("engine_failed", "")
        edge.generator.hold.set()
        await asyncio.sleep(0.1)  # its end waits for the lock now
        deleting = asyncio.create_task(edge.client.delete(f"/v1/generations/{run.job_id}"))
        await asyncio.sleep(0.1)
        assert not run.ended
    assert (await deleting).status_code == 200
    assert (await following)[-1]["event"] == "failed"
    assert (await job_row(edge)).status == "failed"


async def test_an_end_that_cannot_be_written_is_heard_when_the_lease_has_passed(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await submitted(edge)
    run = await drawn(edge, events)
    following = asyncio.create_task(followed(edge, events))
    with monkeypatch.context() as broken:
        broken.setattr(jobs, "ended", refuse)
        edge.generator.hold.set()
        assert (await run.finished()).error_code == "database_unavailable"
    async with another_edge(edge, later_s=LEASE_S + 1):
        assert (await following)[-1]["event"] == "failed"


async def test_a_picture_of_a_call_that_somebody_else_failed_is_not_shown(edge: Edge) -> None:
    edge.sign_in(await edge.client.get("/v1/models"))
    drawing = asyncio.create_task(edge.draw())
    await edge.generator.started.wait()
    async with another_edge(edge, later_s=LEASE_S + 1):
        edge.generator.hold.set()
        reply = await drawing
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "edge_lost")
    assert await edge.services.store.keys("img/") == []
    assert await image_rows(edge) == 0


async def test_all_hear_the_state_that_stands_and_its_pictures_go(edge: Edge) -> None:
    run = await with_a_picture(edge)
    following = asyncio.create_task(followed(edge, f"/v1/generations/{run.job_id}/events"))
    async with another_edge(edge, later_s=LEASE_S + 1):
        edge.generator.hold_end.set()
        last = (await following)[-1]
    assert (last["event"], run.ended and run.ended.error_code) == ("failed", "edge_lost")
    assert await image_rows(edge) == 0


async def test_losing_a_job_raises_its_epoch(edge: Edge) -> None:
    await submitted(edge)
    async with another_edge(edge, later_s=LEASE_S + 1) as other:
        row = await job_row(other)
    assert (row.status, row.epoch) == ("failed", 2)


async def test_a_job_is_forgotten_a_day_after_its_last_picture_that_lives(edge: Edge) -> None:
    edge.generator.hold.set()
    await followed(edge, await submitted(edge))
    assert (await job_row(edge)).forget_at == START + 3600 + DAY_S


async def test_a_job_whose_picture_was_deleted_meanwhile_is_forgotten_a_day_after_its_end(edge: Edge) -> None:
    run = await with_a_picture(edge)
    [made] = run.made.values()
    assert made.row
    assert (await edge.client.delete(f"/v1/images/{made.row.id}")).status_code == 200
    edge.generator.hold_end.set()
    await run.finished()
    assert (await job_row(edge)).forget_at == START + DAY_S


async def test_a_job_that_another_edge_fails_outlives_its_pictures_by_a_day(edge: Edge) -> None:
    await with_a_picture(edge)
    async with another_edge(edge, later_s=LEASE_S + 1) as other:
        row = await job_row(other)
    assert (row.status, row.forget_at) == ("failed", START + 3600 + DAY_S)


async def test_a_job_that_could_not_be_accepted_leaves_no_channel(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    def never(*_: object) -> None:
        pytest.fail("a channel that nothing will close")

    monkeypatch.setattr(jobs, "create_job", trip)
    monkeypatch.setattr(edge.services.hub, "open", never)
    assert (await edge.submit()).json()["error"]["code"] == "server_error"


def refuse(_: object) -> object:
    raise DatabaseUnavailable
