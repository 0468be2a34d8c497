"""What the pages of an account show, and that seeing them signs nobody in."""

import pytest

from edge.domain.sign_ins import LASTS_S
from edge.domain.standing import utc_minute
from tests.edge.accounts import bearer, new_key
from tests.edge.browsers import Browser, visiting
from tests.edge.edges import Edge
from tests.edge.routes.test_your_data import form_of


@pytest.fixture
async def browser(edge: Edge) -> Browser:
    return await visiting(edge)


async def test_seeing_a_page_makes_no_account_and_signs_nobody_in(edge: Edge) -> None:
    browser = Browser(edge)
    assert (await browser.visit("/account")).status_code == 200
    assert list(browser.cookies) == ["sid"]
    assert (await browser.ask("GET", "/v1/account")).status_code == 404


async def test_who_is_not_signed_in_is_led_to_the_page_that_does_it(browser: Browser) -> None:
    reply = await browser.visit("/account/keys")
    assert (reply.status_code, reply.headers["location"]) == (302, "/account")


@pytest.mark.parametrize("path", ["/account", "/account/keys"])
async def test_a_key_is_shown_no_page(edge: Edge, path: str) -> None:
    reply = await edge.client.get(path, headers=bearer(await new_key(edge)))
    assert reply.status_code == 401


async def test_only_a_browser_with_pictures_is_asked_whether_they_come_along(browser: Browser) -> None:
    assert "Bring along" not in (await browser.visit("/account")).text
    await browser.draw()
    assert "Bring along the 1 picture of this browser" in (await browser.visit("/account")).text


async def test_the_page_says_until_when_its_browser_is_signed_in(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    ends_at = utc_minute(int(edge.clock() + LASTS_S))
    edge.clock.advance(5 * 86_400)
    assert f">{ends_at}</time> UTC, or until you sign out" in (await browser.visit("/account")).text


async def test_a_label_is_text_on_the_page_whatever_is_in_it(browser: Browser) -> None:
    await browser.sign_up(label="<script>alert(1)</script>")
    page = (await browser.visit("/account")).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


async def test_the_front_page_offers_what_the_account_s_plan_does(browser: Browser) -> None:
    assert "P7D" not in (await browser.visit()).text
    await browser.sign_up()
    page = await browser.visit()
    assert "P7D" in page.text
    assert "set-cookie" not in page.headers


async def test_deleting_the_account_leaves_the_session_beside_it_what_was_not_brought_along(browser: Browser) -> None:
    image = await browser.draw()
    await browser.sign_up()
    erased = await browser.ask("DELETE", "/v1/account", **{"sfumato-confirm": "erase"})
    assert erased.headers["clear-site-data"] == '"cache", "storage"'
    assert list(browser.cookies) == ["sid"]
    assert image["id"] in (await browser.visit("/your-data")).text


async def test_so_does_deleting_it_from_the_page(browser: Browser, edge: Edge) -> None:
    await browser.sign_up()
    fields = form_of((await browser.visit("/your-data/erase")).text, "/your-data/erase")
    headers = {"cookie": f"acc={browser.cookies['acc']}", "sec-fetch-site": "same-origin"}
    erased = await edge.client.post("/your-data/erase", data=fields, headers=headers)
    assert (erased.status_code, erased.headers["clear-site-data"]) == (303, '"cache", "storage"')
    assert [cookie.partition("=")[0] for cookie in erased.headers.get_list("set-cookie")] == ["acc"]


async def test_all_that_is_held_of_an_account_is_on_its_page_and_goes_from_there(browser: Browser) -> None:
    await browser.sign_up()
    image = await browser.draw()
    page = (await browser.visit("/your-data")).text
    assert image["id"] in page
    assert "without a passkey or a recovery code nobody can show you this page" in " ".join(page.split())
    toll = (await browser.visit("/your-data/erase")).text
    assert "account, with its passkeys, codes and API keys" in toll
