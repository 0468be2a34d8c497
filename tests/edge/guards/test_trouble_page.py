"""Who comes with a browser reads why something failed, and finds a way back; programs get data, as ever."""

import pytest
from httpx2 import Response

from edge.errors import DatabaseUnavailable
from tests.edge.edges import Edge

BROWSER = {"accept": "text/html,application/xhtml+xml,image/avif,*/*;q=0.8", "sec-fetch-site": "same-origin"}


def is_page(reply: Response) -> bool:
    ours = 'class="wordmark"' in reply.text and 'href="/your-data">Your data</a>' in reply.text
    return reply.headers["content-type"].startswith("text/html") and ours


@pytest.fixture
def down(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise DatabaseUnavailable

    for way in ("read", "write"):
        monkeypatch.setattr(type(edge.services.database), way, lambda _, work: refuse(work))


@pytest.mark.parametrize(
    ("path", "status", "title", "reason"),
    [
        (f"/your-data/receipts/{'0' * 32}", 404, "There is nothing here", "There is no such receipt"),
        ("/nowhere", 404, "There is nothing here", "There is nothing here."),
        ("/i/x", 404, "There is nothing here", ""),
    ],
)
async def test_what_is_not_there_is_said_on_a_page(edge: Edge, path: str, status: int, title: str, reason: str) -> None:
    reply = await edge.client.get(path, headers=BROWSER)
    assert (reply.status_code, is_page(reply)) == (status, True)
    assert f"<h1>{title}</h1>" in reply.text
    assert reason in reply.text


async def test_a_picture_that_has_gone_is_said_to_be_gone(edge: Edge) -> None:
    url = (await edge.draw()).json()["data"][0]["url"]
    await edge.client.delete(url)
    reply = await edge.client.get(url, headers=BROWSER)
    assert (reply.status_code, "<h1>It is gone</h1>" in reply.text, is_page(reply)) == (410, True, True)


@pytest.mark.usefixtures("down")
@pytest.mark.parametrize(
    "path", ["/your-data", "/your-data/erase", "/privacy/status", f"/your-data/receipts/{'0' * 32}"]
)
async def test_with_the_database_down_a_page_offers_another_try(edge: Edge, path: str) -> None:
    edge.client.cookies.clear()
    reply = await edge.client.get(path, headers=BROWSER)
    assert (reply.status_code, reply.headers["retry-after"], is_page(reply)) == (503, "5", True)
    assert "The database does not answer." in reply.text
    assert '<a class="deed primary" href="">Try again</a>' in reply.text


async def test_a_form_that_cannot_be_read_is_answered_by_a_page(edge: Edge) -> None:
    reply = await edge.client.post("/your-data/request", data={"kind": "no such"}, headers=BROWSER)
    assert (reply.status_code, is_page(reply)) == (400, True)
    assert "leads to the form as you filled it" in reply.text


async def test_a_form_from_another_site_is_answered_by_a_page(edge: Edge) -> None:
    await edge.client.get("/")
    headers = {**BROWSER, "sec-fetch-site": "cross-site"}
    reply = await edge.client.post("/your-data/erase", data={}, headers=headers)
    assert (reply.status_code, is_page(reply)) == (403, True)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "image/avif,image/webp,*/*;q=0.8"])
async def test_programs_and_images_get_data(edge: Edge, accept: str) -> None:
    reply = await edge.client.get("/i/x", headers={"accept": accept})
    assert reply.headers["content-type"] == "application/problem+json"


async def test_the_api_answers_browsers_as_it_answers_all(edge: Edge) -> None:
    reply = await edge.client.get("/v1/nowhere", headers=BROWSER)
    assert reply.json()["error"]["code"] == "not_found"
