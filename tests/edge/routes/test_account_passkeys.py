"""The ways into an account, and what makes no sense at any of its routes."""

import asyncio
import secrets
from typing import Any

import pytest
from sqlalchemy import func, select

from edge.db.rows import AccountRow, PasskeyRow, SignInRow
from tests.edge.authenticator import Authenticator
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Edge


@pytest.fixture
async def browser(edge: Edge) -> Browser:
    """Signed in."""
    browser = await visiting(edge)
    await browser.sign_up()
    return browser


async def add(browser: Browser, device: Authenticator, **asked: object) -> Any:
    credential = device.make(await browser.challenge("add_passkey"))
    return await browser.ask("POST", "/v1/account/passkeys", {"credential": credential, **asked})


async def passkeys(browser: Browser) -> list[dict[str, Any]]:
    return (await browser.ask("GET", "/v1/account")).json()["passkeys"]


async def test_an_account_has_several_passkeys_and_each_opens_it(browser: Browser) -> None:
    second = Authenticator()
    made = await add(browser, second, label="laptop")
    assert (made.status_code, made.json()["label"]) == (201, "laptop")
    await browser.sign_out()
    browser.device = second
    assert (await browser.sign_in()).status_code == 201
    assert {each["label"] for each in await passkeys(browser)} == {"passkey", "laptop"}


async def test_a_removed_passkey_opens_nothing_and_the_last_one_stays(browser: Browser) -> None:
    [first] = await passkeys(browser)
    only = await browser.ask("DELETE", f"/v1/account/passkeys/{first['id']}")
    assert (only.status_code, only.json()["error"]["param"]) == (400, "id")
    second = Authenticator()
    await add(browser, second)
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{first['id']}")).status_code == 200
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{first['id']}")).status_code == 404
    await browser.sign_out()
    assert (await browser.sign_in()).status_code == 400
    browser.device = second
    assert (await browser.sign_in()).status_code == 201


async def test_removing_a_passkey_signs_out_every_other_browser(browser: Browser, edge: Edge) -> None:
    lost = await visiting(edge)
    lost.device = Authenticator()
    await add(browser, lost.device)
    assert (await lost.sign_in()).status_code == 201
    [phone] = [each for each in await passkeys(browser) if each["last_used_on"]]
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{phone['id']}")).status_code == 200
    assert (await lost.ask("GET", "/v1/account")).status_code == 404
    assert len(await passkeys(browser)) == 1


async def test_of_two_passkeys_that_are_removed_at_once_one_stays(edge_on_each_database: Edge) -> None:
    browser = await visiting(edge_on_each_database)
    await browser.sign_up()
    await add(browser, Authenticator())
    addresses = [f"/v1/account/passkeys/{each['id']}" for each in await passkeys(browser)]
    replies = await asyncio.gather(*(browser.ask("DELETE", address) for address in addresses))
    assert sorted(reply.status_code for reply in replies) == [200, 400]
    assert len(await passkeys(browser)) == 1


async def test_a_passkey_of_another_account_is_not_there(browser: Browser, edge: Edge) -> None:
    other = await visiting(edge)
    await other.sign_up()
    await add(other, Authenticator())
    [theirs, _] = await passkeys(other)
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{theirs['id']}")).status_code == 404
    assert len(await passkeys(other)) == 2


async def test_a_passkey_that_is_known_is_not_added_again(browser: Browser) -> None:
    options = await browser.challenge("add_passkey")
    assert len(options["excludeCredentials"]) == 1  # so that the browser says so itself
    assert (await add(browser, browser.device)).status_code == 400
    assert len(await passkeys(browser)) == 1


async def test_passkeys_are_bounded(browser: Browser) -> None:
    made = [(await add(browser, Authenticator())).status_code for _ in range(20)]
    assert made == [201] * 19 + [400]


# hostile input --------------------------------------------------------------------------------------------------------

