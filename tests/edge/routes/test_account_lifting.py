"""What a session made comes along into an account, where its person says so; and nothing of it without that."""

import io
import json
import zipfile
from typing import Any

import pytest
from sqlalchemy import func, select, text

from edge.db.rows import ViewingSecretRow
from edge.domain.sessions import read_session
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Edge


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
    tables = ("account", "image", "job", "prompt", "session", "viewing_secret")
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
