"""Whatever deletes at the same time: what all receipts count adds up to what was there, and nothing is left."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from httpx2 import AsyncClient, Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from edge.db.rows import ImageRow, JobRow, PromptRow, SessionRow
from tests.edge.edges import Clock, Edge, make_edge

ERASE = {"sfumato-confirm": "erase"}
DEEDS = st.sampled_from(["image", "address", "generation", "me", "download", "start", "wait"])
AT_ONCE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class House:
    """One session with pictures and a generation under way, and everything it may do at once."""

    def __init__(self, edge: Edge, jobs: list[dict[str, Any]]) -> None:
        self.edge = edge
        self.jobs = jobs
        self.images = [image for job in jobs for image in job["images"]]

    async def do(self, deed: str, number: int) -> Response | None:
        client: AsyncClient = self.edge.client
        image, job = self.images[number % len(self.images)], self.jobs[number % len(self.jobs)]
        match deed:
            case "image":
                return await client.delete(f"/v1/images/{image['id']}")
            case "address":
                return await client.delete(image["url"])
            case "generation":
                return await client.delete(f"/v1/generations/{job['id']}")
            case "me":
                return await client.delete("/v1/privacy/me", headers=ERASE)
            case "download":
                reply = await client.get(image["url"])
                assert reply.status_code in (200, 410)
            case "start":
                await self.edge.submit(n=2)
            case _:
                await asyncio.sleep(0)
        return None


async def furnished(edge: Edge) -> House:
    edge.client.headers.pop("authorization", None)
    edge.clock.advance(120)  # a network may have so many pictures in a minute
    reply = await edge.submit(n=3)
    edge.sign_in(reply)
    ids = [reply.json()["id"], (await edge.submit(n=2)).json()["id"]]
    for job_id in ids:
        await edge.client.get(f"/v1/generations/{job_id}/events")
    return House(edge, [(await edge.client.get(f"/v1/generations/{job_id}")).json() for job_id in ids])


async def rows(edge: Edge) -> dict[str, int]:
    tables = {"images": ImageRow, "generations": JobRow, "prompts": PromptRow, "sessions": SessionRow}
    return {
        name: await edge.services.database.read(
            lambda db, row=row: db.scalar(select(func.count()).select_from(row)) or 0
        )
        for name, row in tables.items()
    }


def counted(replies: list[Response | None]) -> Counter[str]:
    total: Counter[str] = Counter()
    for reply in replies:
        assert reply is None or reply.status_code in (200, 404, 410)
        if reply is not None and reply.status_code == 200:
            total.update(reply.json()["claims"]["counts"])
    return total


def test_receipts_of_deletions_at_once_add_up(tmp_path: Path, database_url: str) -> None:
    with asyncio.Runner() as runner:
        opened, env = AsyncExitStack(), {"SFUMATO_DATABASE_URL": database_url}
        edge = runner.run(opened.enter_async_context(make_edge(tmp_path, Clock(), env=env).opened()))

        @AT_ONCE
        @given(deeds=st.lists(st.tuples(DEEDS, st.integers(0, 5)), min_size=1, max_size=10))
        def add_up(deeds: list[tuple[str, int]]) -> None:
            runner.run(do_at_once(edge, deeds))

        try:
            add_up()
        finally:
            runner.run(opened.aclose())


async def do_at_once(edge: Edge, deeds: list[tuple[str, int]]) -> None:
    house = await furnished(edge)
    replies = await asyncio.gather(*(house.do(deed, number) for deed, number in deeds))
    last = await edge.client.delete("/v1/privacy/me", headers=ERASE)
    started = sum(deed == "start" for deed, _ in deeds)
    total = counted([*replies, last])
    assert await rows(edge) == {"images": 0, "generations": 0, "prompts": 0, "sessions": 0}
    left = {key.rpartition("/")[2] for key in await edge.services.store.keys("img/")}
    assert not left.intersection(image["id"] for image in house.images)
    assert 5 <= total["images"] <= 5 + 2 * started
    assert total["generations"] == total["prompts"] == 2 + started
    again = await edge.client.delete("/v1/privacy/me", headers=ERASE)
    assert again.json()["claims"]["classes"] == []


async def test_deleting_while_it_draws_cancels_and_what_was_made_goes(edge: Edge) -> None:
    edge.generator.hold_end.clear()
    reply = await edge.submit(n=3)
    edge.sign_in(reply)
    await edge.generator.drawn.wait()
    address = f"/v1/generations/{reply.json()['id']}"
    while len((await edge.client.get(address)).json()["images"]) < 3:
        pass
    claims = (await edge.client.delete(address)).json()["claims"]
    assert (claims["scope"], claims["counts"]["images"], claims["counts"]["generations"]) == ("generation", 3, 0)
    assert [each["class"] for each in claims["retained"]] == ["job_state", "moderation_prompt", "proofs"]
    shown = (await edge.client.get(address)).json()
    assert (shown["status"], shown["images"]) == ("cancelled", [])
    assert await edge.services.store.keys("img/") == []
