import asyncio
from typing import Any

import pytest
from httpx2 import Response

from tests.edge.accounts import account_of, bearer, new_key
from tests.edge.edges import Edge

WANTED = {"name": "web shop", "scopes": ["generate", "read"]}


async def make(edge: Edge, as_: dict[str, str], **more: object) -> Response:
    return await edge.client.post("/v1/keys", json={**WANTED, **more}, headers=as_)


def code(reply: Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


async def listed(edge: Edge, as_: dict[str, str]) -> list[dict[str, Any]]:
    return (await edge.client.get("/v1/keys", headers=as_)).json()["data"]


async def test_a_key_is_shown_once_and_draws_for_its_account(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    made = (await make(edge, master)).json()
    drawn = await edge.client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=bearer(made["key"]))
    assert drawn.status_code == 200
    assert "x-sfumato-session" not in drawn.headers
    token = drawn.json()["data"][0]["url"].rpartition("/i/")[2]
    assert (await edge.client.get(f"/i/{token}")).status_code == 200
    page = await edge.client.get("/v1/keys", headers=master)
    assert made["key"] not in page.text
    [key] = [each for each in page.json()["data"] if each["id"] == made["id"]]
    assert (key["name"], key["scopes"], key["last_used_on"]) == ("web shop", ["generate", "read"], "2027-01-15")
    assert key["hint"] == f"{made['key'][:12]}…{made['key'][-4:]}"


async def test_all_keys_of_an_account_see_its_pictures_and_no_other_account_does(edge: Edge) -> None:
    master = await new_key(edge)
    made = (await make(edge, bearer(master))).json()
    image = (
        await edge.client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=bearer(made["key"]))
    ).json()["data"][0]
    seen = await edge.client.get(f"/v1/images/{image['id']}", headers=bearer(master))
    assert seen.json()["url"] == image["url"]
    stranger = bearer(await new_key(edge))
    assert (await edge.client.get(f"/v1/images/{image['id']}", headers=stranger)).status_code == 404


async def test_the_plan_is_the_account_s(edge: Edge) -> None:
    key = await new_key(edge, plan="pro")
    caller = {"headers": bearer(key)}
    long = await edge.client.post("/v1/images/generations", json={"prompt": "a cat", "retention": "P8D"}, **caller)
    assert long.status_code == 200
    assert (await edge.draw(retention="P8D")).status_code == 400


