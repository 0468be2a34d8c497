"""How many accounts one network makes: a new session, a new device and a new address in it buy no more."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import Response
from sqlalchemy import func, select

from edge.db.rows import AccountRow, PasskeyRow
from edge.errors import DatabaseUnavailable
from policies.load import load_policies
from tests.edge.browsers import visiting
from tests.edge.edges import Clock, Edge, make_edge

ENTRY = load_policies().plans.entry.ipv6_64
MOST = ENTRY.accounts_per_day


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_TRUSTED_PROXIES": "127.0.0.0/8"}).opened() as edge:
        yield edge


async def sign_up(edge: Edge, address: str) -> Response:
    """Of a stranger with a device and a session of their own."""
    edge.client.headers["x-forwarded-for"] = address
    return await (await visiting(edge)).sign_up()


async def count(edge: Edge, row: type[AccountRow | PasskeyRow]) -> int:
    return await edge.services.database.read(lambda db: db.scalar(select(func.count()).select_from(row)) or 0)


async def test_the_first_account_too_many_of_one_network_is_refused_and_leaves_no_row(edge: Edge) -> None:
    statuses = [(await sign_up(edge, f"2001:db8::{number:x}")).status_code for number in range(MOST)]
    assert statuses == [201] * MOST
    refused = await sign_up(edge, "2001:db8::ffff")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (await count(edge, AccountRow), await count(edge, PasskeyRow)) == (MOST, MOST)
    assert (await sign_up(edge, "2001:db8:1::1")).status_code == 201
    edge.clock.advance(int(refused.headers["retry-after"]))
    assert (await sign_up(edge, "2001:db8::1")).status_code == 201


async def test_a_refused_sign_up_uses_up_no_challenge(edge: Edge) -> None:
    edge.client.headers["x-forwarded-for"] = "2001:db8::1"
    browser = await visiting(edge)
    credential = browser.device.make(await browser.challenge("sign_up"))
    nonsense = {**credential, "response": {**credential["response"], "clientDataJSON": "AA"}}
    for _ in range(ENTRY.failed_tries_per_minute):
        assert (await browser.ask("POST", "/v1/account", {"credential": nonsense})).status_code == 400
    assert (await browser.ask("POST", "/v1/account", {"credential": credential})).status_code == 429
    edge.client.headers["x-forwarded-for"] = "2001:db8:1::1"
    assert (await browser.ask("POST", "/v1/account", {"credential": credential})).status_code == 201


async def test_failed_sign_ups_take_no_account_from_anybody(edge: Edge) -> None:
    """One caller would shut those of a whole network out for a day."""
    edge.client.headers["x-forwarded-for"] = "2001:db8::1"
    browser = await visiting(edge)
    for _ in range(MOST + 1):
        credential = browser.device.make(await browser.challenge("sign_up"))
        spoilt = {**credential, "response": {**credential["response"], "attestationObject": "AA"}}
        assert (await browser.ask("POST", "/v1/account", {"credential": spoilt})).status_code == 400
    statuses = [(await sign_up(edge, f"2001:db8::{number:x}")).status_code for number in range(MOST)]
    assert statuses == [201] * MOST


async def test_a_sign_up_that_could_not_be_written_counts_as_none(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("edge.routes.account.add_passkey", _down)
        for _ in range(MOST + 1):
            assert (await sign_up(edge, "2001:db8::1")).status_code == 503
    assert (await sign_up(edge, "2001:db8::1")).status_code == 201


def _down(*_: object) -> None:
    raise DatabaseUnavailable
