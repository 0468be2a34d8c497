"""Every kind of credential × every route of the app's own table: who is let in, who is refused, and in which words."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from httpx2 import Response
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec.structs import replace
from sqlalchemy import func, select

from edge.db.rows import AccountRow, PasskeyRow, SignInRow
from edge.domain.api_keys import new_key_text, revoke_key
from edge.domain.limits.gate import PICTURES
from edge.domain.owner import BROWSER_SCOPES, SESSION_SCOPES, KeyScope, Scope
from edge.guards.limits import CHARGES
from edge.guards.scopes import SCOPE
from policies.load import load_policies
from policies.schema import Policies
from tests.edge.accounts import ALL, bearer, new_key
from tests.edge.authenticator import Authenticator
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Clock, Edge, make_edge
from tests.promises.test_callers import always_asking, solved
from tests.promises.test_owner_matrix import SAME_ORIGIN, Owned, call, cookie, expired, filled, owned

from tests.promises.test_owner_matrix import shows_nothing, stranger, token_of  # isort: skip

Headers = dict[str, str]
Credential = Callable[[Edge, Owned], Awaitable[Headers]]
Answer = Callable[[Authenticator], dict[str, Any]]
SCOPES = frozenset(get_args(KeyScope)) | {"account"}
ROTATED_S = 15 * 86_400 + 1
GRACE_S = 61


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), policies=with_room_for_an_account_a_route()).opened() as edge:
        yield edge


def with_room_for_an_account_a_route() -> Policies:
    """All of them come from one network."""
    policies = load_policies()
    network = replace(policies.plans.entry.ipv4_32, accounts_per_day=1000)
    entry = replace(policies.plans.entry, ipv4_32=network)
    return replace(policies, plans=replace(policies.plans, entry=entry))


def handlers(app: Litestar) -> list[tuple[str, str, HTTPRouteHandler]]:
    return [
        (method, route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in sorted(handler.http_methods - {"OPTIONS"})
    ]


def asks_who(handler: HTTPRouteHandler) -> bool:
    return "caller" in handler.parsed_fn_signature.parameters


def spoiled(text: str) -> str:
    return text[:40] + ("A" if text[40] != "A" else "B") + text[41:]


def by_cookie(token: str) -> Headers:
    return {"cookie": cookie(token), **SAME_ORIGIN}


# each kind ------------------------------------------------------------------------------------------------------------


async def fresh_session(edge: Edge, _: Owned) -> Headers:
    return bearer((await edge.client.get("/v1/models")).headers["x-sfumato-session"])


async def ended_session(edge: Edge, _: Owned) -> Headers:
    """Its first token came back after it had been replaced."""
    reply = await edge.client.post("/v1/images/generations", json={"prompt": "a cat"}, headers=bearer("anonymous"))
    first = bearer(reply.headers["x-sfumato-session"])
    edge.clock.advance(ROTATED_S)
    newest = bearer((await edge.client.get("/v1/models", headers=first)).headers["x-sfumato-session"])
    edge.clock.advance(GRACE_S)
    await edge.make_day_keys()
    assert (await edge.client.get("/v1/models", headers=first)).status_code == 401
    return newest


async def signed_in(edge: Edge, _: Owned) -> Headers:
    """Another's browser."""
    browser = await visiting(edge)
    assert (await browser.sign_up()).status_code == 201
    return {"cookie": f"acc={browser.cookies['acc']}", **SAME_ORIGIN}


async def signed_out(edge: Edge, _: Owned) -> Headers:
    """Its cookie is kept, and opens nothing."""
    browser = await visiting(edge)
    await browser.sign_up()
    cookie = {"cookie": f"acc={browser.cookies['acc']}", **SAME_ORIGIN}
    assert (await browser.sign_out()).status_code == 200
    return cookie


async def revoked_key(edge: Edge, _: Owned) -> Headers:
    key = await new_key(edge)
    await edge.services.database.write(partial(revoke_key, key_id=key.row.id, now=edge.clock()))
    return bearer(key)


