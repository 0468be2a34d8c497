"""Proof of work: asked of strangers while very many ask, solved by ALTCHA's own solver, and good for one call."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from altcha import Challenge, Payload, solve_challenge
from httpx2 import Response

from policies.load import load_policies
from policies.schema import Policies
from tests.edge.accounts import bearer, new_key
from tests.edge.edges import Clock, Edge, make_edge

BUDGET = 100


def in_a_rush() -> Policies:
    """Above a tenth of the strangers' budget, work is asked for."""
    policies = load_policies()
    budget = msgspec.structs.replace(
        policies.plans.anonymous_budget, images_per_minute=BUDGET, share=5, proof_above=0.1, proof_cost=1
    )
    return msgspec.structs.replace(policies, plans=msgspec.structs.replace(policies.plans, anonymous_budget=budget))


@pytest.fixture(params=["memory", "valkey"])
async def busy(request: pytest.FixtureRequest, tmp_path: Path, valkey_url: str) -> AsyncIterator[Edge]:
    env = {"SFUMATO_VALKEY_URL": valkey_url} if request.param == "valkey" else {}
    async with make_edge(tmp_path, Clock(), policies=in_a_rush(), env=env).opened() as edge:
        for _ in range(3):
            assert (await edge.draw(n=5)).status_code == 200
        yield edge


async def challenge_of(edge: Edge) -> dict[str, Any]:
    reply = await edge.draw()
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (403, "proof_of_work_required")
    return error["challenge"]


def solved(challenge: dict[str, Any]) -> str:
    asked = Challenge.from_dict(challenge)
    solution = solve_challenge(asked)
    assert solution
    return Payload(asked, solution).to_base64()


async def with_proof(edge: Edge, proof: str, **fields: object) -> Response:
    body = {"prompt": "a red apple", **fields}
    return await edge.client.post("/v1/images/generations", json=body, headers={"sfumato-proof": proof})


async def test_whoever_is_asked_is_told_what_to_do_and_who_is_spared(busy: Edge) -> None:
    reply = await busy.submit()
    message = reply.json()["error"]["message"]
    assert "`challenge`" in message
    assert "ALTCHA" in message
    assert "`Sfumato-Proof`" in message
    busy.client.headers |= bearer(await new_key(busy))
    assert (await busy.submit()).status_code == 202


async def test_a_solution_is_good_for_one_call(busy: Edge) -> None:
    proof = solved(await challenge_of(busy))
    assert (await with_proof(busy, proof)).status_code == 200
    again = await with_proof(busy, proof)
    assert (again.status_code, again.json()["error"]["code"]) == (403, "proof_of_work_required")
    assert (await with_proof(busy, solved(again.json()["error"]["challenge"]))).status_code == 200


async def test_a_solution_has_an_end(busy: Edge) -> None:
    proof = solved(await challenge_of(busy))
    busy.clock.advance(301)
    for _ in range(3):  # busy again
        await busy.draw(n=5)
    assert (await with_proof(busy, proof)).status_code == 403


@pytest.mark.parametrize("spoil", ["nothing", "{}", "[]", "A" * 5000, "e30=", "bnVsbA==", "é"])
async def test_what_is_no_solution_gets_another_challenge(busy: Edge, spoil: str) -> None:
    reply = await busy.client.post(
        "/v1/images/generations", json={"prompt": "x"}, headers={"sfumato-proof": spoil.encode()}
    )
    assert reply.json()["error"]["code"] == "proof_of_work_required"
    assert len(busy.generator.requests) == 3


@pytest.mark.parametrize(
    ("place", "value"),
    [("cost", 2), ("keyPrefix", ""), ("expiresAt", 4_000_000_000), ("nonce", "00" * 16), ("algorithm", "SHA-256")],
)
async def test_a_challenge_of_ones_own_is_none(busy: Edge, place: str, value: object) -> None:
    challenge = await challenge_of(busy)
    challenge["parameters"][place] = value
    assert (await with_proof(busy, solved(challenge))).status_code == 403


async def test_a_wrong_number_is_no_solution(busy: Edge) -> None:
    payload = json.loads(base64.b64decode(solved(await challenge_of(busy))))
    payload["solution"]["counter"] += 1
    assert (await with_proof(busy, base64.b64encode(json.dumps(payload).encode()).decode())).status_code == 403


async def test_a_call_that_is_refused_for_another_reason_keeps_its_solution(busy: Edge) -> None:
    proof = solved(await challenge_of(busy))
    assert (await with_proof(busy, proof, n=99)).status_code == 400
    assert (await with_proof(busy, proof)).status_code == 200


async def test_nobody_is_asked_when_few_draw(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=in_a_rush()).opened() as edge:
        assert (await edge.draw(n=5)).status_code == 200
        assert (await with_proof(edge, "nonsense")).status_code == 200
        assert (await edge.client.get("/v1/models")).status_code == 200
