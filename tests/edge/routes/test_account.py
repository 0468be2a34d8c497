"""Sign-up, the account as it is shown, and its end."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from edge.db.rows import AccountRow, ApiKeyRow, PasskeyRow, RecoveryCodeRow, SignInRow, ViewingSecretRow
from tests.edge.accounts import bearer, new_key
from tests.edge.authenticator import Authenticator
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Clock, Edge, make_edge

ALL = (AccountRow, ApiKeyRow, PasskeyRow, RecoveryCodeRow, SignInRow, ViewingSecretRow)


@pytest.fixture
async def browser(edge: Edge) -> Browser:
    return await visiting(edge)


async def rows(edge: Edge) -> dict[str, int]:
    def count(db: Session) -> dict[str, int]:
        return {row.__tablename__: db.scalar(select(func.count()).select_from(row)) or 0 for row in ALL}

    return await edge.services.database.read(count)


async def account(browser: Browser) -> dict[str, Any]:
    reply = await browser.ask("GET", "/v1/account")
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_a_passkey_makes_an_account_without_name_address_or_password(browser: Browser, edge: Edge) -> None:
    reply = await browser.sign_up(label="my phone")
    assert reply.status_code == 201
    assert len(set(reply.json()["recovery_codes"])) == 10
    shown = await account(browser)
    assert (shown["plan"], shown["created_on"], shown["recovery_codes_left"]) == ("account", "2027-01-15", 10)
    assert [(each["label"], each["last_used_on"]) for each in shown["passkeys"]] == [("my phone", None)]
    again = (await browser.ask("GET", "/v1/account")).text
    assert all(code not in again for code in reply.json()["recovery_codes"])


async def test_a_signed_in_browser_draws_as_its_account(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    image = await browser.draw()
    assert image["expires_at"] >= edge.clock() + 86_400 - 60  # the plan of accounts keeps for a day
    held = (await browser.ask("GET", "/v1/privacy/me")).json()
    assert held["owner"] == "account"
    assert [each["id"] for each in held["images"]] == [image["id"]]


async def test_the_cookie_of_a_sign_in_is_a_kind_of_its_own_and_safe(browser: Browser) -> None:
    reply = await browser.sign_up()
    [cookie] = [each for each in reply.headers.get_list("set-cookie") if each.startswith("acc=sfa_")]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {each.strip() for each in cookie.split(";")}
    assert "Domain" not in cookie


async def test_on_https_the_cookie_is_this_host_s_alone(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock(), public_url="https://testserver.local").opened() as edge:
        browser = Browser(edge, Authenticator(origin="https://testserver.local"))
        await browser.visit()
        reply = await browser.sign_up()
        [cookie] = [each for each in reply.headers.get_list("set-cookie") if each.startswith("__Host-acc=sfa_")]
        assert {"Secure", "HttpOnly", "Path=/"} <= {each.strip() for each in cookie.split(";")}
        assert (await browser.ask("GET", "/v1/account")).status_code == 200
        await browser.sign_out()
        assert "__Host-acc" not in browser.cookies


async def test_the_database_has_neither_codes_nor_cookie(browser: Browser, edge: Edge) -> None:
    codes = (await browser.sign_up()).json()["recovery_codes"]
    tables = ("sign_in", "recovery_code", "passkey")
    dump = await edge.services.database.read(
        lambda db: str([db.execute(text(f"SELECT * FROM {table}")).all() for table in tables])
    )
    assert all(code not in dump and code.replace("-", "") not in dump for code in codes)
    assert browser.cookies["acc"] not in dump


async def test_a_challenge_counts_once(browser: Browser, edge: Edge) -> None:
    credential = browser.device.make(await browser.challenge("sign_up"))
    session = dict(browser.cookies)
    assert (await browser.ask("POST", "/v1/account", {"credential": credential})).status_code == 201
    before = await rows(edge)
    browser.cookies = session
    again = await browser.ask("POST", "/v1/account", {"credential": credential})
    assert (again.status_code, again.json()["error"]["code"]) == (400, "sign_in_failed")
    assert await rows(edge) == before


async def test_a_challenge_is_for_one_browser_one_purpose_and_five_minutes(browser: Browser, edge: Edge) -> None:
    other = await visiting(edge)
    of_another = other.device.make(await browser.challenge("sign_up"))
    assert (await other.ask("POST", "/v1/account", {"credential": of_another})).status_code == 400
    of_sign_in = browser.device.make(await browser.challenge("sign_in"))
    assert (await browser.ask("POST", "/v1/account", {"credential": of_sign_in})).status_code == 400
    late = browser.device.make(await browser.challenge("sign_up"))
    edge.clock.advance(301)
    assert (await browser.ask("POST", "/v1/account", {"credential": late})).status_code == 400
    assert set((await rows(edge)).values()) == {0}


@pytest.mark.parametrize(
    "device",
    [
        Authenticator(origin="https://evil.example"),
        Authenticator(rp_id="evil.example"),
        Authenticator(is_verified=False),
        Authenticator(origin="http://localhost"),
    ],
)
async def test_a_passkey_of_another_site_or_of_nobody_in_person_makes_nothing(
    edge: Edge, device: Authenticator
) -> None:
    browser = await visiting(edge)
    browser.device = device
    reply = await browser.sign_up()
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "sign_in_failed")
    assert set((await rows(edge)).values()) == {0}


async def test_a_passkey_opens_one_account_only(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    other = await visiting(edge)
    other.device = browser.device
    assert (await other.sign_up()).json()["error"]["code"] == "sign_in_failed"
    assert (await rows(edge))["account"] == 1


async def test_who_is_signed_in_makes_no_second_account(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    browser.device = Authenticator()
    assert (await browser.sign_up()).status_code == 400
    assert (await rows(edge))["account"] == 1


async def test_who_is_not_signed_in_has_no_account(browser: Browser) -> None:
    for method, path in (("GET", "/v1/account"), ("DELETE", "/v1/account"), ("DELETE", "/v1/account/sign-in")):
        assert (await browser.ask(method, path)).status_code == 404, path


async def test_one_word_deletes_all_that_is_the_account_s(browser: Browser, edge: Edge) -> None:
    codes = (await browser.sign_up()).json()["recovery_codes"]
    second = await visiting(edge)
    second.device = browser.device
    assert (await second.sign_in()).status_code == 201
    made = await browser.ask("POST", "/v1/keys", {"name": "shop", "scopes": ["generate"]})
    image = await browser.draw()
    assert (await browser.ask("DELETE", "/v1/account")).json()["error"]["param"] == "Sfumato-Confirm"
    erased = await browser.ask("DELETE", "/v1/account", **{"sfumato-confirm": "erase"})
    claims = erased.json()["claims"]
    assert (claims["scope"], claims["counts"]["accounts"], claims["counts"]["api_keys"]) == ("account", 1, 1)
    assert claims["counts"]["images"] == 1
    assert "acc" not in browser.cookies
    assert set((await rows(edge)).values()) == {0}
    assert (await second.ask("GET", "/v1/account")).status_code == 404
    assert (await edge.client.get("/v1/models", headers=bearer(made.json()["key"]))).status_code == 401
    assert (await browser.ask("GET", "/i/" + image["url"].rpartition("/i/")[2])).status_code == 410
    fresh = await visiting(edge)
    assert (await fresh.ask("POST", "/v1/account/recovery", {"code": codes[0]})).status_code == 400
    fresh.device = browser.device
    assert (await fresh.sign_in()).status_code == 400


async def test_a_deleted_account_is_refused_within_a_second_elsewhere(browser: Browser, edge: Edge) -> None:
    services = edge.services
    elsewhere = type(services.known_sign_ins)(services.database, services.keyring, edge.clock)
    await browser.sign_up()
    token = browser.cookies["acc"]
    assert await elsewhere.find(token)
    await browser.ask("DELETE", "/v1/account", **{"sfumato-confirm": "erase"})
    edge.clock.advance(0.6)
    assert await elsewhere.find(token) is None


async def test_a_key_for_privacy_deletes_its_account_and_no_other_key_does(edge: Edge) -> None:
    confirmed = {"sfumato-confirm": "erase"}
    reader = await new_key(edge, "read", plan="account")
    assert (await edge.client.delete("/v1/account", headers={**bearer(reader), **confirmed})).status_code == 403
    owner = await new_key(edge, "privacy", plan="account")
    assert (await edge.client.delete("/v1/account", headers={**bearer(owner), **confirmed})).status_code == 200


async def test_no_key_touches_the_ways_in_and_none_may_be_made_that_would(browser: Browser, edge: Edge) -> None:
    key = bearer(await new_key(edge, plan="account"))
    for path in ("/v1/account/recovery-codes", "/v1/account/challenges"):
        reply = await edge.client.post(path, json={"purpose": "sign_in"}, headers=key)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_scope")
    await browser.sign_up()
    wanted = await browser.ask("POST", "/v1/keys", {"name": "all", "scopes": ["account"]})
    assert (wanted.status_code, wanted.json()["error"]["param"]) == (400, "scopes")


async def test_another_site_signs_nobody_up_in_or_out(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "", "origin": "https://evil.example"}):
        for method, path in (
            ("POST", "/v1/account"),
            ("POST", "/v1/account/sign-in"),
            ("POST", "/v1/account/recovery"),
            ("DELETE", "/v1/account/sign-in"),
            ("DELETE", "/v1/account"),
        ):
            browser.cookies = {"acc": browser.cookies["acc"]}
            reply = await browser.ask(method, path, {} if method == "POST" else None, **headers)
            assert (reply.status_code, reply.json()["error"]["code"]) == (403, "cross_site"), path
    assert (await account(browser))["recovery_codes_left"] == 10
