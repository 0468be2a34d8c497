import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from cluster import lifecycle, minutes
from cluster.lifecycle import EACH_HOUR, EARLY, run_sweeper, sweep_once
from edge.db.rows import ConsentRow, ImageRow, JobRow, SessionRow
from edge.domain.erasure import due
from edge.domain.reports import HourlyReport, ReportT, SweepReport, read_report
from serve_app.errors import StoreUnavailable
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.servers import S3Server
from tests.sweeping import parts_of

DAY_S = 86400
ORPHANS = {"orphans": EACH_HOUR["orphans"]}


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge


@pytest.fixture
async def edge_on_s3(tmp_path: Path, s3: S3Server) -> AsyncIterator[Edge]:
    with s3.bucket() as env:
        async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
            yield edge


async def swept(edge: Edge) -> SweepReport:
    return await sweep_once(parts_of(edge.services, edge.keys))


@asynccontextmanager
async def sweeping(edge: Edge) -> AsyncGenerator[None]:
    task = asyncio.create_task(run_sweeper(parts_of(edge.services, edge.keys)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def reported(edge: Edge, kind: type[ReportT]) -> ReportT:
    """The first report of its kind, as soon as it is there."""
    async with asyncio.timeout(10):
        while True:
            if report := await edge.services.database.read(partial(read_report, kind=kind)):
                return report
            await asyncio.sleep(0.01)


async def counts(edge: Edge) -> tuple[int, int, int]:
    def count(db: Session) -> tuple[int, int, int]:
        images, jobs, sessions = (
            db.scalar(select(func.count()).select_from(row)) or 0 for row in (ImageRow, JobRow, SessionRow)
        )
        return images, jobs, sessions

    return await edge.services.database.read(count)


async def objects(edge: Edge) -> int:
    return len(await edge.services.store.keys("img/"))


async def test_nothing_goes_before_its_minute_and_all_of_it_then(edge: Edge) -> None:
    url = (await edge.draw(n=3, retention="PT1M")).json()["data"][0]["url"]
    edge.clock.advance(59)
    await swept(edge)
    assert (await objects(edge), (await counts(edge))[0]) == (3, 3)
    edge.clock.advance(1)
    await swept(edge)
    assert (await objects(edge), (await counts(edge))[0]) == (0, 0)
    assert (await edge.client.get(url)).status_code == 410


async def test_an_object_whose_row_was_never_written_goes_too(edge: Edge) -> None:
    await edge.services.store.put(f"img/1d/20270115T0800Z/{'a' * 32}", b"sealed")
    edge.clock.advance(3600)
    result = await swept(edge)
    assert (result.removed["objects"], await objects(edge)) == (1, 0)


async def test_it_is_the_same_on_a_real_s3(edge_on_s3: Edge) -> None:
    url = (await edge_on_s3.draw(n=2, retention="PT1M")).json()["data"][0]["url"]
    await edge_on_s3.services.store.put(f"img/1d/20270115T0800Z/{'a' * 32}", b"sealed")
    assert (await edge_on_s3.client.get(url)).content == PIXEL
    edge_on_s3.clock.advance(60)
    assert not (await swept(edge_on_s3)).left
    assert await objects(edge_on_s3) == 0
    assert (await edge_on_s3.client.get(url)).status_code == 410


async def test_the_sweeper_outlives_a_sweep_that_fails(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    second_sweep = asyncio.Event()
    sweeps = 0

    async def broken(_: str, *, until: str | None = None) -> list[str]:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 2:
            second_sweep.set()
        raise RuntimeError("out of order")

    monkeypatch.setattr(edge.services.store, "children", broken)
    monkeypatch.setattr(lifecycle, "MINUTE_S", 0.01)
    async with sweeping(edge):
        await asyncio.wait_for(second_sweep.wait(), 5)


async def test_a_sweeper_that_is_to_end_ends_wherever_it_is(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EARLY_S", "MINUTE_S", "HOUR_S"):
        monkeypatch.setattr(lifecycle, name, 0.01)
    choice = random.Random(5)
    for _ in range(40):
        async with asyncio.timeout(10), sweeping(edge):
            await asyncio.sleep(choice.uniform(0, 0.1))


async def test_canaries_and_later_minutes_stay(edge: Edge) -> None:
    await edge.services.store.put("img/1d/canary/x", b"canary")
    await edge.draw(retention="P1D")
    edge.clock.advance(3600)
    await swept(edge)
    assert await objects(edge) == 2


async def test_a_sweep_that_was_cut_off_is_finished_by_the_next(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    await edge.draw(retention="PT1M")
    edge.clock.advance(60)
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "delete", refuse)
        report = await swept(edge)
    assert (report.left, report.oldest_due_at) == (["objects", "rows"], edge.clock.now)
    assert await objects(edge) == 1
    assert not (await swept(edge)).left
    assert (await objects(edge), (await counts(edge))[0]) == (0, 0)


async def test_a_deletion_that_the_store_missed_is_finished(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    url = (await edge.draw()).json()["data"][0]["url"]
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "delete", refuse)
        await edge.client.delete(url)
    await swept(edge)
    assert (await objects(edge), (await counts(edge))[0]) == (0, 0)


async def test_the_bare_state_of_a_job_outlives_its_last_picture_by_a_day(edge: Edge) -> None:
    await edge.draw(retention="PT1H")
    edge.clock.advance(3600)
    await swept(edge)
    edge.clock.advance(DAY_S - 1)
    await swept(edge)
    assert (await counts(edge))[1] == 1
    edge.clock.advance(1)
    assert (await swept(edge)).removed["jobs"] == 1
    assert (await counts(edge))[1] == 0


async def test_deleting_early_brings_the_end_of_the_state_forward(edge: Edge) -> None:
    url = (await edge.draw(retention="P1D")).json()["data"][0]["url"]
    await edge.client.delete(url)
    edge.clock.advance(DAY_S)
    assert (await swept(edge)).removed["jobs"] == 1


async def test_a_session_goes_when_it_was_idle_for_thirty_days(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    edge.clock.advance(20 * DAY_S)
    await edge.make_day_keys()
    await edge.draw()
    edge.clock.advance(20 * DAY_S)
    assert (await swept(edge)).removed.get("sessions", 0) == 0
    edge.clock.advance(11 * DAY_S)
    assert (await swept(edge)).removed["sessions"] == 1


async def test_many_rows_go_in_batches(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    services = edge.services
    for _ in range(3):
        await edge.draw(n=3, retention="PT1M")
    edge.clock.advance(60)
    sizes: list[int] = []
    delete = services.store.delete

    async def counted(keys: Sequence[str]) -> None:
        sizes.append(len(keys))
        await delete(keys)

    monkeypatch.setattr(services.store, "delete", counted)
    monkeypatch.setattr(minutes, "BATCH", 4)
    monkeypatch.setattr(lifecycle, "BATCH", 2)
    await swept(edge)
    assert (sorted(sizes), await objects(edge), (await counts(edge))[0]) == ([1, 4, 4], 0, 0)
    edge.clock.advance(DAY_S)
    assert (await swept(edge)).removed["jobs"] == 3


async def test_many_sessions_go_in_batches(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = [SessionRow(id=f"{number:032}", last_used_on=date(2026, 1, 1)) for number in range(5)]
    await edge.services.database.write(lambda db: db.add_all(idle))
    monkeypatch.setattr(lifecycle, "BATCH", 2)
    assert (await swept(edge)).removed["sessions"] == 5


async def test_one_minute_that_cannot_be_emptied_keeps_no_other_from_going(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for days, minute in ((1, "0758"), (1, "0759"), (2, "0758")):
        await edge.services.store.put(f"img/{days}d/20270115T{minute}Z/{'a' * 32}", b"sealed")
    await edge.draw(retention="PT1M")
    edge.clock.advance(DAY_S + 60)
    batches = edge.services.store.batches

    def odd(prefix: str, size: int) -> AsyncIterator[list[str]]:
        if prefix == "img/1d/20270115T0758Z/":
            raise RuntimeError("a text that nobody has checked")
        return batches(prefix, size)

    with monkeypatch.context() as broken:
        broken.setattr(edge.services.store, "batches", odd)
        result = await swept(edge)
    assert (result.removed["objects"], result.removed["jobs"], result.left) == (3, 1, ["objects"])
    assert "objects are left for the next sweep: RuntimeError" in caplog.text
    assert "nobody has checked" not in caplog.text
    assert (await swept(edge)).removed["objects"] == 1


@pytest.mark.parametrize("name", ["image", "job", "session"])
async def test_a_table_that_fails_keeps_no_other_kind_from_going(edge: Edge, name: str) -> None:
    await edge.draw(retention="PT1M")
    edge.clock.advance(40 * DAY_S)
    await edge.services.database.write(lambda db: db.execute(text(f"ALTER TABLE {name} RENAME TO away")))
    result = await swept(edge)
    assert result.removed["objects"] == 1
    assert result.left
    assert name == "session" or result.removed["sessions"] == 1


async def test_a_shortened_time_and_a_begun_deletion_go_between_the_minutes(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("down")

    images = (await edge.draw(n=3, retention="PT1H")).json()["data"]
    with monkeypatch.context() as down:
        down.setattr(edge.services.store, "delete", refuse)
        await edge.client.delete(images[0]["url"])
    shorter = update(ImageRow).where(ImageRow.id == images[1]["id"]).values(delete_at=int(edge.clock.now) + 60)
    await edge.services.database.write(lambda db: db.execute(shorter))
    edge.clock.advance(63)
    report = await sweep_once(parts_of(edge.services, edge.keys), EARLY)
    assert (report.removed["rows"], report.lag_s) == (2, 63)
    assert (await objects(edge), (await counts(edge))[0]) == (1, 1)


async def test_a_report_of_each_minute_can_be_read_by_the_edge(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    await edge.draw(n=2, retention="PT1M")
    edge.clock.advance(75)
    async with sweeping(edge):
        report = await reported(edge, SweepReport)
    assert (report.removed, report.lag_s, report.is_complete) == ({"objects": 2}, 15, True)


async def test_what_the_checks_of_the_hour_could_not_finish_can_be_read_by_the_edge(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: object) -> None:
        raise StoreUnavailable("not now")

    monkeypatch.setitem(EACH_HOUR, "orphans", refuse)
    async with sweeping(edge):
        report = await reported(edge, HourlyReport)
    assert report == HourlyReport(at=int(edge.clock.now), left=["orphans"])


async def test_an_object_of_an_image_that_was_stored_twice_takes_no_row_that_names_the_other(edge: Edge) -> None:
    image = (await edge.draw(retention="PT1H")).json()["data"][0]
    await edge.services.store.put(f"img/1d/20270115T0801Z/{image['id']}", b"of the first attempt")
    edge.clock.advance(120)
    assert (await swept(edge)).removed["objects"] == 1
    assert (await edge.client.get(image["url"])).content == PIXEL


async def test_training_copies_go_at_their_minute_and_those_without_a_consent_after_an_hour(edge: Edge) -> None:
    def key(minute: str, digit: str) -> str:
        return f"training/366d/{minute}/{digit * 32}"

    store = edge.services.store
    stored_now = "20280115T0800Z"  # 365 days from the clock's start
    past, consented, orphan = key("20270115T0800Z", "a"), key(stored_now, "b"), key(stored_now, "c")
    for each in (past, consented, orphan):
        await store.put(each, b"sealed")
    row = ConsentRow(
        id="b" * 32, owner_kind="session", owner_id="s" * 32, key=consented, mode="opt_out", ground="contract",
        given_at=int(edge.clock.now), delete_at=int(edge.clock.now) + 365 * DAY_S,
    )  # fmt: skip
    session = SessionRow(id=row.owner_id, last_used_on=date(2027, 1, 15))
    await edge.services.database.write(lambda db: db.add_all([row, session]))
    assert (await swept(edge)).removed["copies"] == 1
    await sweep_once(parts_of(edge.services, edge.keys), ORPHANS)
    assert await store.keys("training/") == [consented, orphan]
    edge.clock.advance(3600)
    await sweep_once(parts_of(edge.services, edge.keys), ORPHANS)
    assert await store.keys("training/") == [consented]


async def test_with_a_million_rows_what_is_due_is_found_by_an_index(edge: Edge) -> None:
    """SQLite says how it would look; a scan of the table would be no way to look every five seconds."""
    if edge.services.database.engine.dialect.name != "sqlite":
        return
    queries = [select(ImageRow.id).where(due(edge.clock())), select(func.min(ImageRow.erased_at))]
    for query in queries:
        plain = str(query.compile(compile_kwargs={"literal_binds": True}))
        plan = await edge.services.database.read(lambda db, q=plain: db.execute(text(f"EXPLAIN QUERY PLAN {q}")).all())
        assert "SCAN image" not in str([row for row in plan if "COVERING" not in str(row)]), plan


async def test_what_is_left_on_disk_makes_no_picture_again(edge: Edge) -> None:
    seed = 8_123_456_789_012_345
    await edge.draw(seed=seed, retention="PT1M", prompt="a red apple xylocanary")
    edge.clock.advance(60)
    await swept(edge)
    for path in edge.home.rglob("*"):
        if path.is_file():
            left = path.read_bytes()
            assert seed.to_bytes(8, "big")[1:] not in left
            assert b"xylocanary" not in left
