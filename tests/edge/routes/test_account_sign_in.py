"""In by a passkey or a recovery code, and out; what is refused is refused alike."""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import edge.domain.passkeys
from edge.domain.keyring import MAC_BYTES
from edge.domain.sign_ins import LASTS_S, forget_sign_ins
from tests.edge.authenticator import Authenticator, in_base64url
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Edge
from tests.edge.statements import statements


@pytest.fixture
async def browser(edge: Edge) -> Browser:
    """Signed up, with `device`, and out again."""
    browser = await visiting(edge)
    browser.codes = (await browser.sign_up()).json()["recovery_codes"]
    assert (await browser.sign_out()).status_code == 200
    return browser


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.ask("GET", "/v1/account")).status_code == 200


async def recover(browser: Browser, code: str) -> Any:
    return await browser.ask("POST", "/v1/account/recovery", {"code": code})


async def test_a_passkey_signs_in_and_leaves_the_day(browser: Browser) -> None:
    assert not await is_signed_in(browser)
    assert (await browser.sign_in()).status_code == 201
    shown = (await browser.ask("GET", "/v1/account")).json()
    assert shown["passkeys"][0]["last_used_on"] == "2027-01-15"


async def test_signing_out_ends_the_cookie_at_once_here_and_within_a_second_elsewhere(
    browser: Browser, edge: Edge
) -> None:
    services = edge.services
    elsewhere = type(services.known_sign_ins)(services.database, services.keyring, edge.clock)
    await browser.sign_in()
    token = browser.cookies["acc"]
    assert await elsewhere.find(token)
    await browser.sign_out()
    assert "acc" not in browser.cookies
    browser.cookies["acc"] = token
    assert not await is_signed_in(browser)
    edge.clock.advance(0.6)
    assert await elsewhere.find(token) is None


async def test_a_sign_in_ends_after_thirty_days_and_its_row_goes(browser: Browser, edge: Edge) -> None:
    await browser.sign_in()
    edge.clock.advance(LASTS_S + 1)
    assert not await is_signed_in(browser)
    assert await edge.services.database.write(lambda db: forget_sign_ins(db, edge.clock(), 10)) == 1


async def test_signing_in_again_ends_the_sign_in_before(browser: Browser) -> None:
    await browser.sign_in()
    former = browser.cookies["acc"]
    await browser.sign_in()
    assert browser.cookies["acc"] != former
    browser.cookies["acc"] = former
    assert not await is_signed_in(browser)


async def test_a_replayed_answer_signs_nobody_in(browser: Browser) -> None:
    credential = browser.device.sign(await browser.challenge("sign_in"))
    assert (await browser.ask("POST", "/v1/account/sign-in", {"credential": credential})).status_code == 201
    await browser.sign_out()
    again = await browser.ask("POST", "/v1/account/sign-in", {"credential": credential})
    assert (again.status_code, again.json()["error"]["code"]) == (400, "sign_in_failed")


async def test_a_device_that_counts_back_may_be_a_copy_and_is_refused(browser: Browser) -> None:
    browser.device.counts = True
    assert (await browser.sign_in()).status_code == 201
    assert (await browser.sign_in()).status_code == 201
    browser.device.sign_count -= 1
    assert (await browser.sign_in()).json()["error"]["code"] == "sign_in_failed", "no device shall forget it"
    browser.device.sign_count = 10
    assert (await browser.sign_in()).status_code == 201


async def test_a_cookie_that_is_not_ours_counts_as_none(browser: Browser) -> None:
    await browser.sign_in()
    browser.cookies["acc"] = browser.cookies["acc"][:-2] + "xx"
    assert (await browser.ask("GET", "/v1/models")).status_code == 200
    assert not await is_signed_in(browser)


async def test_a_cookie_that_was_made_up_costs_no_look(browser: Browser, edge: Edge) -> None:
    await browser.sign_in()
    token = browser.cookies["acc"]
    made_up = ["sfa_" + secrets.token_urlsafe(size) for size in (32, 33 + MAC_BYTES)]
    for cookie in (
        *made_up,
        token[:-1],
        token + "A",
        token[:20] + ("A" if token[20] != "A" else "B") + token[21:],
        token.swapcase(),
        "sfa_",
        "",
    ):
        browser.cookies["acc"] = cookie
        with statements(edge.services.database) as seen:
            assert (await browser.ask("GET", "/v1/models")).status_code == 200
        assert seen == [], cookie
    browser.cookies["acc"] = token
    assert await is_signed_in(browser)


async def test_a_get_signs_nobody_in(browser: Browser, edge: Edge) -> None:
    for path in ("/v1/account/sign-in", "/v1/account/recovery", "/v1/account/challenges"):
        assert (await browser.ask("GET", path)).status_code == 405
    assert "acc" not in browser.cookies


# recovery -------------------------------------------------------------------------------------------------------------


async def test_a_recovery_code_signs_in_once_and_makes_room_for_a_new_passkey(browser: Browser) -> None:
    code = browser.codes[0].lower().replace("-", " ")
    reply = await recover(browser, code)
    assert (reply.status_code, reply.json()["recovery_codes_left"]) == (201, 9)
    browser.device = Authenticator()
    credential = browser.device.make(await browser.challenge("add_passkey"))
    assert (await browser.ask("POST", "/v1/account/passkeys", {"credential": credential})).status_code == 201
    await browser.sign_out()
    assert (await browser.sign_in()).status_code == 201
    await browser.sign_out()
    assert (await recover(browser, code)).status_code == 400


