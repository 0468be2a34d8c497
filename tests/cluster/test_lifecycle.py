import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from cluster.lifecycle import Swept, run_sweeper, sweep_once
from edge.db.rows import ImageRow, JobRow, SessionRow
from serve_app.errors import StoreUnavailable
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.servers import S3Server

DAY_S = 86400


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        yield edge


@pytest.fixture
async def edge_on_s3(tmp_path: Path, s3: S3Server) -> AsyncIterator[Edge]:
    await asyncio.to_thread(s3.client().make_bucket, "swept")
    env = {
        "SFUMATO_S3_URL": s3.url,
        "SFUMATO_S3_BUCKET": "swept",
        "SFUMATO_S3_ACCESS_KEY": s3.access_key,
        "SFUMATO_S3_SECRET_KEY": s3.secret_key,
    }
    async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
        yield edge


async def swept(edge: Edge) -> Swept:
    services = edge.services
    return await sweep_once(edge.clock(), services.store, services.database, services.policies)


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

    async def broken(_: str) -> list[str]:
        nonlocal sweeps
        sweeps += 1
        if sweeps == 2:
            second_sweep.set()
        raise RuntimeError("out of order")

    monkeypatch.setattr(edge.services.store, "children", broken)
    monkeypatch.setattr("cluster.lifecycle.MINUTE_S", 0.01)
    services = edge.services
    sweeping = asyncio.create_task(run_sweeper(edge.clock, services.store, services.database, services.policies))
    await asyncio.wait_for(second_sweep.wait(), 5)
    sweeping.cancel()
    await asyncio.wait([sweeping])


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
        assert (await swept(edge)).left == ["objects", "rows"]
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
    await edge.draw()
    edge.clock.advance(20 * DAY_S)
    assert (await swept(edge)).removed["sessions"] == 0
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
    result = await sweep_once(edge.clock(), services.store, services.database, services.policies, batch=4)
    assert (result.removed["objects"], result.removed["rows"]) == (9, 9)
    assert sizes == [4, 4, 1] * 2
    edge.clock.advance(DAY_S)
    result = await sweep_once(edge.clock(), services.store, services.database, services.policies, batch=2)
    assert result.removed["jobs"] == 3


async def test_one_minute_that_cannot_be_emptied_keeps_no_other_from_going(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for days, minute in ((1, "0758"), (1, "0759"), (2, "0758")):
        await edge.services.store.put(f"img/{days}d/20270115T{minute}Z/{'a' * 32}", b"sealed")
    await edge.draw(retention="PT1M")
    edge.clock.advance(DAY_S + 60)
    keys = edge.services.store.keys

    async def odd(prefix: str) -> list[str]:
        if prefix == "img/1d/20270115T0758Z/":
            raise RuntimeError("a text that nobody has checked")
        return await keys(prefix)

    with monkeypatch.context() as broken:
        broken.setattr(edge.services.store, "keys", odd)
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
