"""The pages of an account in a real browser, with a device of its own that makes passkeys."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Route, expect

from cluster.compose_edge import build_services
from edge.settings import Settings
from policies.load import load_policies
from serve_app.storage.opening import open_store
from tests.edge.edges import env_for
from tests.edge.paced_generator import PacedGenerator
from tests.edge.serving import serving
from tests.edge.visitor import Visitor, open_browser
from tests.servers import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
CODE = re.compile(r"^[0-9A-Z]{5}(-[0-9A-Z]{5}){3}$")


@dataclass
class House:
    url: str
    generator: PacedGenerator


@dataclass
class Person(Visitor):
    """With a device that holds passkeys, and can lose it."""

    url: str = ""
    device: str = ""
    cdp: CDPSession | Any = None

    async def take_device(self) -> None:
        self.device = (await self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE}))["authenticatorId"]

    async def lose_device(self) -> None:
        await self.cdp.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": self.device})

    async def passkeys(self) -> list[Any]:
        return (await self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.device}))["credentials"]

    async def open(self, path: str) -> None:
        await self.page.goto(self.url + path)

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name).click()

    async def sees(self, heading: str) -> None:
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(heading)

    async def sign_up(self) -> list[str]:
        await self.open("/account")
        await self.press("Make an account")
        await expect(self.page.locator(".codes li")).to_have_count(10)
        codes = await self.page.locator(".codes li").all_text_contents()
        await self.press("I have them")
        await self.sees("Your account")
        return codes

    async def sign_out(self) -> None:
        await self.press("Sign out")
        await self.sees("An account, if you like")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    [port] = free_ports(1)
    url = f"http://localhost:{port}"
    settings = Settings.from_env(env_for(tmp_path, SFUMATO_PORT=str(port), SFUMATO_PUBLIC_URL=url))
    generator = PacedGenerator(open_store(settings.store), time)
    async with serving(build_services(settings, load_policies(), generator), port):
        yield House(url, generator)


@pytest_asyncio.fixture(loop_scope="module")
async def person(browser: Browser, house: House) -> AsyncIterator[Person]:
    context = await browser.new_context(reduced_motion="reduce")
    page = await context.new_page()
    cdp = await context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    person = Person(page, host=house.url.removeprefix("http://"), url=house.url, cdp=cdp)
    await person.take_device()
    yield person
    await context.close()
    assert person.strangers == []


async def test_a_person_signs_up_out_and_in_again_by_a_passkey_alone(person: Person) -> None:
    codes = await person.sign_up()
    assert all(CODE.match(code) for code in codes)
    await expect(person.page.get_by_text("10 of ten still work.")).to_be_visible()
    await person.sign_out()
    await person.press("Sign in with a passkey")
    await person.sees("Your account")
    assert person.complaints == []


async def test_who_lost_the_device_comes_back_by_a_code_and_adds_a_passkey(person: Person) -> None:
    codes = await person.sign_up()
    await person.sign_out()
    await person.lose_device()
    await person.take_device()
    page = person.page
    await page.get_by_text("Lost your passkeys?").click()
    await page.get_by_label("Recovery code", exact=True).fill(codes[0].lower())
    await person.press("Sign in with a code")
    await person.sees("Your account")
    await expect(page.get_by_text("9 of ten still work.")).to_be_visible()
    await page.get_by_label("What you call it").fill("new phone")
    await person.press("Add a passkey")
    await expect(page.get_by_text("new phone")).to_be_visible()
    await person.press("Remove the passkey first passkey")
    await expect(page.get_by_role("button", name="Remove the passkey")).to_have_count(1)
    await expect(page.get_by_role("button", name="Remove the passkey")).to_be_disabled()
    await person.sign_out()
    await person.press("Sign in with a passkey")
    await person.sees("Your account")
    assert person.complaints == []


async def test_a_code_that_does_not_work_is_said_not_to(person: Person) -> None:
    page = person.page
    await person.open("/account")
    await page.get_by_text("Lost your passkeys?").click()
    await page.get_by_label("Recovery code", exact=True).fill("00000-00000-00000-00000")
    await person.press("Sign in with a code")
    await expect(page.get_by_role("alert")).to_have_text("This is no recovery code that still works.")


async def test_a_device_that_has_a_passkey_of_the_account_gets_no_second_one(person: Person) -> None:
    await person.sign_up()
    await person.page.get_by_label("What you call it").fill("again")
    await person.press("Add a passkey")
    await expect(person.page.get_by_role("alert")).to_have_text("This device has a passkey of this account already.")


async def test_pictures_come_along_where_the_box_is_ticked(person: Person, house: House) -> None:
    page = person.page
    await person.open("/")
    house.generator.let(12)
    await person.ask("a red apple on a blue background")
    await expect(page.get_by_role("timer")).to_be_visible()
    await person.open("/account")
    await page.get_by_label("Bring along the 1 picture of this browser").check()
    await person.press("Make an account")
    await expect(page.locator(".codes li")).to_have_count(10)
    await person.press("I have them")
    await person.sees("Your account")
    await person.open("/your-data")
    await expect(page.locator(".album img")).to_have_count(1)
    assert (await page.request.get(house.url + str(await page.locator(".album img").get_attribute("src")))).ok
    await person.open("/")
    await expect(page.get_by_label("Keep for")).to_have_value("P1D")
    assert [cookie.get("name") for cookie in await page.context.cookies()] == ["acc"]
    assert person.complaints == []


async def test_one_press_deletes_the_account_and_leads_to_its_receipt(person: Person) -> None:
    codes = await person.sign_up()
    await person.press("Delete this account and all that is its own")
    await person.page.wait_for_url("**/your-data/receipts/*")
    await person.open("/account")
    await person.sees("An account, if you like")
    await person.press("Sign in with a passkey")
    await expect(person.page.get_by_role("alert")).to_contain_text("This passkey opens no account here")
    await person.page.get_by_text("Lost your passkeys?").click()
    await person.page.get_by_label("Recovery code", exact=True).fill(codes[1])
    await person.press("Sign in with a code")
    await expect(person.page.get_by_role("alert")).to_contain_text("no recovery code")


async def test_a_device_forgets_a_passkey_that_opens_nothing_any_more(person: Person) -> None:
    await person.sign_up()
    assert len(await person.passkeys()) == 1
    await person.press("Delete this account and all that is its own")
    await person.page.wait_for_url("**/your-data/receipts/*")
    await person.open("/account")
    await person.press("Sign in with a passkey")
    await expect(person.page.get_by_role("alert")).to_contain_text("use a recovery code")
    assert await person.passkeys() == []


async def test_a_browser_that_cannot_tell_its_device_says_what_to_do(person: Person) -> None:
    await person.page.add_init_script("delete PublicKeyCredential.signalUnknownCredential")
    await person.sign_up()
    await person.press("Delete this account and all that is its own")
    await person.page.wait_for_url("**/your-data/receipts/*")
    await person.open("/account")
    await person.press("Sign in with a passkey")
    await expect(person.page.get_by_role("alert")).to_contain_text(
        "delete this one where your device keeps its passkeys"
    )
    assert len(await person.passkeys()) == 1


async def test_a_good_passkey_stays_where_its_challenge_was_not_good(person: Person) -> None:
    await person.sign_up()
    await person.sign_out()
    await person.page.route("**/v1/account/challenges", partial(forgetting, person))
    await person.press("Sign in with a passkey")
    await expect(person.page.get_by_role("alert")).to_contain_text("ask for a new challenge")
    assert len(await person.passkeys()) == 1


async def forgetting(person: Person, route: Route) -> None:
    """The browser has its challenge, and then no session any more."""
    reply = await route.fetch()
    await person.page.context.clear_cookies()
    await route.fulfill(response=reply)


async def test_a_key_is_made_seen_once_replaced_and_revoked(person: Person, house: House) -> None:
    await person.sign_up()
    page = person.page
    await page.get_by_role("link", name="API keys").click()
    await expect(page.get_by_text("There is none yet.")).to_be_visible()
    await page.get_by_label("What you call it").fill("web shop")
    await page.locator("form").get_by_role("button", name="Make a key").click()
    shown = page.locator(".secret code")
    await expect(shown).to_have_text(re.compile("^sf_live_"))
    first = await shown.inner_text()
    assert await answer(page.request, house, first) == 200
    await person.press("I have it")
    await expect(shown).to_be_hidden()
    await person.press("Replace the key web shop")
    await expect(shown).not_to_have_text(first)
    await expect(shown).to_have_text(re.compile("^sf_live_"))
    second = await shown.inner_text()
    assert await answer(page.request, house, first) == 401
    assert await answer(page.request, house, second) == 200
    await person.press("I have it")
    await person.press("Revoke the key web shop")
    await expect(page.get_by_role("button", name="Revoke")).to_have_count(0)
    assert await answer(page.request, house, second) == 401
    assert person.complaints == []


async def answer(request: Any, house: House, key: str) -> int:
    return (await request.get(f"{house.url}/v1/models", headers={"authorization": f"Bearer {key}"})).status


async def test_the_keys_are_shown_to_nobody_who_is_not_signed_in(person: Person) -> None:
    await person.open("/account/keys")
    await person.sees("An account, if you like")


@pytest.mark.parametrize("width_px", [360, 3840])
async def test_the_pages_fit_a_phone_and_a_wall(person: Person, width_px: int) -> None:
    page = person.page
    await page.set_viewport_size({"width": width_px, "height": 740})
    await person.sign_up()
    for path in ("/account", "/account/keys"):
        await person.open(path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width_px
    await person.open("/account")
    await person.press("Make ten new ones")
    await expect(page.locator(".codes li")).to_have_count(10)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width_px
