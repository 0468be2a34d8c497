"""Pictures expire: nobody asks, nobody clicks, and afterwards they are neither in the store nor in the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from httpx2 import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cluster import lifecycle
from cluster.lifecycle import run_sweeper
from edge.db.rows import ConsentRow, ImageRow
from edge.domain import leader
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeper looks often; what is due is still decided by the clock."""
    for name in ("EARLY_S", "MINUTE_S", "HOUR_S"):
        monkeypatch.setattr(lifecycle, name, 0.01)
    monkeypatch.setattr(leader, "RENEW_S", 0.01)


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    """With two sweepers beside it."""
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        sweepers = [asyncio.create_task(run_sweeper(parts_of(edge.services, edge.keys))) for _ in range(2)]
        yield edge
        for sweeper in sweepers:
            sweeper.cancel()
        await asyncio.wait(sweepers)


def rows(db: Session) -> int:
    tables = (ImageRow, ConsentRow)
    return sum(db.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


async def left(edge: Edge) -> int:
    """Objects and rows of pictures."""
    store = edge.services.store
    return len([*await store.keys("img/"), *await store.keys("training/")]) + await edge.services.database.read(rows)


async def all_gone(edge: Edge) -> None:
    async with asyncio.timeout(20):
        while True:
            if not await left(edge):
                return
            await asyncio.sleep(0.01)


async def test_a_picture_goes_at_its_minute_by_itself(edge: Edge):
    urls = [image["url"] for image in (await edge.draw(n=3, retention="PT10M")).json()["data"]]
    edge.clock.advance(599)
    assert [(await edge.client.get(url)).status_code for url in urls] == [200] * 3
    edge.clock.advance(1)
    assert [(await edge.client.get(url)).status_code for url in urls] == [410] * 3
    await all_gone(edge)
    assert [(await edge.client.get(url)).status_code for url in urls] == [410] * 3


async def test_none_is_never_stored(edge: Edge):
    reply = await edge.draw(n=2, retention="none", response_format="b64_json")
    assert (reply.status_code, len(reply.json()["data"]), await left(edge)) == (200, 2, 0)


async def test_after_its_first_download_a_picture_goes_within_a_minute(edge: Edge):
    url = (await edge.draw(retention="on_download")).json()["data"][0]["url"]
    assert (await edge.client.get(url)).status_code == 200
    edge.clock.advance(59)
    assert (await edge.client.get(url)).status_code == 200
    edge.clock.advance(1)
    await all_gone(edge)
    assert (await edge.client.get(url)).status_code == 410


async def test_what_is_deleted_while_it_is_downloaded_comes_whole_or_not_at_all(edge: Edge):
    for _ in range(10):
        url = (await edge.draw(retention="PT1H")).json()["data"][0]["url"]
        whole = (await edge.client.get(url)).content
        *downloads, _ = await asyncio.gather(*(edge.client.get(url) for _ in range(4)), edge.client.delete(url))
        assert all(_is_whole_or_gone(reply, whole) for reply in downloads)
    await all_gone(edge)


async def test_what_is_due_while_others_are_drawn_goes_and_they_stay(edge: Edge):
    await edge.draw(retention="PT1M")
    drawing = [asyncio.create_task(edge.draw(retention="PT1H")) for _ in range(4)]
    edge.clock.advance(120)
    replies = await asyncio.gather(*drawing)
    kept = [image["url"] for reply in replies for image in reply.json()["data"]]
    async with asyncio.timeout(20):
        while len(await edge.services.store.keys("img/")) > len(kept):  # noqa: ASYNC110  the sweeper tells nobody
            await asyncio.sleep(0.01)
    assert [(await edge.client.get(url)).status_code for url in kept] == [200] * 4


async def test_a_sweeper_that_dies_is_followed_by_the_other(tmp_path: Path, database_url: str):
    async with AsyncExitStack() as opened:
        edge = await opened.enter_async_context(
            make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened()
        )
        first, second = (asyncio.create_task(run_sweeper(parts_of(edge.services, edge.keys))) for _ in range(2))
        for sweeper in (first, second):
            await edge.draw(retention="PT1M")
            edge.clock.advance(60)
            await all_gone(edge)
            sweeper.cancel()
            await asyncio.wait([sweeper])


def _is_whole_or_gone(reply: Response, whole: bytes) -> bool:
    return reply.status_code == 410 or (reply.status_code, reply.content) == (200, whole)
