"""What a session made comes along into an account, where its person says so; and nothing of it without that."""

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import func, select, text

from edge.db.database import Database, open_engine
from edge.db.rows import ConsentRow, ImageRow, JobRow, SessionRow, ViewingSecretRow
from edge.domain.lifting import lift
from edge.domain.owner import Caller, Owner, OwnerId, owned
from edge.domain.sessions import read_session
from edge.domain.training import WithdrawnCopy, finish_withdrawals
from edge.errors import NotReady
from edge.routes.signed_in import sign_in_reply
from policies.load import load_policies
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Clock, Edge, make_edge


@pytest.fixture
async def browser(edge: Edge) -> Browser:
    return await visiting(edge)


async def held(browser: Browser) -> dict[str, Any]:
    return (await browser.ask("GET", "/v1/privacy/me")).json()


async def images(browser: Browser) -> list[str]:
    return [each["id"] for each in (await held(browser))["images"]]


async def shown(browser: Browser, image: dict[str, Any]) -> int:
    return (await browser.ask("GET", "/i/" + image["url"].rpartition("/i/")[2])).status_code


async def test_at_sign_up_all_comes_along_and_addresses_keep_working(browser: Browser, edge: Edge) -> None:
    image = await browser.draw()
    session = browser.cookies["sid"]
    assert (await browser.sign_up(bring=True)).status_code == 201
    assert "sid" not in browser.cookies
    assert await images(browser) == [image["id"]]
    again = (await browser.ask("GET", f"/v1/images/{image['id']}")).json()
    assert again["url"] == image["url"]
    assert await shown(browser, image) == 200
    counts = {each["name"]: each["count"] for each in (await held(browser))["classes"]}
    assert (counts["moderation_prompt"], counts["session"], counts["account"]) == (1, 0, 1)
    left = Browser(edge, cookies={"sid": session})
    assert await images(left) == []
    assert (await left.ask("GET", f"/v1/images/{image['id']}")).status_code == 404


async def test_at_sign_in_all_comes_along_beside_what_was_there(browser: Browser, edge: Edge) -> None:
    first = await browser.draw()
    await browser.sign_up(bring=True)
    own = await browser.draw()
    await browser.sign_out()
    await browser.visit()
    second = await browser.draw()
    assert (await browser.sign_in(bring=True)).status_code == 201
    assert set(await images(browser)) == {first["id"], own["id"], second["id"]}
    for image in (first, own, second):
        assert (await browser.ask("GET", f"/v1/images/{image['id']}")).json()["url"] == image["url"]
        assert await shown(browser, image) == 200


async def test_without_a_word_nothing_comes_along_and_the_session_goes_on(browser: Browser) -> None:
    image = await browser.draw()
    await browser.sign_up()
    assert await images(browser) == []
    await browser.sign_out()
    assert await images(browser) == [image["id"]]


async def test_a_recovery_code_brings_along_too(browser: Browser) -> None:
    codes = (await browser.sign_up()).json()["recovery_codes"]
    await browser.sign_out()
    image = await browser.draw()
    assert (await browser.ask("POST", "/v1/account/recovery", {"code": codes[0], "bring": True})).status_code == 201
    assert await images(browser) == [image["id"]]


async def test_a_brought_secret_is_wrapped_and_names_no_session(browser: Browser, edge: Edge) -> None:
    await browser.draw()
    session = read_session(browser.cookies["sid"], edge.services.keyring, edge.clock())
    assert session
    await browser.sign_up(bring=True)
    secrets = await edge.services.database.read(lambda db: db.scalars(select(ViewingSecretRow)).all())
    assert len(secrets) == 2
    tables = ("account", "image", "job", "prompt", "viewing_secret")
    dump = await edge.services.database.read(
        lambda db: str([db.execute(text(f"SELECT * FROM {table}")).all() for table in tables])
    )
    assert session.owner.id not in dump
    assert repr(session.viewing_secret) not in dump


async def test_what_is_being_drawn_is_waited_for(browser: Browser, edge: Edge) -> None:
    edge.generator.hold.clear()
    job = await browser.ask("POST", "/v1/generations", {"prompt": "a red apple"})
    assert job.status_code == 202
    refused = await browser.sign_up(bring=True)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "bring")
    count = select(func.count()).select_from(ViewingSecretRow)
    assert await edge.services.database.read(lambda db: db.scalar(count)) == 0
    edge.generator.hold.set()


