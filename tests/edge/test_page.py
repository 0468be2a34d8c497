"""The page in a real browser, on a real server, over a generator that draws in step with the test."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import time

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from cluster.compose_edge import build_services
from edge.settings import Settings
from policies.load import load_policies
from serve_app.contract import Failed
from serve_app.storage.opening import open_store
from tests.edge.edges import env_for
from tests.edge.paced_generator import PacedGenerator, picture
from tests.edge.serving import serving
from tests.edge.visitor import Visitor, open_browser
from tests.servers import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = 12
COUNTDOWN = re.compile(r"^gone in (59|1:00):\d\d$")


@dataclass
class House:
    url: str
    home: Path
    generator: PacedGenerator


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
        yield House(url, tmp_path, generator)


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(browser: Browser, house: House) -> AsyncIterator[Visitor]:
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    visitor = Visitor(await context.new_page(), host=house.url.removeprefix("http://"))
    await visitor.page.goto(house.url)
    yield visitor
    await context.close()
    assert visitor.strangers == []


async def test_a_picture_comes_out_of_the_smoke_step_by_step(visitor: Visitor, house: House) -> None:
    page = visitor.page
    async with page.expect_response("**/events"):  # what is drawn is shown to those who look at that moment
        await visitor.ask("a red apple on a blue background")
    await expect(page.locator("#progress")).to_have_text("3rd in line, about 8 s")

    drawn = page.get_by_role("img", name="A picture that is being drawn")
    sharpness = []
    for step in (3, 6, 9):
        house.generator.let(3)
        await expect(page.locator("#progress")).to_have_text(f"Step {step} of {STEPS}")
        await expect(drawn).to_have_attribute("src", data_url(picture(house.generator.requests[0], step)))
        sharpness.append(await sharpness_of(page.locator(".picture")))
    assert sharpness == sorted(set(sharpness))

    house.generator.let(3)
    await expect(page.get_by_role("timer")).to_have_text(COUNTDOWN)
    await expect(page.get_by_role("status")).to_have_text("The picture is ready. Gone in 1 hour.")
    await expect(page.get_by_text("Drawn at 64 × 64, resampled to 256 × 256.")).to_be_visible()
    assert await sharpness_of(page.locator(".picture")) == 1
    assert visitor.complaints == []


async def test_a_picture_can_be_downloaded_shared_and_deleted_for_good(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await draw(visitor, house, "a red apple")
    address = house.url + str(await page.locator(".sight").get_attribute("src"))

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    saved = await (await download.value).path()
    assert saved.read_bytes() == picture(house.generator.requests[0], STEPS)

    await page.get_by_role("button", name="Copy address").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == address

    await page.get_by_role("button", name="Delete now").click()
    await expect(page.get_by_role("timer")).to_have_text("Deleted. Nobody can bring it back, and neither can we.")
    await expect(page.locator("#thumbnails li")).to_have_count(0)
    assert (await page.request.get(address)).status == 410
    assert visitor.complaints == []


async def test_a_picture_leaves_the_page_at_its_minute(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await page.clock.install()
    await page.reload()
    await draw(visitor, house, "a red apple")
    await page.clock.fast_forward("01:01:01")
    await expect(page.get_by_role("timer")).to_have_text("Gone, as promised.")
    await expect(page.get_by_role("link", name="Download")).to_have_count(0)


async def test_a_picture_that_is_not_stored_lives_in_the_tab_alone(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.choose("Keep for", "not stored")
    await draw(visitor, house, "a red apple")
    await expect(page.get_by_role("timer")).to_have_text("not stored, only in this tab")
    await expect(page.get_by_role("button", name="Copy address")).to_be_hidden()
    assert house.generator.requests[0].store is None

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename == "sfumato.png"
    await page.get_by_role("button", name="Delete now").click()
    await expect(page.locator("#thumbnails li")).to_have_count(0)
    assert visitor.complaints == []


async def test_a_picture_that_goes_when_downloaded_is_fetched_once_and_saved_from_that_copy(
    visitor: Visitor, house: House
) -> None:
    page = visitor.page
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url) if "/i/" in request.url else None)
    await visitor.choose("Keep for", "until downloaded")
    house.generator.let(STEPS)
    await visitor.ask("a red apple on a blue background")
    await expect(page.get_by_role("timer")).to_have_text("fetched, only in this tab")
    await expect(page.locator("#thumbnails img")).to_have_count(1)
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="Download").click()
    saved = await (await downloading.value).path()
    assert saved.read_bytes() == picture(house.generator.requests[-1], STEPS)
    assert len(fetched) == 1
    shown = await page.evaluate("async () => (await (await fetch('/v1/generations')).json()).data[0].images[0]")
    assert shown["expires_at"] <= time() + 60


async def test_pictures_of_the_visit_stay_at_hand_and_again_takes_another_seed(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.choose("Pictures", "4")
    await page.get_by_label("Seed", exact=True).fill("7")
    await draw(visitor, house, "a red apple")
    await expect(page.get_by_role("timer")).to_have_count(4)
    await page.get_by_role("button", name="10", exact=True).click()
    await expect(page.get_by_label("Seed", exact=True)).to_have_value("10")

    house.generator.let(STEPS)
    await page.get_by_role("button", name="Again").first.click()
    await expect(page.locator("#thumbnails li")).to_have_count(8)
    first, second = house.generator.requests
    assert (second.prompt, second.n) == (first.prompt, 4)
    assert first.seed == 7 != second.seed

    await page.locator("#thumbnails button").last.click()
    await expect(page.get_by_role("timer")).to_have_count(1)
    await expect(page.get_by_role("button", name="7", exact=True)).to_be_visible()
    assert visitor.complaints == []


async def test_a_picture_deleted_while_the_others_are_drawn_stays_away(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.choose("Pictures", "2")
    house.generator.hold_end.clear()
    await visitor.ask("a red apple")
    house.generator.let(STEPS)
    await expect(page.locator("#thumbnails li")).to_have_count(2)
    await expect(page.locator(".sight[src]")).to_have_count(2)  # the second may be still on its way to the page
    kept = await page.locator(".sight").last.get_attribute("src")
    await page.get_by_role("button", name="Delete now").first.click()
    await expect(page.locator("#thumbnails li")).to_have_count(1)
    house.generator.hold_end.set()
    await expect(page.get_by_role("button", name="Draw")).to_be_visible()
    await expect(page.locator("#thumbnails li")).to_have_count(1)
    await expect(page.get_by_role("timer")).to_have_text(COUNTDOWN)
    await expect(page.locator(".sight")).to_have_attribute("src", str(kept))
    assert visitor.complaints == []


async def test_escape_cancels_what_is_being_drawn(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.ask("a red apple")
    house.generator.let(1)
    await expect(page.locator("#progress")).to_have_text(f"Step 1 of {STEPS}")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("status")).to_have_text("Cancelled")
    async with asyncio.timeout(5):
        await house.generator.cancelled.wait()
    await expect(page.get_by_role("button", name="Draw")).to_be_visible()
    assert visitor.complaints == []


async def test_closing_the_page_cancels_a_drawing_that_is_not_stored(visitor: Visitor, house: House) -> None:
    await visitor.choose("Keep for", "not stored")
    await visitor.ask("a red apple")
    await expect(visitor.page.get_by_role("button", name="Cancel")).to_be_visible()
    house.generator.let(4)
    await expect(visitor.page.get_by_role("progressbar")).to_have_attribute("value", re.compile(r"\d"))
    await visitor.page.close()
    async with asyncio.timeout(5):
        await house.generator.cancelled.wait()


async def test_what_the_form_can_tell_is_said_beside_the_field_and_asks_nobody(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await visitor.ask("   ")
    await expect(page.locator("#prompt-error")).to_have_text("Say what you would like to see.")
    await page.get_by_label("Steps").fill("99")
    await visitor.ask("a red apple")
    await expect(page.locator("#steps-error")).to_have_text("4 to 50")
    await expect(page.get_by_label("Steps")).to_be_focused()
    await expect(page.locator("#prompt-error")).to_be_hidden()
    assert house.generator.requests == []


async def test_what_the_server_refuses_is_said_beside_the_field(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await page.evaluate("document.querySelector('#size').append(new Option('huge', '9999x9999', true, true))")
    await visitor.ask("a red apple")
    await expect(page.locator("#size-error")).to_contain_text("this model offers auto, 64x64")
    await expect(page.get_by_label("Size")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Size")).to_be_focused()
    assert house.generator.requests == []


async def test_too_much_work_and_no_network_are_told_apart(visitor: Visitor, house: House) -> None:
    page = visitor.page
    house.generator.failure = Failed("overloaded", "a long queue", 3.0)
    await visitor.ask("a red apple")
    await expect(page.locator("#trouble")).to_contain_text("Too much is waiting already.")

    await page.context.set_offline(True)
    await visitor.ask("a red apple")
    await expect(page.locator("#trouble")).to_contain_text("You are offline.")

    await page.context.set_offline(False)
    house.generator.failure = None
    house.generator.let(STEPS)
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("timer")).to_have_text(COUNTDOWN)


@pytest.mark.parametrize("kept", ["1 hour", "not stored"])
async def test_a_prompt_that_was_cut_is_said_to_be(visitor: Visitor, house: House, kept: str) -> None:
    house.generator.truncates = True
    await visitor.choose("Keep for", kept)
    await draw(visitor, house, "a red apple and much more")
    await expect(visitor.page.locator("#trouble")).to_contain_text("Only the beginning of your prompt was read")


async def test_the_browser_remembers_nothing_but_the_session_cookie(visitor: Visitor, house: House) -> None:
    page = visitor.page
    await draw(visitor, house, "a red apple")
    await page.reload()
    await expect(page.get_by_label("What would you like to see?")).to_have_value("")
    await expect(page.get_by_text("This visit")).to_be_hidden()
    kept = await page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, "
        "(await indexedDB.databases()).length, (await caches.keys()).length]"
    )
    assert kept == [0, 0, 0, 0]
    assert [cookie.get("name") for cookie in await page.context.cookies()] == ["sid"]


async def test_the_page_says_what_is_kept_with_the_numbers_in_force(visitor: Visitor) -> None:
    kept = visitor.page.get_by_role("contentinfo")
    await expect(kept).to_contain_text("1 hour after it was made unless you choose otherwise, 1 day at most")
    options = visitor.page.get_by_label("Keep for").locator("option")
    await expect(options).to_have_text(["not stored", "until downloaded", "10 minutes", "1 hour", "6 hours", "1 day"])


async def test_without_scripts_the_prompt_stays_out_of_the_address(browser: Browser, house: House) -> None:
    page = await browser.new_page(java_script_enabled=False)
    await page.goto(house.url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.get_by_label("What would you like to see?").fill("a red apple")
    await page.get_by_role("button", name="Draw").click()
    await page.goto(f"{house.url}/healthz")
    assert [url for url in asked if "?" in url] == []
    await page.close()


@pytest.mark.parametrize("width_px", [360, 3840])
async def test_the_page_fits_a_phone_and_a_wall(visitor: Visitor, house: House, width_px: int) -> None:
    page = visitor.page
    await page.set_viewport_size({"width": width_px, "height": 740})
    await page.get_by_role("button", name="a red apple on a blue background").click()
    house.generator.let(STEPS)
    await expect(page.get_by_role("timer")).to_have_text(COUNTDOWN)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width_px


async def draw(visitor: Visitor, house: House, prompt: str) -> None:
    house.generator.let(STEPS)
    await visitor.ask(prompt)
    await expect(visitor.page.locator(".picture.ready").first).to_be_visible()
    await expect(visitor.page.get_by_role("button", name="Draw")).to_be_visible()


async def sharpness_of(figure: Locator) -> float:
    return float(await figure.evaluate("figure => figure.style.getPropertyValue('--sharp')"))


def data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
