"""A prompt that is refused reaches nothing but a decision, which does not hold it: no log, reply, table, file, counter
or metric has a word of it, and it is never asked of a model. Memory is searched in `test_places.py`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.edge.domain.moderation.forbidden import gravest
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.guards.test_moderation import every_way, refused
from tests.promises.everything import tables
from tests.promises.searched import all_places
from tests.told import told

CANARY = "xylocanaryblocked"
NEGATIVE = "xylocanarynegative"


@pytest.fixture
async def edge(tmp_path: Path, database_url: str, valkey_url: str) -> AsyncIterator[Edge]:
    env = {"SFUMATO_DATABASE_URL": database_url, "SFUMATO_VALKEY_URL": valkey_url}
    async with make_edge(tmp_path / "home", Clock(), env=env).opened() as edge:
        yield edge


async def everything_refused(edge: Edge) -> str:
    """Everything that was answered."""
    prompt = f"{CANARY} {gravest()}"
    replies = await every_way(edge, prompt=prompt, negative_prompt=NEGATIVE)
    for reply in replies:
        refused(reply)
    replies.append(await edge.client.post("/v1/moderations", json={"input": [prompt, NEGATIVE]}))
    assert replies[-1].json()["results"][0]["flagged"]
    return "\n".join(f"{reply.text} {dict(reply.headers)}" for reply in replies)


async def test_a_refused_prompt_is_found_nowhere(edge: Edge) -> None:
    assert (await edge.draw()).status_code == 200
    edge.generator.requests.clear()
    with told() as lines:
        answers = await everything_refused(edge)
    places = await all_places(edge, lines, answers)
    words = [CANARY, NEGATIVE, *gravest().split()]
    for place, held in places.items():
        searched = words if place in ("the log", "the database", "the shared store", "the metrics") else words[:2]
        assert not [word for word in searched if word.encode() in held], place
    assert edge.generator.requests == []


async def test_of_all_tables_only_decisions_have_a_row(edge: Edge) -> None:
    before = await counts(edge)
    await everything_refused(edge)
    after = await counts(edge)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "moderation_decision": 4
    }
    assert await edge.services.store.keys("img/") == []


async def counts(edge: Edge) -> dict[str, int]:
    names = await tables(edge)
    return await edge.services.database.read(
        lambda db: {name: db.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}
    )