async def test_what_is_left_of_a_session_says_that_it_is_over_and_nothing_else(browser: Browser, edge: Edge) -> None:
    await browser.ask("PUT", "/v1/privacy/training", {"choice": "deny"})
    await browser.sign_up(bring=True)
    rows = await edge.services.database.read(lambda db: db.scalars(select(SessionRow)).all())
    assert [(row.training, row.training_at, row.ended_at) for row in rows] == [(None, None, int(edge.clock()))]


@pytest.mark.parametrize("has_drawn", [False, True], ids=["before its first picture", "in use"])
@pytest.mark.parametrize("path", ["/v1/generations", "/v1/images/generations"])
async def test_what_is_asked_for_a_session_as_it_comes_along_is_refused_and_asked_again_for_the_account(
    edge_on_each_database: Edge, path: str, has_drawn: bool
) -> None:
    """Accepted, nobody could reach it: the session's cookie goes with the reply."""
    edge, draw = edge_on_each_database, {"prompt": "a red apple"}
    browser = await visiting(edge)
    if has_drawn:
        await browser.draw()
    asked_before = Browser(edge, cookies=dict(browser.cookies))
    assert (await browser.sign_up(bring=True)).status_code == 201
    refused = await asked_before.ask("POST", path, draw)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "session is over" in refused.json()["error"]["message"]
    jobs = await edge.services.database.read(lambda db: db.execute(select(JobRow.owner_kind)).scalars().all())
    assert set(jobs) <= {"account"}
    assert (await browser.ask("POST", path, draw)).status_code in (200, 202)


async def test_whoever_accepts_while_a_session_comes_along_waits_and_sees_it(edge_on_each_database: Edge) -> None:
    edge = edge_on_each_database
    for _ in range(5):
        browser = await visiting(edge)
        session = read_session(browser.cookies["sid"], edge.services.keyring, edge.clock())
        assert session
        drawing, signing = await asyncio.gather(
            Browser(edge, cookies=dict(browser.cookies)).ask("POST", "/v1/generations", {"prompt": "a red apple"}),
            browser.sign_up(bring=True),
        )
        assert (drawing.status_code, signing.status_code) in ((202, 400), (202, 201), (401, 201))
        mine = partial(owned, JobRow, session.owner)
        left = await edge.services.database.read(
            lambda db, mine=mine: db.scalars(select(JobRow.id).where(mine())).all()
        )
        assert len(left) == (signing.status_code == 400), (drawing.status_code, signing.status_code)


async def test_a_page_gives_another_session_where_the_old_one_came_along(browser: Browser, edge: Edge) -> None:
    """Whoever never got the reply has the old cookie still."""
    stranded = Browser(edge, cookies=dict(browser.cookies))
    await browser.sign_up(bring=True)
    old = stranded.cookies["sid"]
    await stranded.visit()
    assert stranded.cookies["sid"] != old
    assert (await stranded.ask("POST", "/v1/generations", {"prompt": "a red apple"})).status_code == 202


async def test_on_each_database_a_session_comes_along_and_goes_with_its_account(edge_on_each_database: Edge) -> None:
    browser = await visiting(edge_on_each_database)
    image = await browser.draw()
    codes = (await browser.sign_up(bring=True)).json()["recovery_codes"]
    await browser.sign_out()
    await browser.visit()
    second = await browser.draw()
    assert (await browser.ask("POST", "/v1/account/recovery", {"code": codes[0], "bring": True})).status_code == 201
    assert set(await images(browser)) == {image["id"], second["id"]}
    await browser.ask("DELETE", "/v1/account", **{"sfumato-confirm": "erase"})
    assert [await shown(browser, each) for each in (image, second)] == [410, 410]


async def test_a_no_of_the_session_holds_for_an_account_that_has_said_nothing(browser: Browser) -> None:
    await browser.draw()
    await browser.ask("PUT", "/v1/privacy/training", {"choice": "deny"})
    await browser.sign_up(bring=True)
    assert (await held(browser))["training"] == "deny"


@pytest.fixture
async def copying(tmp_path: Path) -> AsyncIterator[Edge]:
    key = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_TRAINING_KEY": key}).opened() as edge:
        yield edge


async def with_a_copy(edge: Edge) -> tuple[Browser, Owner]:
    """Signed out, of an account that says no, with a picture that may be copied."""
    browser = await visiting(edge)
    account = Owner("account", OwnerId((await browser.sign_up()).json()["id"]))
    assert (await browser.ask("PUT", "/v1/privacy/training", {"choice": "deny"})).status_code == 200
    await browser.sign_out()
    await browser.ask("PUT", "/v1/privacy/training", {"choice": "allow"})
    await browser.draw()
    assert len((await held(browser))["copies"]) == 1
    return browser, account


