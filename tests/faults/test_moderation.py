"""The check of meanings is dead, slow or answers nonsense: no picture, 503, nothing stored, nothing counted as made."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from math import inf, nan
from pathlib import Path

import pytest

from edge.domain.moderation import judge
from edge.domain.moderation.judge import Judge
from edge.errors import ModerationUnavailable
from tests.edge.domain.moderation.forbidden import POLICY
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.guards.test_limits import numbers, signed_in, with_limits
from tests.edge.guards.test_moderation import FAR, decisions, every_way, kept

Scores = list[dict[str, float]]


class Dead:
    async def scores(self, texts: Sequence[str], *, deadline_s: float) -> Scores:
        raise ModerationUnavailable


class Hanging:
    async def scores(self, texts: Sequence[str], *, deadline_s: float) -> Scores:
        await asyncio.Event().wait()
        raise AssertionError


class Odd:
    def __init__(self, answer: Scores) -> None:
        self._answer = answer

    async def scores(self, texts: Sequence[str], *, deadline_s: float) -> Scores:
        return self._answer


WELL = dict.fromkeys(POLICY.categories, FAR)
BROKEN = {
    "dead": Dead(),
    "hanging": Hanging(),
    "no answer": Odd([]),
    "an answer too many": Odd([WELL, WELL]),
    "a category missing": Odd([{}]),
    "not a number": Odd([WELL | {"hate": nan}]),
    "endless": Odd([WELL | {"hate": -inf}]),
    "beyond what can be": Odd([WELL | {"hate": -3.0}]),
}


@pytest.fixture
async def edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    monkeypatch.setattr(judge, "SLOW_S", 0.05)
    async with make_edge(tmp_path, Clock(), policies=with_limits()).opened() as edge:
        await signed_in(edge)
        yield edge


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_cannot_be_judged_is_not_made_not_kept_and_not_counted(edge: Edge, broken: str) -> None:
    edge.services.moderation.judge = Judge(POLICY, BROKEN[broken])
    for reply in await every_way(edge):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "moderation_unavailable")
        assert int(reply.headers["retry-after"]) > 0
    assert edge.generator.requests == []
    assert (await kept(edge), await decisions(edge)) == (0, [])
    assert await edge.services.store.keys("img/") == []
    asked = await edge.client.post("/v1/moderations", json={"input": "a red apple"})
    assert (asked.status_code, asked.json()["error"]["code"]) == (503, "moderation_unavailable")
    edge.services.moderation.judge = Judge(POLICY, None)
    state = numbers(await edge.draw(), "ratelimit")
    assert (state["images-per-minute"]["r"], state["concurrent-jobs"]["r"]) == (9, 2)
