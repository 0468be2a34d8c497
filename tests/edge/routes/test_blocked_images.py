"""A picture that may not be seen, as its caller meets it, and what stays of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from httpx2 import Response
from sqlalchemy import select

from edge.db.rows import ImageRow, ModerationDecisionRow
from policies.load import load_policies
from policies.moderation import AgeAssurance
from policies.schema import Policies
from serve_app.contract import Blocked, Failed
from tests.edge.accounts import bearer, new_key
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.routes.test_generation_events import followed, frames_of, submitted


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        edge.generator.failure = Blocked("sexual")
        yield edge


async def decision(edge: Edge) -> ModerationDecisionRow:
    return await edge.services.database.read(lambda db: db.scalars(select(ModerationDecisionRow)).one())


async def kept(edge: Edge) -> int:
    """Pictures whose address still opens, and objects under any."""
    alive = select(ImageRow).where(ImageRow.erased_at.is_(None))
    rows = await edge.services.database.read(lambda db: len(db.scalars(alive).all()))
    return rows + len(await edge.services.store.keys("img/"))


def refused(reply: Response) -> dict[str, str]:
    assert reply.status_code == 400, reply.text
    return reply.json()["error"]


async def test_a_call_hears_stage_category_and_a_reference_that_is_remembered(edge: Edge):
    error = refused(await edge.draw(prompt="a purple walrus"))
    assert (error["code"], error["stage"], error["category"]) == ("moderation_blocked", "image", "sexual")
    remembered = await decision(edge)
    assert (remembered.id, remembered.stage, remembered.category) == (error["reference"], "image", "sexual")
    assert "walrus" not in json.dumps(error)


async def test_a_stream_hears_it_as_its_last_event(edge: Edge):
    edge.generator.fails_after_images = True
    edge.generator.hold_end.clear()
    drawing = asyncio.create_task(edge.draw(stream=True))
    await edge.generator.drawn.wait()
    await asyncio.sleep(0)
    edge.generator.hold_end.set()
    told = json.loads(frames_of((await drawing).text)[-1]["data"])["error"]
    assert (told["code"], told["stage"]) == ("moderation_blocked", "image")
    assert told["reference"] == (await decision(edge)).id


async def test_a_job_ends_as_blocked_and_says_so_wherever_it_is_asked(edge: Edge):
    events = await submitted(edge)
    last = (await followed(edge, events))[-1]
    assert last["event"] == "blocked"
    job = json.loads(last["data"])
    assert (job["status"], job["images"]) == ("blocked", [])
    assert {name: job["error"][name] for name in ("code", "stage", "category", "reference")} == {
        "code": "moderation_blocked", "stage": "image", "category": "sexual", "reference": job["id"],
    }  # fmt: skip
    shown = (await edge.client.get(events.removesuffix("/events"))).json()
    assert shown["error"] == job["error"]


async def test_after_its_events_are_gone_a_job_still_names_the_reference(edge: Edge):
    events = await submitted(edge)
    await followed(edge, events)
    edge.clock.advance(601)
    await edge.services.runs.tick()
    error = (await edge.client.get(events.removesuffix("/events"))).json()["error"]
    assert (error["code"], error["reference"]) == ("moderation_blocked", (await decision(edge)).id)
    assert "category" not in error


@pytest.mark.parametrize("way", ["call", "stream", "job"])
async def test_beside_one_that_may_not_be_seen_no_picture_is_kept(edge: Edge, way: str):
    edge.generator.fails_after_images = True
    match way:
        case "job":
            await followed(edge, await submitted(edge, n=2))
        case _:
            await edge.draw(n=2, stream=way == "stream")
    assert edge.generator.drawn.is_set()
    assert await kept(edge) == 0


async def test_a_decision_loses_its_subject_when_its_caller_erases_what_is_theirs(edge: Edge):
    await followed(edge, await submitted(edge))
    assert (await decision(edge)).subject
    reply = await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
    assert reply.status_code == 200
    assert (await decision(edge)).subject is None


async def test_where_no_picture_can_be_checked_it_is_our_fault_and_nothing_is_kept(edge: Edge):
    edge.generator.failure = Failed("moderation_unavailable", "the classifier of pictures failed")
    edge.generator.fails_after_images = True
    reply = await edge.draw()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "moderation_unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert await kept(edge) == 0


def for_adults() -> Policies:
    policies = load_policies()
    moderation = policies.moderation
    sexual = msgspec.structs.replace(moderation.categories["sexual"], action="adults_only")
    return msgspec.structs.replace(
        policies,
        moderation=msgspec.structs.replace(
            moderation,
            categories=moderation.categories | {"sexual": sexual},
            age_assurance=AgeAssurance(how="papers", plans=["api"]),
        ),
    )


async def test_only_for_a_known_adult_the_replica_looks_at_the_list_alone(tmp_path: Path):
    async with make_edge(tmp_path, Clock(), policies=for_adults()).opened() as edge:
        await edge.draw()
        for plan in ("account", "api"):
            edge.client.headers.update(bearer(await new_key(edge, plan=plan)))
            await edge.draw()
        assert [request.adult for request in edge.generator.requests] == [False, False, True]


async def test_as_shipped_nobody_is_taken_for_an_adult(edge: Edge):
    edge.client.headers.update(bearer(await new_key(edge, plan="api")))
    await edge.draw()
    assert [request.adult for request in edge.generator.requests] == [False]