async def test_a_no_of_the_account_takes_back_the_copies_that_come_along(copying: Edge) -> None:
    browser, _ = await with_a_copy(copying)
    await browser.sign_in(bring=True)
    assert len(await images(browser)) == 1
    assert (await held(browser))["copies"] == []
    assert await copying.services.store.keys("training/") == []


async def test_copies_come_along_and_are_taken_back_in_one_transaction_whoever_stops_after_it(copying: Edge) -> None:
    browser, account = await with_a_copy(copying)
    services, now = copying.services, copying.clock()
    session = read_session(browser.cookies["sid"], services.keyring, now)
    assert session
    caller = Caller(session.owner, session.viewing_secret, services.anonymous_plan)
    await services.database.write(lambda db: lift(db, caller, account, services.keyring, now, 86_400.0))
    owners = await services.database.read(
        lambda db: db.execute(select(ConsentRow.owner_id, ConsentRow.withdrawn_at)).all()
    )
    assert owners == [(None, int(now))]
    assert await finish_withdrawals(store=services.store, database=services.database) == 1
    assert await services.store.keys("training/") == []


async def test_who_signs_in_gets_the_reply_though_the_copies_are_not_gone_yet(copying: Edge) -> None:
    """What it tells, such as recovery codes, is told this once."""
    services = copying.services
    closed = Database(open_engine(services.settings.database_url))
    await closed.close()
    reply = await sign_in_reply(
        "codes",
        "sfa_token",
        Owner("account", OwnerId("0" * 32)),
        replace(services, database=closed),
        brought=None,
        withdrawn=[WithdrawnCopy("0" * 32, "training/x", 0, None)],
    )
    assert reply.content == "codes"
    assert [cookie.value for cookie in reply.cookies] == ["sfa_token"]


async def test_brought_secrets_that_open_nothing_any_more_go_where_the_next_comes(browser: Browser, edge: Edge) -> None:
    image = await browser.draw()
    await browser.sign_up(bring=True)
    kept = await browser.draw()
    await browser.ask("DELETE", f"/v1/images/{image['id']}")
    count = select(func.count()).select_from(ViewingSecretRow)
    for secrets in (2, 3):  # the first goes, the second opens something
        await browser.sign_out()
        await browser.visit()
        image = await browser.draw()
        await browser.sign_in(bring=True)
        assert await edge.services.database.read(lambda db: db.scalar(count)) == secrets
        assert await shown(browser, image) == 200
        assert (await browser.ask("GET", f"/v1/images/{image['id']}")).json()["url"] == image["url"]
    assert (await browser.ask("GET", f"/v1/images/{kept['id']}")).json()["url"] == kept["url"]


async def test_a_caller_whose_account_grew_elsewhere_is_asked_to_wait_a_moment() -> None:
    """What an edge remembers of an account is half a second old at most."""
    plan = load_policies().plans.plans["account"]
    caller = Caller(Owner("account", OwnerId("0" * 32)), bytes(32), plan)
    with pytest.raises(NotReady):
        caller.secret_of(ImageRow(viewing_secret_id="1" * 32))


async def test_erasing_the_account_erases_what_came_along(browser: Browser) -> None:
    image = await browser.draw()
    await browser.sign_up(bring=True)
    erased = await browser.ask("DELETE", "/v1/account", **{"sfumato-confirm": "erase"})
    assert erased.json()["claims"]["counts"]["images"] == 1
    assert await shown(browser, image) == 410


async def test_the_export_has_the_account_and_what_came_along_and_nothing_secret(browser: Browser, edge: Edge) -> None:
    image = await browser.draw()
    await browser.sign_up(bring=True, label="my phone")
    await browser.ask("POST", "/v1/keys", {"name": "web shop", "scopes": ["read"]})
    reply = await browser.ask("GET", "/v1/privacy/me/export")
    archive = zipfile.ZipFile(io.BytesIO(reply.content))
    assert f"pictures/{image['id']}.png" in archive.namelist()
    rows = json.loads(archive.read("data.json"))["rows"]
    assert (rows["account"][0]["plan"], rows["account"][0]["created_on"]) == ("account", "2027-01-15")
    assert (rows["passkey"][0]["label"], rows["passkey"][0]["created_on"]) == ("my phone", "2027-01-15")
    assert [key["name"] for key in rows["api_key"]] == ["web shop"]
    assert len(rows["recovery_code"]) == 10
    assert not {"digest", "public_key", "credential_id", "wrapped"} & {
        name for table in rows.values() for row in table for name in row
    }