GARBAGE = [
    "",
    "A",
    "%%%",
    "é",
    "AAAA",
    "A" * 8_192,
    "oWNmbXRkbm9uZQ",
    "e30",
    "eyJ0eXBlIjoieCJ9",
    "W10",
    "bnVsbA",
    "gYGBgYGBgYGBgYGBgYE",
    "v_8",
    "-_v7-_v7",
]
EC = {1: 2, 3: -7, -1: 1}
RSA = {1: 3, 3: -257, -1: bytes([0xC5]) + bytes(254) + b"\x01"}
KEYS: list[object] = [
    "x",
    5,
    [1],
    [],
    {},
    {1: 2},
    {1: [2], 3: -7},
    {1: 9, 3: -7},
    EC,
    {**EC, -2: "x", -3: "y"},
    {**EC, -2: 5, -3: 5},
    {**EC, -2: bytes(32), -3: bytes(32)},
    {**EC, -2: b"\x01" * 32, -3: b"\x01" * 32},  # off the curve
    {**EC, -1: 99, -2: b"\x01" * 32, -3: b"\x01" * 32},
    {1: 1, 3: -8, -1: 6, -2: b"short"},
    {1: 1, 3: -8, -1: 7, -2: bytes(32)},
    RSA,
    {**RSA, -2: b"\x03"},
    {**RSA, -2: b"\x01" + bytes(1_998) + b"\x01"},
    {**RSA, -2: b"\x01" + bytes(198) + b"\x01"},
    {**RSA, -1: b"\xc5" + bytes(1_998) + b"\x01", -2: b"\x01\x00\x01"},
]
JWS = b"e30.eyJ4IjoxfQ.AAAA"
ATTESTATIONS: list[tuple[str, object]] = [
    ("android-safetynet", {"ver": "1", "response": 5}),
    ("android-safetynet", {"ver": "1", "response": b"x"}),
    ("android-safetynet", {"ver": "1", "response": JWS}),
    ("android-safetynet", []),
    ("packed", {"alg": -7, "sig": 5, "x5c": [5]}),
    ("packed", {"alg": "x", "sig": b""}),
    ("fido-u2f", {"sig": b"x", "x5c": [b"x"]}),
    ("fido-u2f", {"sig": b"x", "x5c": 5}),
    ("tpm", {"ver": "2.0", "alg": -257, "x5c": [b"x"], "sig": b"x", "certInfo": b"x", "pubArea": b"x"}),
    ("tpm", {"ver": 5, "alg": 5, "x5c": 5, "sig": 5, "certInfo": 5, "pubArea": 5}),
    ("apple", {"x5c": [b"x"]}),
    ("apple", {"x5c": {}}),
    ("android-key", {"alg": -7, "sig": b"x", "x5c": [b"x", b"y"]}),
    ("android-key", {"alg": -7, "sig": "x", "x5c": "x"}),
    ("none", {"sig": b"x"}),
    ("none", 5),
    ("x", {}),
]
CREDENTIAL = {"id": "AAAA", "rawId": "AAAA", "type": "public-key"}
SIGNED = {"clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "AAAA"}
MADE = {"clientDataJSON": "e30", "attestationObject": "AAAA"}
BODIES: list[tuple[str, object, str | None]] = [
    ("/v1/account/challenges", {}, "purpose"),
    ("/v1/account/challenges", {"purpose": "steal"}, "purpose"),
    ("/v1/account/challenges", {"purpose": None}, "purpose"),
    ("/v1/account/challenges", {"purpose": "sign_up", "account": "0"}, "account"),
    ("/v1/account/challenges", [], None),
    ("/v1/account", {}, "credential"),
    ("/v1/account", {"credential": "x"}, "credential"),
    ("/v1/account", {"credential": {}}, "id"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": {}}}, "clientDataJSON"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}}, "credential"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}, "label": ""}, "label"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}, "label": "a" * 101}, "label"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}, "label": "a\nb"}, "label"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}, "bring": "yes"}, "bring"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE}, "plan": "pro"}, "plan"),
    ("/v1/account", {"credential": {**CREDENTIAL, "response": MADE, "type": "password"}}, "credential"),
    ("/v1/account", {"credential": {**CREDENTIAL, "id": "A" * 8_193, "response": MADE}}, "credential"),
    ("/v1/account/sign-in", {}, "credential"),
    ("/v1/account/sign-in", {"credential": {**CREDENTIAL, "response": SIGNED}}, "credential"),
    ("/v1/account/sign-in", {"credential": {**CREDENTIAL, "response": SIGNED}, "bring": 1}, "bring"),
    ("/v1/account/sign-in", {"credential": {**CREDENTIAL, "response": SIGNED}, "account": "x"}, "account"),
    ("/v1/account/recovery", {}, "code"),
    ("/v1/account/recovery", {"code": ""}, "code"),
    ("/v1/account/recovery", {"code": "A" * 65}, "code"),
    ("/v1/account/recovery", {"code": 5}, "code"),
    ("/v1/account/recovery", {"code": "é\u0000"}, "code"),
    ("/v1/account/recovery", {"code": "0", "account": "x"}, "account"),
    ("/v1/account/passkeys", {}, "credential"),
    ("/v1/account/passkeys", {"credential": {**CREDENTIAL, "response": MADE}, "label": "a\x7f"}, "label"),
    ("/v1/account/passkeys", {"credential": {**CREDENTIAL, "response": MADE}, "account": "x"}, "account"),
    ("/v1/account/recovery-codes", {"count": 100}, "count"),
    ("/v1/account/recovery-codes", None, None),
]


async def assert_nothing_is_stored(edge: Edge) -> None:
    for row in (AccountRow, PasskeyRow, SignInRow):
        assert (
            await edge.services.database.read(lambda db, row=row: db.scalar(select(func.count()).select_from(row))) == 0
        )


@pytest.mark.parametrize(("path", "body", "param"), BODIES)
async def test_what_makes_no_sense_is_named_and_stores_nothing(
    edge: Edge, path: str, body: object, param: str | None
) -> None:
    stranger = await visiting(edge)
    reply = await stranger.ask("POST", path, body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    await assert_nothing_is_stored(edge)


@pytest.mark.parametrize(
    "part", ["id", "rawId", "clientDataJSON", "attestationObject", "authenticatorData", "signature"]
)
@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
async def test_bytes_that_are_no_answer_are_refused_and_store_nothing(edge: Edge, part: str, text: str) -> None:
    """Each in the place of a good part, so that all that comes before it is right."""
    stranger = await visiting(edge)
    makes = part != "authenticatorData" and part != "signature"
    options = await stranger.challenge("sign_up" if makes else "sign_in")
    credential = stranger.device.make(options) if makes else stranger.device.sign(options)
    place = credential["response"] if part in credential["response"] else credential
    place[part] = text
    reply = await stranger.ask("POST", "/v1/account" if makes else "/v1/account/sign-in", {"credential": credential})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "credential")
    await assert_nothing_is_stored(edge)


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
async def test_keys_that_no_signature_fits_are_refused_and_store_nothing(edge: Edge, key: object) -> None:
    stranger = await visiting(edge)
    credential = stranger.device.make(await stranger.challenge("sign_up"), public_key=key)
    await assert_refused(stranger, credential)


@pytest.mark.parametrize("attestation", ATTESTATIONS, ids=range(len(ATTESTATIONS)))
async def test_attestations_that_prove_nothing_are_refused_and_store_nothing(
    edge: Edge, attestation: tuple[str, object]
) -> None:
    stranger = await visiting(edge)
    credential = stranger.device.make(await stranger.challenge("sign_up"), attestation=attestation)
    await assert_refused(stranger, credential)


async def assert_refused(stranger: Browser, credential: dict[str, Any]) -> None:
    reply = await stranger.ask("POST", "/v1/account", {"credential": credential})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "credential")
    await assert_nothing_is_stored(stranger.edge)


@pytest.mark.parametrize("length", [1, 15, 1_024, 2_705, 5_000])
async def test_on_each_database_a_passkey_of_a_length_that_none_has_makes_nothing(
    edge_on_each_database: Edge, length: int
) -> None:
    browser = await visiting(edge_on_each_database)
    browser.device = Authenticator(credential_id=secrets.token_bytes(length))
    reply = await browser.sign_up()
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "sign_in_failed")
    await assert_nothing_is_stored(edge_on_each_database)