async def test_a_revoked_key_is_refused_at_once_here_and_within_a_second_elsewhere(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    made = (await make(edge, master)).json()
    elsewhere = type(edge.services.known_keys)(edge.services.database, edge.services.keyring, edge.clock)
    assert (await edge.client.get("/v1/models", headers=bearer(made["key"]))).status_code == 200
    assert await elsewhere.find(made["key"])
    revoked = await edge.client.delete(f"/v1/keys/{made['id']}", headers=master)
    assert revoked.json()["revoked_at"] == int(edge.clock())
    assert code(await edge.client.get("/v1/models", headers=bearer(made["key"]))) == (401, "invalid_api_key")
    edge.clock.advance(0.6)
    assert await elsewhere.find(made["key"]) is None
    again = await edge.client.delete(f"/v1/keys/{made['id']}", headers=master)
    assert again.json() == revoked.json()


async def test_unknown_revoked_and_expired_keys_are_refused_in_the_same_words(edge: Edge) -> None:
    master = await new_key(edge)
    made = (await make(edge, bearer(master))).json()
    brief = (await make(edge, bearer(master), expires_in="PT1M")).json()
    await edge.client.delete(f"/v1/keys/{made['id']}", headers=bearer(master))
    edge.clock.advance(61)
    wrong = master.text[:-1] + ("A" if master.text[-1] != "A" else "B")
    texts = [
        (await edge.client.get("/v1/models", headers=bearer(key))).text
        for key in (made["key"], brief["key"], wrong, "sf_live_", "sk-1")
    ]
    assert len(set(texts)) == 1


async def test_nobody_grants_a_scope_they_lack(edge: Edge) -> None:
    master = await new_key(edge)
    clerk = bearer(await new_key(edge, "keys", "read", account=account_of(master)))
    refused = await make(edge, clerk)
    assert code(refused) == (403, "insufficient_scope")
    assert "`generate`" in refused.json()["error"]["message"]
    assert (await make(edge, clerk, scopes=["read"])).status_code == 201
    assert code(await edge.client.post(f"/v1/keys/{master.row.id}/rotate", json={}, headers=clerk))[0] == 403
    assert (await edge.client.get("/v1/models", headers=bearer(master))).status_code == 200


async def test_a_rotated_key_ends_at_once_or_after_its_grace(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    first = (await make(edge, master, expires_in="P30D")).json()

    async def rotate(key_id: str, **asked: str) -> dict[str, Any]:
        return (await edge.client.post(f"/v1/keys/{key_id}/rotate", json=asked, headers=master)).json()

    async def works(key: dict[str, Any]) -> bool:
        return (await edge.client.get("/v1/models", headers=bearer(key["key"]))).status_code == 200

    second = await rotate(first["id"])
    assert not await works(first)
    assert await works(second)
    assert (second["scopes"], second["expires_at"]) == (first["scopes"], first["expires_at"])
    third = await rotate(second["id"], grace="PT1H")
    assert await works(second)
    edge.clock.advance(3_601)
    assert not await works(second)
    assert await works(third)
    assert (await rotate(first["id"]))["error"]["param"] == "key_id"
    assert (await rotate(third["id"], grace="P2D"))["error"]["param"] == "grace"


async def test_a_key_that_is_rotated_twice_at_once_has_one_successor(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    made = (await make(edge, master)).json()
    address = f"/v1/keys/{made['id']}/rotate"
    replies = await asyncio.gather(*(edge.client.post(address, json={}, headers=master) for _ in range(5)))
    assert sorted(reply.status_code for reply in replies) == [201, 400, 400, 400, 400]


async def test_an_account_has_a_bounded_number_of_keys(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    made = [await make(edge, master) for _ in range(50)]
    assert [reply.status_code for reply in made] == [201] * 49 + [400]


async def test_turning_keys_over_fills_nothing(edge: Edge) -> None:
    master = bearer(await new_key(edge))
    made = (await make(edge, master)).json()
    for _ in range(60):
        made = (await edge.client.post(f"/v1/keys/{made['id']}/rotate", json={}, headers=master)).json()
        edge.clock.advance(1)
    keys = await listed(edge, master)
    assert len(keys) == 52  # two that work, and the latest fifty that do not
    assert made["id"] in {key["id"] for key in keys}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "", "scopes": ["read"]}, "name"),
        ({"name": "a\nb", "scopes": ["read"]}, "name"),
        ({"name": "a" * 101, "scopes": ["read"]}, "name"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["everything"]}, "scopes"),
        ({"name": "a", "scopes": "read"}, "scopes"),
        ({"name": "a", "scopes": ["read"], "expires_in": "soon"}, "expires_in"),
        ({"name": "a", "scopes": ["read"], "expires_in": "-P1D"}, "expires_in"),
        ({"name": "a", "scopes": ["read"], "expires_in": "PT0S"}, "expires_in"),
        ({"name": "a", "scopes": ["read"], "expires_in": "P99999D"}, "expires_in"),
        ({"name": "a", "scopes": ["read"], "expires_in": 60}, "expires_in"),
        ({"name": "a", "scopes": ["read"], "admin": True}, "admin"),
    ],
)
async def test_what_makes_no_sense_is_named_and_makes_no_key(edge: Edge, body: object, param: str) -> None:
    master = bearer(await new_key(edge))
    reply = await edge.client.post("/v1/keys", json=body, headers=master)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert len(await listed(edge, master)) == 1


async def test_keys_of_another_account_are_not_there(edge: Edge) -> None:
    mine, other = await new_key(edge), bearer(await new_key(edge))
    address = f"/v1/keys/{mine.row.id}"
    assert (await edge.client.delete(address, headers=other)).status_code == 404
    assert (await edge.client.post(f"{address}/rotate", json={}, headers=other)).status_code == 404
    assert (await edge.client.get("/v1/models", headers=bearer(mine))).status_code == 200
    assert [key["id"] for key in await listed(edge, other)] != [mine.row.id]


async def test_without_the_database_no_key_is_good(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    key = bearer(await new_key(edge))
    assert (await edge.client.get("/v1/models", headers=key)).status_code == 200
    edge.clock.advance(1)

    async def lost(_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr("sqlalchemy.ext.asyncio.AsyncSession.run_sync", lambda _self, work: lost(work))
    reply = await edge.client.get("/v1/models", headers=key)
    assert code(reply) == (503, "database_unavailable")
    assert "retry-after" in reply.headers


async def test_an_account_sees_takes_along_and_erases_all_that_is_its_own(edge: Edge) -> None:
    key = await new_key(edge)
    mine = bearer(key)
    await edge.client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=mine)
    held = (await edge.client.get("/v1/privacy/me", headers=mine)).json()
    counts = {each["name"]: each["count"] for each in held["classes"]}
    assert (held["owner"], counts["account"], counts["output_image"], counts["session"]) == ("account", 1, 1, 0)
    export = await edge.client.get("/v1/privacy/me/export", headers=mine)
    assert export.status_code == 200
    erased = await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase", **mine})
    claims = erased.json()["claims"]
    assert (claims["scope"], claims["counts"]["accounts"], claims["counts"]["api_keys"]) == ("account", 1, 1)
    assert {"account", "output_image", "moderation_prompt"} <= set(claims["classes"])
    assert (await edge.client.get("/v1/models", headers=mine)).status_code == 401