async def expired_key(edge: Edge, _: Owned) -> Headers:
    return bearer(await new_key(edge, expires_at=int(edge.clock()) - 1))


async def key_with(edge: Edge, _: Owned, *, scopes: tuple[Scope, ...]) -> Headers:
    """Of another tenant than the owner of what the paths name."""
    return bearer(await new_key(edge, *scopes))


def told(make: Callable[[Edge, Owned], Headers]) -> Credential:
    async def made(edge: Edge, mine: Owned) -> Headers:
        return make(edge, mine)

    return made


REFUSED: dict[str, Credential] = {
    "an expired session": told(lambda edge, mine: bearer(expired(edge, mine))),
    "a tampered token": told(lambda edge, mine: bearer(spoiled(token_of(mine)))),
    "an ended session": ended_session,
    "an unknown key": told(lambda edge, mine: bearer(new_key_text())),
    "a key with a bad checksum": told(lambda edge, mine: bearer(spoiled(new_key_text()))),
    "a revoked key": revoked_key,
    "an expired key": expired_key,
}
LET_IN: dict[str, tuple[Credential, frozenset[Scope]]] = {
    "nobody": (told(lambda edge, mine: {}), SESSION_SCOPES),
    "anonymous": (told(lambda edge, mine: bearer("anonymous")), SESSION_SCOPES),
    "a fresh session": (fresh_session, SESSION_SCOPES),
    "a tampered cookie": (told(lambda edge, mine: by_cookie(spoiled(token_of(mine)))), SESSION_SCOPES),
    "another's cookie": (told(lambda edge, mine: by_cookie(stranger(edge))), SESSION_SCOPES),
    "another's browser that is signed in": (signed_in, BROWSER_SCOPES),
    "another's browser that was signed out": (signed_out, SESSION_SCOPES),
    "another tenant's key": (partial(key_with, scopes=ALL), frozenset(ALL)),
    **{f"a key for {scope} alone": (partial(key_with, scopes=(scope,)), frozenset((scope,))) for scope in ALL},
}


async def tried(edge: Edge, mine: Owned, method: str, template: str, headers: Headers) -> Response:
    edge.client.cookies.clear()
    reply = await call(edge, method, filled(template, mine), template, headers, mine)
    place = f"{method} {template}: {reply.status_code}"
    assert reply.status_code < 500, place
    shows_nothing(reply, mine, place)
    return reply


# the matrix -----------------------------------------------------------------------------------------------------------


def test_every_route_that_asks_who_is_calling_names_a_scope(tmp_path: Path) -> None:
    asking = [each for each in handlers(make_edge(tmp_path, Clock()).app) if asks_who(each[2])]
    assert len(asking) > 20
    assert [f"{method} {path}" for method, path, handler in asking if handler.opt.get(SCOPE) not in SCOPES] == []


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_credential_is_refused_wherever_it_is_asked_for(edge: Edge, name: str) -> None:
    mine = await owned(edge)
    headers = await REFUSED[name](edge, mine)
    words: set[str] = set()
    for method, template, handler in handlers(edge.app):
        reply = await tried(edge, mine, method, template, headers)
        if asks_who(handler):
            assert reply.status_code == 401, f"{method} {template}"
            assert reply.headers["www-authenticate"] == "Bearer"
        if asks_who(handler) and template.startswith("/v1/"):
            words.add(reply.text)
    assert len(words) == 1


@pytest.mark.parametrize("name", LET_IN)
async def test_a_credential_reaches_what_its_scopes_say_and_nothing_of_another(edge: Edge, name: str) -> None:
    mine = await owned(edge)
    credential, scopes = LET_IN[name]
    for method, template, handler in handlers(edge.app):
        if asks_who(handler):
            reply = await tried(
                edge, mine, method, template, await credential(edge, mine)
            )  # a new one: this erases too
            place = f"{method} {template}: {reply.status_code}"
            if handler.opt[SCOPE] in scopes:
                assert reply.status_code not in (401, 403), place
            else:
                assert (reply.status_code, f"`{handler.opt[SCOPE]}`" in reply.text) == (403, True), place
                assert "insufficient_scope" in reply.text, place


