"""The backstop on a store that really expires: Ceph's gateway, whose days are made short. No deleter runs here."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster.lifecycle import EACH_HOUR, sweep_once
from edge.domain.reports import RulesReport, read_canaries, read_report
from policies.load import load_policies
from policies.publish import lifecycle_rules
from serve_app.storage.rules import install_rules, verify_rules
from tests.edge.edges import Clock, Edge, make_edge
from tests.servers import S3Server, ServerMissing, ceph
from tests.sweeping import parts_of

DAY_S = 10
EXPIRED_WITHIN_S = 90.0
WANTED = lifecycle_rules(load_policies())
LOOK = {name: EACH_HOUR[name] for name in ("rules", "canaries")}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    try:
        with ceph(DAY_S) as server:
            yield server
    except ServerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
async def edge(tmp_path: Path, server: S3Server) -> AsyncIterator[Edge]:
    with server.bucket() as env:
        async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
            yield edge


async def gone(edge: Edge, key: str) -> None:
    """Returns when nothing lies there any more."""
    async with asyncio.timeout(EXPIRED_WITHIN_S):
        while True:
            if not await edge.services.store.keys(key.rpartition("/")[0] + "/"):
                return
            await asyncio.sleep(0.5)


@pytest.mark.long
async def test_a_rule_of_the_policy_expires_by_itself_and_leaves_a_longer_class_alone(edge: Edge):
    store, settings = edge.services.store, edge.services.settings.store
    assert (await install_rules(settings, WANTED)).state == "agree"
    assert (await verify_rules(settings, WANTED)).findings == []
    short, longest = (f"img/{days}d/20990101T0000Z/{secrets.token_hex(16)}" for days in (1, 31))
    copy = f"training/366d/20990101T0000Z/{secrets.token_hex(16)}"
    for key in (short, longest, copy):
        await store.put(key, b"sealed")
    assert len(await store.keys("img/")) == 2
    await gone(edge, short)
    assert await store.keys("img/") == [longest]
    assert await store.keys("training/") == [copy]


@pytest.mark.long
async def test_a_canary_goes_by_the_rule_alone_and_is_seen_to_have_gone(edge: Edge):
    await install_rules(edge.services.settings.store, WANTED)
    assert (await sweep_once(parts_of(edge.services, edge.keys), LOOK)).is_complete
    await gone(edge, "img/1d/canary/x")
    edge.clock.advance(86_400)  # a day of ours has passed, as one of the store's has
    await sweep_once(parts_of(edge.services, edge.keys), LOOK)
    canaries = await edge.services.database.read(read_canaries)
    assert {canary.class_days: canary.state(edge.clock()) for canary in canaries}[1] == "gone"
    report = await edge.services.database.read(lambda db: read_report(db, RulesReport))
    assert report is not None
    assert report.is_held
