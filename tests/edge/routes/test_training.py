"""`/v1/privacy/training`, and what a call, a session and a browser can say about one picture."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from httpx2 import Response
from sqlalchemy import func, select

from edge.db.rows import ConsentRow
from serve_app.contract import Failed
from tests.edge.edges import Clock, Edge, make_edge

OPERATOR = X25519PrivateKey.generate()
PUBLIC = base64.b64encode(OPERATOR.public_key().public_bytes_raw()).decode()
URL = "/v1/privacy/training"


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_TRAINING_KEY": PUBLIC}).opened() as edge:
        yield edge


async def choose(edge: Edge, choice: str, **headers: str) -> Response:
    return await edge.client.put(URL, json={"choice": choice}, headers=headers)


async def standing(edge: Edge, **headers: str) -> dict[str, Any]:
    reply = await edge.client.get(URL, headers=headers)
    assert reply.status_code == 200
    return reply.json()


async def copies(edge: Edge) -> list[str]:
    """Keys in the store; the rows say the same."""
    keys = await edge.services.store.keys("training/")
    count = await edge.services.database.read(lambda db: db.scalar(select(func.count()).select_from(ConsentRow)))
    assert len(keys) == count
    return keys


async def test_a_newcomer_is_told_what_holds_and_what_it_means(edge: Edge):
    told = await standing(edge)
    assert (told["mode"], told["ground"]) == ("opt_out", "legitimate interest")
    assert told["means"] == edge.services.policies.retention.training.means
    assert (told["choice"], told["gpc"]) == (None, False)
    assert (told["effective"], told["because"], told["copies"]) == ("allow", "mode", 0)
    assert "not untrained" in told["trained"]
    assert not {"withdrawn", "receipt"} & told.keys()


async def test_a_session_that_says_no_is_not_copied_from_then_on(edge: Edge):
    edge.sign_in(await choose(edge, "deny"))
    assert ((await standing(edge))["effective"], (await standing(edge))["because"]) == ("deny", "choice")
    await edge.draw()
    assert await copies(edge) == []


async def test_a_no_takes_back_what_there_is_and_answers_a_receipt(edge: Edge):
    edge.sign_in(await edge.draw(n=2))
    assert len(await copies(edge)) == 2
    assert (await standing(edge))["copies"] == 2

    reply = (await choose(edge, "deny")).json()
    assert (reply["choice"], reply["withdrawn"], reply["copies"]) == ("deny", 2, 0)
    assert await copies(edge) == []
    checked = await edge.client.post("/v1/privacy/receipts/verify", json={"receipt": reply["receipt"]})
    assert checked.json()["valid"] is True
    assert checked.json()["claims"]["counts"]["training_copies"] == 2

    again = (await choose(edge, "deny")).json()
    assert again["withdrawn"] == 0
    assert "receipt" not in again


async def test_another_session_keeps_its_copies(edge: Edge):
    await edge.draw()
    edge.sign_in(await edge.draw())
    await choose(edge, "deny")
    assert len(await copies(edge)) == 1


async def test_gpc_is_seen_and_wins_whatever_was_chosen(edge: Edge):
    reply = await choose(edge, "allow", **{"sec-gpc": "1"})
    edge.sign_in(reply)
    assert (reply.json()["choice"], reply.json()["gpc"]) == ("allow", True)
    assert (reply.json()["effective"], reply.json()["because"]) == ("deny", "gpc")
    assert (await standing(edge))["effective"] == "allow"  # without the signal


@pytest.mark.parametrize(("value", "effective"), [("1", "deny"), ("0", "allow"), ("true", "allow"), ("1, 1", "allow")])
async def test_only_the_exact_value_1_is_the_signal(edge: Edge, value: str, effective: str):
    assert (await standing(edge, **{"sec-gpc": value}))["effective"] == effective


@pytest.mark.parametrize(
    ("fields", "headers", "count"),
    [
        ({}, {}, 1),
        ({"training": "allow"}, {}, 1),
        ({"training": "deny"}, {}, 0),
        ({"training": None}, {}, 1),
        ({"retention": "none"}, {}, 0),
        ({"retention": "on_download"}, {}, 0),
        ({"training": "allow"}, {"sec-gpc": "1"}, 0),
        ({}, {"sec-gpc": "1"}, 0),
        ({}, {"sec-gpc": "0"}, 1),
    ],
)
async def test_one_call_can_say_so_for_its_picture(
    edge: Edge, fields: dict[str, str], headers: dict[str, str], count: int
):
    reply = await edge.client.post("/v1/images/generations", json={"prompt": "a red apple", **fields}, headers=headers)
    assert reply.status_code == 200
    assert len(await copies(edge)) == count
    assert (edge.generator.requests[0].training is not None) == (count == 1)


async def test_one_calls_yes_is_more_specific_than_the_sessions_no(edge: Edge):
    edge.sign_in(await choose(edge, "deny"))
    edge.clock.advance(1)  # in the same second the no would win
    await edge.draw(training="allow")
    assert len(await copies(edge)) == 1


@pytest.mark.parametrize("retention", ["none", "on_download"])
async def test_a_yes_for_what_is_not_kept_is_refused_by_name(edge: Edge, retention: str):
    refused = await edge.draw(training="allow", retention=retention)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "training")


async def test_without_a_key_a_yes_is_refused_and_a_no_is_taken(tmp_path: Path):
    async with make_edge(tmp_path, Clock()).opened() as edge:
        for refused, param in (
            (await edge.draw(training="allow"), "training"),
            (await choose(edge, "allow"), "choice"),
        ):
            assert refused.status_code == 400
            assert (refused.json()["error"]["param"], refused.json()["error"]["code"]) == (param, "not_available")
        assert (await choose(edge, "deny")).status_code == 200
        assert ((await standing(edge))["effective"], (await standing(edge))["because"]) == ("deny", "no_key")
        assert (await edge.draw()).status_code == 200
        assert await copies(edge) == []


async def test_a_no_that_comes_during_the_drawing_leaves_no_copy(edge: Edge):
    edge.generator.hold.clear()
    reply = await edge.submit(training="allow")
    edge.sign_in(reply)
    await edge.generator.started.wait()
    assert (await choose(edge, "deny")).json()["withdrawn"] == 0
    edge.generator.hold.set()
    run = edge.services.runs.find(reply.json()["id"])
    assert run is not None
    assert (await run.finished()).status == "succeeded"
    assert await copies(edge) == []
    assert len(await edge.services.store.keys("img/")) == 1


async def test_a_job_that_failed_leaves_no_copy_of_what_nobody_saw(edge: Edge):
    edge.generator.failure = Failed("engine_failed", "broken")
    edge.generator.fails_after_images = True
    assert (await edge.draw()).status_code == 500
    assert await copies(edge) == []


@pytest.mark.parametrize("body", [{"choice": "maybe"}, {"choice": None}, {}, {"choice": "deny", "more": 1}])
async def test_another_word_is_refused(edge: Edge, body: dict[str, object]):
    assert (await edge.client.put(URL, json=body)).status_code == 400


async def test_another_site_cannot_choose_for_a_visitor(edge: Edge):
    refused = await choose(edge, "allow", **{"sec-fetch-site": "cross-site"})
    assert refused.status_code == 403
