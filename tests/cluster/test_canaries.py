"""Canaries: planted by the sweeper, removed by nobody but the store's own rule."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from cluster.lifecycle import EACH_HOUR, sweep_once
from edge.domain.reports import CanaryReport, read_canaries
from edge.domain.standing import read_standing
from policies.presets import write_preset
from tests.edge.edges import Clock, Edge, make_edge
from tests.servers import S3Server
from tests.sweeping import parts_of

ORPHANS = {"orphans": EACH_HOUR["orphans"]}
CANARIES = {"canaries": EACH_HOUR["canaries"]}
HOUR_S = 3_600
DAY_S = 86_400


@pytest.fixture
async def edge(tmp_path: Path, s3: S3Server, database_url: str) -> AsyncIterator[Edge]:
    with s3.bucket() as env:
        env["SFUMATO_DATABASE_URL"] = database_url
        async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
            yield edge


async def look_after(edge: Edge) -> list[CanaryReport]:
    assert (await sweep_once(parts_of(edge.services, edge.keys), CANARIES)).is_complete
    return await edge.services.database.read(read_canaries)


async def test_each_short_class_has_one_a_day_and_the_sweeper_leaves_them(edge: Edge):
    canaries = await look_after(edge)
    for _ in range(2):
        edge.clock.advance(HOUR_S)
        canaries = await look_after(edge)
    assert [(canary.class_days, canary.due_at - canary.planted_at) for canary in canaries] == [
        (1, 3 * DAY_S),
        (2, 4 * DAY_S),
    ]
    edge.clock.advance(DAY_S - HOUR_S)
    assert len(await look_after(edge)) == 4
    await sweep_once(parts_of(edge.services, edge.keys))
    assert len(await edge.services.store.keys("img/")) == 4


async def test_one_that_the_rule_removed_is_gone_and_one_that_stays_is_overdue(
    edge: Edge, caplog: pytest.LogCaptureFixture
):
    await look_after(edge)
    [short] = await edge.services.store.keys("img/1d/canary/")
    await edge.services.store.delete([short])
    edge.clock.advance(DAY_S)
    canaries = [canary for canary in await look_after(edge) if canary.planted_at < edge.clock()]
    assert [canary.state(edge.clock()) for canary in canaries] == ["gone", "waiting"]
    edge.clock.advance(4 * DAY_S)
    planted_first = (await look_after(edge))[-2:]
    assert [canary.state(edge.clock()) for canary in planted_first] == ["gone", "overdue"]
    assert "the store's rule of 2 d did not remove a canary: 24 h overdue" in caplog.text


async def test_of_a_bucket_that_was_emptied_nothing_is_proved_and_it_is_an_alarm(edge: Edge):
    await look_after(edge)
    await edge.services.store.delete(await edge.services.store.keys("img/"))
    edge.clock.advance(HOUR_S)
    assert [canary.state(edge.clock()) for canary in await look_after(edge)] == ["early", "early"]
    standing = await edge.services.database.read(partial(read_standing, now=edge.clock(), watched=[]))
    assert "Canaries that went too early for the store's rule to have done it: 2 of 2." in standing.alarms


async def test_a_class_in_which_none_was_planted_for_two_days_is_an_alarm(edge: Edge):
    await look_after(edge)
    edge.clock.advance(2 * DAY_S + 1)
    page = (await edge.client.get("/privacy/status")).text
    assert "No canary has been planted under img/1d/ for 2 days." in page
    assert "No canary has been planted under img/31d/" not in page
    await look_after(edge)
    assert "No canary has been planted" not in (await edge.client.get("/privacy/status")).text


async def test_copies_for_training_have_one_where_their_class_is_short(tmp_path: Path, s3: S3Server):
    write_preset("european", tmp_path / "policies")
    retention = tmp_path / "policies" / "retention.toml"
    retention.write_text(retention.read_text().replace('kept_for = "P365D"', 'kept_for = "P3D"', 1))
    with s3.bucket() as env:
        env["SFUMATO_POLICIES"] = str(tmp_path / "policies")
        async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
            assert [canary.prefix for canary in await look_after(edge)] == ["img/1d/", "img/2d/", "training/4d/"]
            [key] = await edge.services.store.keys("training/")
            edge.clock.advance(5 * DAY_S)
            await sweep_once(parts_of(edge.services, edge.keys))
            assert (await sweep_once(parts_of(edge.services, edge.keys), ORPHANS)).is_complete
            assert await edge.services.store.keys("training/") == [key]


async def test_its_bytes_say_nothing(edge: Edge):
    await look_after(edge)
    keys = await edge.services.store.keys("img/")
    first, second = [await edge.services.store.get(key) for key in keys]
    assert (len(first), len(second), first == second) == (32, 32, False)


async def test_its_row_goes_after_its_time(edge: Edge):
    await look_after(edge)
    edge.clock.advance(30 * DAY_S)
    assert (await sweep_once(parts_of(edge.services, edge.keys))).removed["canaries"] == 2


async def test_a_directory_has_no_canaries(tmp_path: Path):
    async with make_edge(tmp_path, Clock()).opened() as edge:
        assert await look_after(edge) == []
