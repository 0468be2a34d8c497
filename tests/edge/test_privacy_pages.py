"""The pages that are read, in a real browser: they fit, complain about nothing and load nothing from elsewhere."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.edge.edges import Clock, make_edge
from tests.edge.serving import serving
from tests.edge.visitor import Visitor, open_browser
from tests.servers import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWN = {"sec-fetch-site": "same-origin"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    [port] = free_ports(1)
    url = f"http://localhost:{port}"
    home: Path = tmp_path_factory.mktemp("home")
    async with serving(make_edge(home, Clock(), public_url=url).services, port):
        yield url


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width_px", [360, 1280])
@pytest.mark.parametrize("path", ["/privacy", "/privacy/status", "/report"])
async def test_a_page_fits_and_calls_nobody(browser: Browser, url: str, path: str, width_px: int, colours: str) -> None:
    context = await browser.new_context(
        viewport={"width": width_px, "height": 740}, color_scheme="dark" if colours == "dark" else "light"
    )
    visitor = Visitor(await context.new_page(), host=url.removeprefix("http://"))
    await visitor.page.goto(url + path)
    assert await visitor.page.evaluate("document.documentElement.scrollWidth") <= width_px
    assert (visitor.complaints, visitor.strangers) == ([], [])
    assert await context.cookies() == []
    await context.close()


async def test_without_scripts_one_finds_the_way_from_the_front_page_to_what_is_kept(
    browser: Browser, url: str
) -> None:
    page = await browser.new_page(java_script_enabled=False)
    await page.goto(url)
    await page.get_by_role("contentinfo").get_by_role("link", name="Privacy").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("What is kept, and when it goes")
    await expect(page.get_by_role("row").filter(has_text="The picture that was made")).to_be_visible()
    await page.get_by_role("link", name="See whether it holds now").click()
    await expect(page.get_by_role("alert")).to_contain_text("The deleter has not reported yet.")
    await page.close()


async def test_without_scripts_one_reports_a_picture_from_the_foot_of_the_front_page(
    browser: Browser, url: str
) -> None:
    page = await browser.new_page(java_script_enabled=False)
    await page.goto(url)
    drawn = await page.request.post(f"{url}/v1/images/generations", data={"prompt": "a red apple"}, headers=OWN)
    address = (await drawn.json())["data"][0]["url"]
    await page.get_by_role("contentinfo").get_by_role("link", name="Report a picture").click()
    await page.get_by_label("What is wrong").select_option(label="It is abusive or against the law")
    await page.get_by_label("Addresses of the pictures").fill(f"{address}x")
    await page.get_by_label("What we should know").fill("it is about me")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert")).to_contain_text("Number 1 is not the address of a picture")
    await expect(page.get_by_label("What we should know")).to_have_value("it is about me")
    await page.get_by_label("Addresses of the pictures").fill(address)
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your report has arrived")
    await page.close()
