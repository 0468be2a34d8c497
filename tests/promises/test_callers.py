"""Whoever calls leaves no trace but what the policy names: keys, tokens, proofs and addresses are in no log, no metric,
no error, no table, no file below home and no counter, whichever route was called and however it answered."""

import base64
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from altcha import Challenge, Payload, solve_challenge
from httpx2 import ASGITransport, AsyncClient

from edge.domain.sessions import read_session
from policies.load import load_policies
from policies.schema import Policies
from tests.edge.accounts import new_key
from tests.edge.edges import BASE_URL, Clock, Edge, make_edge
from tests.promises.searched import all_places, counted, dumped
from tests.promises.test_owner_matrix import Owned, call, filled, owned, routes_of
from tests.told import told

PEER = "198.51.100.23"
PROXY = "10.9.8.7"
FORWARDED = ("203.0.113.77", "2001:db8:4711:aa:1:2:3:4")
SPOILED_KEY = "sf_live_" + "Canary" * 8 + "x"


@pytest.fixture
async def edge(tmp_path: Path, database_url: str, valkey_url: str) -> AsyncIterator[Edge]:
    env = {
        "SFUMATO_DATABASE_URL": database_url,
        "SFUMATO_VALKEY_URL": valkey_url,
        "SFUMATO_TRUSTED_PROXIES": f"{PROXY}/32",
    }
    async with make_edge(tmp_path / "home", Clock(), policies=always_asking(), env=env).opened() as edge:
        yield edge


def always_asking() -> Policies:
    """For work from every stranger but the first ones."""
    policies = load_policies()
    budget = msgspec.structs.replace(policies.plans.anonymous_budget, share=1, proof_above=0.0, proof_cost=1)
    return msgspec.structs.replace(policies, plans=msgspec.structs.replace(policies.plans, anonymous_budget=budget))


def solved(challenge: dict[str, Any]) -> str:
    asked = Challenge.from_dict(challenge)
    solution = solve_challenge(asked)
    assert solution
    return Payload(asked, solution).to_base64()


async def proof_of(edge: Edge) -> str:
    """A solution that was used: for a picture, and once more in vain."""
    await edge.draw()
    proof = solved((await edge.draw()).json()["error"]["challenge"])
    for status in (200, 403):
        reply = await edge.client.post(
            "/v1/images/generations", json={"prompt": "a red apple"}, headers={"sfumato-proof": proof}
        )
        assert reply.status_code == status, reply.text
    return proof


def written(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")


def canaries(mine: Owned, keys: list[str], proof: str) -> dict[str, list[bytes]]:
    """Every way in which each could be written down. Of an address its network's prefixes count as well."""
    token = mine.bearer["authorization"].removeprefix("Bearer ")
    secret = mine.session.viewing_secret
    found = {
        "a session's token": [token.encode(), token[4:].encode(), *written(secret)],
        "a proof": [proof.encode(), Payload.from_base64(proof).challenge.parameters.nonce.encode()],
    }
    for number, key in enumerate(keys):
        found[f"key {number}"] = [key.encode(), key[12:-4].encode()]  # its beginning and its end are its hint
    for text in (PEER, *FORWARDED):
        address = ip_address(text)
        ways = [text.encode(), address.packed, address.packed.hex().encode(), address.exploded.encode()]
        if address.version == 6:
            ways += [address.packed[:8], address.packed[:8].hex().encode(), text[:12].encode()]
        found[f"the address {text}"] = ways
    return found


async def everything_called(edge: Edge, mine: Owned, keys: list[str], proof: str) -> str:
    """Every route with every kind of caller, once from another peer and twice through a proxy. All that was answered,
    but for what an owner may read: their own token in its header."""
    answered = list[str]()
    bearers = ["anonymous", mine.bearer["authorization"].removeprefix("Bearer "), *keys, SPOILED_KEY]
    for peer, forwarded in ((PEER, FORWARDED[0]), *((PROXY, address) for address in FORWARDED)):
        transport = ASGITransport(edge.app, client=(peer, 4711))  # pyright: ignore[reportArgumentType]
        async with AsyncClient(transport=transport, base_url=BASE_URL) as edge.client:
            for method, template in routes_of(edge.app):
                if method == "DELETE" and template.endswith("/me/"):
                    continue  # what is erased could not be found
                for bearer in bearers:
                    headers = {
                        "authorization": f"Bearer {bearer}",
                        "x-forwarded-for": forwarded,
                        "sfumato-proof": proof,
                    }
                    reply = await call(edge, method, filled(template, mine), template, headers, mine)
                    answered.append(reply.text)
                    answered += [value for name, value in reply.headers.items() if name != "x-sfumato-session"]
    return "\n".join(answered)


async def test_a_caller_is_found_nowhere(edge: Edge) -> None:
    mine = await owned(edge)
    keys = [(await new_key(edge)).text, (await new_key(edge, "read")).text]
    proof = await proof_of(edge)
    with told() as lines:
        answers = await everything_called(edge, mine, keys, proof)
    places = await all_places(edge, lines, answers)
    assert len(lines) > 500
    for what, ways in canaries(mine, [*keys, SPOILED_KEY], proof).items():
        for place, held in places.items():
            assert not any(way in held for way in ways), f"{what} is in {place}"


async def test_the_search_would_find_what_is_there(edge: Edge) -> None:
    """So that the claim above is not true of a search that looks at nothing."""
    mine = await owned(edge)
    key = await new_key(edge)
    assert mine.session.owner.id.encode() in await dumped(edge)
    assert key.row.digest in await dumped(edge)
    store = edge.services.counter_store
    assert store
    assert b"images-per-minute" in await counted(store)
    token = mine.bearer["authorization"].removeprefix("Bearer ")
    session = read_session(token, edge.services.keyring, edge.clock())
    assert session is not None
    assert session.viewing_secret == mine.session.viewing_secret