async def test_new_codes_end_the_old_ones(browser: Browser) -> None:
    await browser.sign_in()
    renewed = await browser.ask("POST", "/v1/account/recovery-codes", {})
    assert renewed.status_code == 201
    await browser.sign_out()
    assert (await recover(browser, browser.codes[0])).status_code == 400
    assert (await recover(browser, renewed.json()["codes"][0])).status_code == 201


async def test_failures_are_limited_by_network_for_a_minute(browser: Browser, edge: Edge) -> None:
    most = edge.services.policies.plans.entry.ipv4_32.failed_tries_per_minute
    owner, browser.device = browser.device, Authenticator()
    for number in range(most // 2):
        assert (await browser.sign_in()).status_code == 400
        assert (await recover(browser, f"{number}")).status_code == 400
    browser.device = owner
    refused = [await recover(browser, browser.codes[0]), await browser.sign_in()]
    assert [reply.status_code for reply in refused] == [429, 429]
    edge.clock.advance(int(refused[0].headers["retry-after"]))
    assert (await recover(browser, browser.codes[0])).status_code == 201


async def test_whoever_gets_in_is_not_counted(browser: Browser, edge: Edge) -> None:
    most = edge.services.policies.plans.entry.ipv4_32.failed_tries_per_minute
    statuses = {(await browser.sign_in()).status_code for _ in range(most + 1)}
    assert statuses == {201}


# what tells nobody anything -------------------------------------------------------------------------------------------


@asynccontextmanager
async def work_of(edge_: Edge, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """Every statement and every check of a signature, in their order."""
    done: list[str] = []
    verify = edge.domain.passkeys.verify_authentication_response

    def counted(**asked: Any) -> Any:
        done.append("a signature is checked")
        return verify(**asked)

    with monkeypatch.context() as patched, statements(edge_.services.database) as told:
        patched.setattr("edge.domain.passkeys.verify_authentication_response", counted)
        yield done
    done += told


async def test_unknown_removed_and_wrong_passkeys_cost_the_same_work_and_only_a_wrong_one_is_not_to_be_forgotten(
    browser: Browser, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief, removed = Authenticator(credential_id=browser.device.credential_id), Authenticator()
    await browser.sign_in()
    credential = removed.make(await browser.challenge("add_passkey"))
    added = await browser.ask("POST", "/v1/account/passkeys", {"credential": credential})
    assert (await browser.ask("DELETE", f"/v1/account/passkeys/{added.json()['id']}")).status_code == 200
    await browser.sign_out()
    works: list[list[str]] = []
    words: list[str] = []
    for device in (Authenticator(), removed, thief):
        browser.device = device
        credential = device.sign(await browser.challenge("sign_in"))
        async with work_of(edge, monkeypatch) as done:
            reply = await browser.ask("POST", "/v1/account/sign-in", {"credential": credential})
        assert reply.status_code == 400
        words.append(reply.text)
        works.append(done)
    assert works[0] == works[1] == works[2]
    assert len(works[0]) == 2  # one statement, one check
    assert words[0] == words[1] != words[2]
    assert "unknown_passkey" in words[0]
    assert "recovery code" in words[0]
    assert "sign_in_failed" in words[2]


async def test_a_good_passkey_is_never_called_unknown_for_its_challenge(browser: Browser, edge: Edge) -> None:
    """A page would tell its device to forget it."""
    credentials = {
        "another browser's": browser.device.sign(await (await visiting(edge)).challenge("sign_in")),
        "another purpose's": browser.device.sign(await browser.challenge("sign_up")),
        "old": browser.device.sign(await browser.challenge("sign_in")),
    }
    edge.clock.advance(301)
    for whose, credential in credentials.items():
        for device in (browser.device, Authenticator()):
            asked = {"credential": {**credential, "id": in_base64url(device.credential_id)}}
            reply = await browser.ask("POST", "/v1/account/sign-in", asked)
            assert (reply.status_code, reply.json()["error"]["code"]) == (400, "sign_in_failed"), whose


async def test_unknown_used_and_mistyped_codes_cost_the_same_work_and_get_the_same_words(
    browser: Browser, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await recover(browser, browser.codes[0])).status_code == 201
    await browser.sign_out()
    works: list[list[str]] = []
    words: set[str] = set()
    for code in (browser.codes[0], browser.codes[1][:-1] + "*", "0" * 20, "x"):
        async with work_of(edge, monkeypatch) as done:
            reply = await recover(browser, code)
        words.add(reply.text)
        works.append(done)
    assert all(work == works[0] for work in works)
    assert len(works[0]) == 1
    assert len(words) == 1


async def test_no_secret_of_an_account_is_in_a_log(
    browser: Browser, edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await recover(browser, browser.codes[0])
        await recover(browser, browser.codes[0])
        credential = browser.device.sign(await browser.challenge("sign_in"))
        await browser.ask("POST", "/v1/account/sign-in", {"credential": credential})
        await browser.ask("POST", "/v1/account/sign-in", {"credential": credential})
        await browser.ask("POST", "/v1/account/sign-in", {"credential": {**credential, "id": "%"}})
    secrets = [browser.codes[0], browser.cookies["acc"], credential["id"], *credential["response"].values()]
    assert [record.getMessage() for record in caplog.records]
    assert all(secret not in caplog.text for secret in secrets)
