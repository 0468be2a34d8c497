from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import Response
from openai import AsyncOpenAI

from edge.domain.moderation.judge import Judge
from edge.routes.moderations import MOST_INPUTS, OPENAI_CATEGORIES
from tests.edge.domain.moderation.forbidden import POLICY, adult, gravest, term
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.guards.test_limits import numbers, signed_in
from tests.edge.guards.test_moderation import Scripted, decisions, kept


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        yield edge


async def ask(edge: Edge, **fields: object) -> Response:
    return await edge.client.post("/v1/moderations", json=fields)


async def test_it_says_what_the_gate_would_say(edge: Edge) -> None:
    for text in ("a red apple", gravest(), adult(), term("minors"), term("nudity"), term("minors_sexualised")):
        [result] = (await ask(edge, input=text)).json()["results"]
        assert result["flagged"] == ((await edge.draw(prompt=text)).status_code == 400), result
        assert result["flagged"] == any(result["categories"].values())


async def test_the_official_client_gets_its_types(edge: Edge) -> None:
    client = AsyncOpenAI(base_url="http://testserver.local/v1", api_key="anonymous", http_client=edge.client)  # pyright: ignore[reportArgumentType]
    moderation = await client.moderations.create(input=["a red apple", gravest()], model="omni-moderation-latest")
    assert [result.flagged for result in moderation.results] == [False, True]
    [_, grave] = moderation.results
    assert grave.categories.sexual_minors is True
    assert grave.category_scores.sexual_minors == 1.0
    assert grave.categories.harassment_threatening is False
    assert moderation.id.startswith("modr-")
    assert moderation.model == f"sfumato-moderation-{POLICY.version}"


async def test_a_score_is_how_close_the_meaning_comes(edge: Edge) -> None:
    edge.services.moderation.judge = Judge(POLICY, Scripted({"hate": 0.2543}))
    [result] = (await ask(edge, input="a red apple")).json()["results"]
    assert result["category_scores"]["hate"] == 0.2543
    assert not result["flagged"]


async def test_every_category_of_ours_and_of_openai_s_is_answered(edge: Edge) -> None:
    [result] = (await ask(edge, input="a red apple")).json()["results"]
    assert set(result["categories"]) == {*OPENAI_CATEGORIES, *(each.shown_as for each in POLICY.categories.values())}
    assert set(result["category_scores"]) == set(result["categories"])


async def test_it_has_a_limit_of_its_own(edge: Edge) -> None:
    await signed_in(edge)
    state = numbers(await ask(edge, input="a red apple"), "ratelimit")
    assert set(state) == {"moderations-per-minute", "network-moderations-per-minute"}
    for _ in range(59):
        assert (await ask(edge, input="a red apple")).status_code == 200
    assert (await ask(edge, input="a red apple")).status_code == 429
    assert (await edge.draw()).status_code == 200


async def test_nothing_of_it_is_kept(edge: Edge) -> None:
    await ask(edge, input=gravest())
    assert (await decisions(edge), await kept(edge)) == ([], 0)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_parameter", "input"),
        ({"input": 3}, "invalid_value", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "invalid_value", "input"),
        ({"input": [{"type": "text", "text": "a"}]}, "invalid_value", "input"),
        ({"input": "a" * 32_001}, "invalid_value", "input"),
        ({"input": "a", "stream": True}, "unknown_parameter", "stream"),
    ],
)
async def test_a_mistake_is_named(edge: Edge, fields: dict[str, object], code: str, param: str) -> None:
    reply = await ask(edge, **fields)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, code, param)