@pytest.mark.parametrize("length", [16, 1_023])
async def test_on_each_database_a_passkey_of_any_length_that_may_be_makes_an_account(
    edge_on_each_database: Edge, length: int
) -> None:
    browser = await visiting(edge_on_each_database)
    browser.device = Authenticator(credential_id=secrets.token_bytes(length))
    assert (await browser.sign_up()).status_code == 201


@pytest.mark.parametrize("name", ["x", "..%2f..", "%00", "'%20or%20'1'%3D'1", "0" * 64])
async def test_a_passkey_of_no_name_that_we_gave_is_not_there(browser: Browser, name: str) -> None:
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{name}")).status_code == 404
    assert len(await passkeys(browser)) == 1


async def test_a_body_over_the_limit_is_refused(browser: Browser) -> None:
    for path in ("challenges", "sign-in", "recovery", "passkeys", "recovery-codes"):
        reply = await browser.ask("POST", f"/v1/account/{path}", {"code": "A" * 200_000})
        assert reply.status_code == 413, path


async def test_only_json_is_taken(edge: Edge) -> None:
    for path in ("challenges", "sign-in", "recovery", "passkeys", "recovery-codes"):
        reply = await edge.client.post(f"/v1/account/{path}", content=b"{}", headers={"content-type": "text/plain"})
        assert reply.status_code == 415, path
