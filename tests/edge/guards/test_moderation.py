"""The gate before every picture: what is refused, how it is answered, and what stays of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from httpx2 import Response
from openai import AsyncOpenAI, BadRequestError
from sqlalchemy import select

from edge.db.rows import JobRow, ModerationDecisionRow, PromptRow, SessionRow
from edge.domain.moderation.adults import is_adult
from edge.domain.moderation.judge import Judge, Meanings
from edge.domain.owner import Caller, Owner, OwnerId
from edge.guards.moderation import ANSWERED_AFTER_S, Moderation
from policies.load import load_policies
from policies.moderation import AgeAssurance
from policies.schema import Policies
from tests.edge.accounts import bearer, new_key
from tests.edge.domain.moderation.forbidden import POLICY, adult, gravest, term
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.guards.test_limits import numbers, signed_in, with_limits
from tests.edge.test_faults import break_table

FAR, NEAR = 0.1, 0.99


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), policies=with_limits()).opened() as edge:
        yield edge


class Scripted:
    """Meanings as a test says."""

    def __init__(self, scores: dict[str, float] | None = None) -> None:
        self.said = dict.fromkeys(POLICY.categories, FAR) | (scores or {})
        self.asked: list[str] = []

    async def scores(self, texts: Sequence[str], *, deadline_s: float) -> list[dict[str, float]]:
        self.asked += texts
        return [self.said] * len(texts)


def judge_by(edge: Edge, meanings: Meanings) -> None:
    edge.services.moderation.judge = Judge(edge.services.policies.moderation, meanings)


async def decisions(edge: Edge) -> list[ModerationDecisionRow]:
    return await edge.services.database.read(lambda db: list(db.scalars(select(ModerationDecisionRow))))


async def kept(edge: Edge) -> int:
    """Rows of what is made, and of whom for."""
    tables = (JobRow, PromptRow, SessionRow)
    return await edge.services.database.read(lambda db: sum(len(db.scalars(select(each)).all()) for each in tables))


def refused(reply: Response) -> dict[str, str]:
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["code"] == "moderation_blocked"
    return error


async def every_way(edge: Edge, **fields: object) -> list[Response]:
    dry = await edge.client.post("/v1/generations?dry_run=true", json={"prompt": "a red apple", **fields})
    return [await edge.draw(**fields), await edge.draw(stream=True, **fields), await edge.submit(**fields), dry]


async def test_what_may_not_be_made_is_refused_on_every_way_to_a_picture(edge: Edge) -> None:
    for reply in await every_way(edge, prompt=gravest()):
        error = refused(reply)
        assert (error["stage"], error["category"], error["type"]) == (
            "prompt",
            "sexual_minors",
            "invalid_request_error",
        )
        assert len(error["reference"]) == 32
        assert "retry-after" not in reply.headers
    assert edge.generator.requests == []


async def test_what_may_be_made_is_made(edge: Edge) -> None:
    assert [reply.status_code for reply in await every_way(edge)] == [200, 200, 202, 200]


async def test_every_refusal_has_the_same_words_whichever_rule_it_was(edge: Edge) -> None:
    prompts = [gravest(), adult(), term("minors_sexualised"), f"{term('minors')} {term('explicit')}"]
    errors = [refused(await edge.draw(prompt=prompt)) for prompt in prompts]
    for error in errors:
        del error["reference"]
    assert errors[0] == errors[2] == errors[3]
    assert {error["message"] for error in errors} == {errors[0]["message"]}
    assert not any(prompt in str(errors) for prompt in prompts)


async def test_the_official_client_reads_stage_category_and_reference(edge: Edge) -> None:
    client = AsyncOpenAI(base_url="http://testserver.local/v1", api_key="anonymous", http_client=edge.client)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadRequestError) as caught:
        await client.images.generate(prompt=gravest())
    assert caught.value.code == "moderation_blocked"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["category"] == "sexual_minors"


async def test_a_mistake_is_named_before_anything_is_judged(edge: Edge) -> None:
    for reply in await every_way(edge, prompt=gravest(), size="1x1"):
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "size")
    assert await decisions(edge) == []


async def test_a_refused_prompt_counts_as_a_request_and_not_as_a_picture(edge: Edge) -> None:
    await signed_in(edge)
    before = numbers(await edge.draw(), "ratelimit")
    refused(await edge.draw(prompt=gravest(), n=4))
    after = numbers(await edge.draw(), "ratelimit")
    assert before["images-per-minute"]["r"] - after["images-per-minute"]["r"] == 1
    assert before["requests-per-minute"]["r"] - after["requests-per-minute"]["r"] == 2
    assert after["concurrent-jobs"] == before["concurrent-jobs"]


async def test_limits_come_before_the_judge(edge: Edge) -> None:
    meanings = Scripted()
    judge_by(edge, meanings)
    await signed_in(edge)
    assert (await edge.draw(n=10)).status_code == 200
    assert (await edge.draw(prompt=gravest())).status_code == 429
    assert meanings.asked == ["a red apple"]


async def test_words_come_before_meanings(edge: Edge) -> None:
    meanings = Scripted()
    judge_by(edge, meanings)
    refused(await edge.draw(prompt=gravest()))
    assert meanings.asked == []


# what stays ----------------------------------------------------------------------------------------------------------


async def test_a_refusal_leaves_a_decision_and_nothing_else(edge: Edge) -> None:
    error = refused(await edge.draw(prompt=gravest()))
    [decision] = await decisions(edge)
    assert (decision.id, decision.category, decision.stage) == (error["reference"], "sexual_minors", "prompt")
    assert decision.rule == "minors-nudity"
    assert decision.policy_version == POLICY.version
    assert await kept(edge) == 0
    assert await edge.services.store.keys("img/") == []


async def test_a_decision_names_its_caller_only_to_who_asks_for_them(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    refused(await edge.draw(prompt=gravest()))
    held = (await edge.client.get("/v1/privacy/me")).json()
    assert [each["count"] for each in held["classes"] if each["name"] == "moderation_decision"] == [1]
    [decision] = await decisions(edge)
    [job] = await edge.services.database.read(lambda db: list(db.scalars(select(JobRow))))
    assert decision.subject
    assert job.owner_id not in decision.subject


async def test_erasure_takes_the_subject_off_and_says_so(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    refused(await edge.draw(prompt=gravest()))
    erased = (await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})).json()
    assert erased["claims"]["counts"]["moderation_decisions"] == 1
    assert "moderation_decision" in erased["claims"]["classes"]
    assert [decision.subject for decision in await decisions(edge)] == [None]


async def test_without_a_database_to_write_it_down_nothing_is_answered_but_503(edge: Edge) -> None:
    await break_table(edge, "moderation_decision")
    for reply in await every_way(edge, prompt=gravest()):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_unavailable")
    assert edge.generator.requests == []


# the negative prompt -------------------------------------------------------------------------------------------------


async def test_a_negative_prompt_may_list_what_shall_not_be(edge: Edge) -> None:
    negative = ", ".join([term("minors"), term("nudity"), term("explicit"), term("gore")])
    assert (await edge.draw(negative_prompt=negative)).status_code == 200


async def test_leaving_out_what_makes_a_scene_ordinary_is_refused(edge: Edge) -> None:
    error = refused(await edge.draw(prompt=f"a {term('minors')} at the beach", negative_prompt=term("clothing")))
    assert error["category"] == "sexual_minors"
    error = refused(await edge.draw(prompt=f"{term('suggestive')} pose", negative_prompt=term("adulthood")))
    assert error["category"] == "sexual_minors"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"guidance": -2.0}, "guidance"),
        ({"guidance": -2.0, "negative_prompt": "blurry"}, "guidance"),
        ({"guidance": 0.5, "negative_prompt": "blurry"}, "guidance"),
        ({"guidance": 1.0, "negative_prompt": "blurry"}, "negative_prompt"),
    ],
)
async def test_guidance_that_would_turn_a_negative_prompt_around_is_refused(
    edge: Edge, fields: dict[str, object], named: str
) -> None:
    for reply in await every_way(edge, **fields):
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_value", named)


# meanings ------------------------------------------------------------------------------------------------------------


async def test_a_prompt_that_comes_close_to_an_exemplar_is_refused(edge: Edge) -> None:
    judge_by(edge, Scripted({"violence_graphic": NEAR}))
    assert refused(await edge.draw())["category"] == "violence_graphic"
    [decision] = await decisions(edge)
    assert decision.rule == "meaning"


async def test_of_several_categories_the_gravest_is_answered(edge: Edge) -> None:
    judge_by(edge, Scripted({"hate": NEAR, "sexual_minors": NEAR, "sexual": NEAR}))
    assert refused(await edge.draw())["category"] == "sexual_minors"


async def test_meanings_are_asked_for_what_a_reader_sees(edge: Edge) -> None:
    meanings = Scripted()
    judge_by(edge, meanings)
    await edge.draw(prompt="а rеd\u200b apple", negative_prompt="blurry")
    assert meanings.asked == ["a red apple", "blurry"]
    assert edge.generator.requests[0].prompt.text == "а rеd\u200b apple", "the model gets what was written"


# answered late enough ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("took_s", [0.0, 0.04, 0.149])
async def test_a_refusal_is_answered_at_a_fixed_time_after_arrival(edge: Edge, took_s: float) -> None:
    stopwatch, waits = Clock(), list[float]()

    class Slow(Scripted):
        async def scores(self, texts: Sequence[str], *, deadline_s: float) -> list[dict[str, float]]:
            stopwatch.advance(took_s)
            return await super().scores(texts, deadline_s=deadline_s)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    services = edge.services
    moderation = Moderation(
        Judge(POLICY, Slow({"hate": NEAR})), services.policies, services.database, services.keyring, edge.clock,
        stopwatch, sleep,
    )  # fmt: skip
    object.__setattr__(services, "moderation", moderation)
    refused(await edge.draw())
    assert waits == [pytest.approx(ANSWERED_AFTER_S - took_s, abs=1e-4)]


async def test_it_really_takes_that_long(edge: Edge) -> None:
    began = asyncio.get_running_loop().time()
    refused(await edge.draw(prompt=gravest()))
    assert asyncio.get_running_loop().time() - began >= ANSWERED_AFTER_S


# adults --------------------------------------------------------------------------------------------------------------


def for_adults() -> Policies:
    policies = load_policies()
    replace = msgspec.structs.replace
    categories = POLICY.categories | {"sexual": replace(POLICY.categories["sexual"], action="adults_only")}
    assured = AgeAssurance(how="a test says so", plans=["pro"])
    return replace(policies, moderation=replace(POLICY, categories=categories, age_assurance=assured))


async def test_what_is_for_adults_reaches_known_adults_alone_and_never_strangers(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=for_adults()).opened() as edge:
        pro, other = await new_key(edge, plan="pro"), await new_key(edge, plan="api")
        replies = [
            await edge.client.post("/v1/images/generations", json={"prompt": adult()}, headers=headers)
            for headers in (bearer(pro), bearer(other), {})
        ]
        assert [reply.status_code for reply in replies] == [200, 400, 400]
        grave = await edge.client.post("/v1/images/generations", json={"prompt": gravest()}, headers=bearer(pro))
        assert refused(grave)["category"] == "sexual_minors"


async def test_a_session_is_no_adult_whatever_its_plan(tmp_path: Path) -> None:
    edge = make_edge(tmp_path, Clock(), policies=for_adults())
    plan = edge.services.policies.plans.plans["pro"]
    session = Caller(Owner("session", OwnerId("a" * 32)), b"", plan)
    assert not is_adult(edge.services.policies, session)
    assert is_adult(edge.services.policies, Caller(Owner("account", OwnerId("a" * 32)), b"", plan))