# a challenge that was answered before ---------------------------------------------------------------------------------


async def making(browser: Browser) -> Answer:
    options = await browser.challenge("sign_up")
    return lambda device: device.make(options)


async def signing(browser: Browser) -> Answer:
    await browser.sign_up()
    await browser.sign_out()
    options = await browser.challenge("sign_in")
    return lambda device: device.sign(options)


async def adding(browser: Browser) -> Answer:
    await browser.sign_up()
    browser.device = Authenticator()
    options = await browser.challenge("add_passkey")
    return lambda device: device.make(options)


CEREMONIES = {"/v1/account": making, "/v1/account/sign-in": signing, "/v1/account/passkeys": adding}
WAYS_IN = (AccountRow, PasskeyRow, SignInRow)


def takes_answer(handler: HTTPRouteHandler) -> bool:
    """Of a passkey: its body has one, whatever else it has."""
    body = handler.parsed_fn_signature.parameters.get("data")
    return body is not None and "credential" in getattr(body.annotation, "__struct_fields__", ())


async def ways_in(edge: Edge) -> list[int]:
    return await edge.services.database.read(
        lambda db: [db.scalar(select(func.count()).select_from(row)) or 0 for row in WAYS_IN]
    )


def test_there_is_a_ceremony_for_every_route_that_takes_a_passkeys_answer(tmp_path: Path) -> None:
    taking = {
        path.rstrip("/") for _, path, handler in handlers(make_edge(tmp_path, Clock()).app) if takes_answer(handler)
    }
    assert taking == set(CEREMONIES)


@pytest.mark.parametrize("taken_by", CEREMONIES)
async def test_a_replayed_challenge_opens_nothing_wherever_an_answer_is_taken(edge: Edge, taken_by: str) -> None:
    """By the same device and by another one, at the route that took it and at every other."""
    browser = await visiting(edge)
    answer = await CEREMONIES[taken_by](browser)
    before = Browser(edge, cookies=dict(browser.cookies))
    taken = await browser.ask("POST", taken_by, {"credential": answer(browser.device)})
    assert taken.status_code == 201, taken.text
    held = await ways_in(edge)
    for template in CEREMONIES:
        for device in (browser.device, Authenticator()):
            replayed = Browser(edge, cookies=dict(before.cookies))
            reply = await replayed.ask("POST", template, {"credential": answer(device)})
            place = f"{template} after {taken_by}: {reply.status_code}"
            assert reply.status_code in (400, 404), place  # 404: who is not signed in has no passkeys to add to
            if template == taken_by:
                assert reply.json()["error"]["code"] == "sign_in_failed", place
            assert replayed.cookies == before.cookies, place
    assert await ways_in(edge) == held


async def test_a_replayed_proof_of_work_lets_no_second_call_through_wherever_one_is_taken(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), policies=always_asking()).opened() as edge:
        asking = [path.rstrip("/") for _, path, handler in handlers(edge.app) if handler.opt.get(CHARGES) == PICTURES]
        assert len(asking) >= 2
        await edge.draw()
        for taken_by in asking:
            wanted = await edge.client.post(taken_by, json={"prompt": "a cat"})
            proof = {"sfumato-proof": solved(wanted.json()["error"]["challenge"])}
            taken = await edge.client.post(taken_by, json={"prompt": "a cat"}, headers=proof)
            assert taken.status_code in (200, 202), taken.text
            for path in asking:
                reply = await edge.client.post(path, json={"prompt": "a cat"}, headers=proof)
                assert (reply.status_code, reply.json()["error"]["code"]) == (403, "proof_of_work_required"), path
