"""The page for reports as a browser without scripts uses it: fill in the form, send it, read what became of it."""

from html import unescape

import pytest
from httpx2 import Response
from sqlalchemy import func, select

from edge.db.rows import NoticeRow, SessionRow
from edge.domain.complaints import close, waiting_complaints
from tests.edge.edges import START, Edge

PAGE = "/report"
SAME_ORIGIN = {"sec-fetch-site": "same-origin", "accept": "text/html"}
STATEMENT = 'that is me & my <b>sister</b>\r\nby "the sea"'


async def drawn(edge: Edge) -> str:
    return (await edge.draw()).json()["data"][0]["url"]


async def send(edge: Edge, **fields: str) -> Response:
    filled = {"kind": "non_consensual_imagery", "statement": STATEMENT, "contact": "", **fields}
    return await edge.client.post(PAGE, data=filled, headers=SAME_ORIGIN)


async def stored(edge: Edge) -> int:
    count = select(func.count()).select_from(NoticeRow)
    return await edge.services.database.read(lambda db: db.scalar(count)) or 0


async def test_the_form_needs_neither_scripts_nor_a_cookie(edge: Edge) -> None:
    reply = await edge.client.get(PAGE)
    assert (reply.status_code, "set-cookie" in reply.headers) == (200, False)
    assert "<script" not in reply.text
    assert 'action="/report"' in reply.text
    assert "180 days" in reply.text


@pytest.mark.parametrize("path", ["/", "/privacy", "/privacy/status", "/your-data", "/account", PAGE])
async def test_every_page_leads_there_from_its_footer(edge: Edge, path: str) -> None:
    page = (await edge.client.get(path)).text
    assert '<a href="/report">' in page[page.rindex("<footer>") :]


async def test_a_report_leads_to_a_page_where_its_answer_is_read(edge: Edge) -> None:
    first, second = await drawn(edge), await drawn(edge)
    await edge.client.delete(second)
    sent = await send(edge, addresses=f" {first}\r\n\r\n{second}\r\n")
    assert (sent.status_code, sent.headers["location"].startswith("/report/")) == (303, True)
    page = (await edge.client.get(sent.headers["location"])).text
    assert "Your report has arrived" in page
    assert "2027-01-17 08:00" in page
    assert "2 pictures, of which 1 had gone" in page
    assert STATEMENT[:10] not in page

    def uphold(row: NoticeRow) -> None:
        close(row, "upheld", "Thank you <3", START, 1000)

    await edge.services.database.write(lambda db: [uphold(row) for row in waiting_complaints(db)])  # pyright: ignore[reportArgumentType]
    page = (await edge.client.get(sent.headers["location"])).text
    assert "What you reported was removed" in page
    assert "Thank you &lt;3" in page


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("addresses", "", "Give 1 to 20 addresses"),
        ("addresses", " \r\n ", "Give 1 to 20 addresses"),
        ("addresses", "/i/x\n" * 21, "Give 1 to 20 addresses"),
        ("addresses", "x" * 501, "Give 1 to 20 addresses"),
        ("addresses", "http://evil.example/i/x", "Number 1 is not the address of a picture of this server"),
        ("addresses", '"><script>alert(1)</script>', "Number 1 is not the address of a picture of this server"),
        ("statement", "", "Say what is wrong"),
        ("statement", "x" * 4001, "Say what is wrong"),
        ("statement", " ", "says nothing"),
        ("contact", "x" * 201, "How to reach you has 200 letters at most"),
    ],
)
async def test_what_was_written_is_never_lost(edge: Edge, field: str, value: str, said: str) -> None:
    url = await drawn(edge)
    reply = await send(edge, **{"addresses": url, "contact": 'me"@example.org', field: value})
    assert (reply.status_code, said in unescape(reply.text)) == (400, True)
    assert "<script>" not in reply.text
    for name, written in {"addresses": url, "statement": STATEMENT, "contact": 'me"@example.org', field: value}.items():
        assert written.strip() in unescape(reply.text), name
    assert '<option value="non_consensual_imagery" selected>' in reply.text
    assert await stored(edge) == 0


async def test_a_kind_that_is_none_is_a_mistake_and_stores_nothing(edge: Edge) -> None:
    assert (await send(edge, kind="revenge", addresses=await drawn(edge))).status_code == 400
    assert await stored(edge) == 0


async def test_too_many_from_one_network_keep_what_they_wrote(edge: Edge) -> None:
    url = await drawn(edge)
    for _ in range(edge.services.policies.plans.notices.ipv4_32.reports_per_day):
        assert (await send(edge, addresses=url)).status_code == 303
    reply = await send(edge, addresses=url)
    assert (reply.status_code, url in reply.text, "there is room again" in reply.text) == (429, True, True)
    assert int(reply.headers["retry-after"]) > 0


async def test_another_site_cannot_send_it_through_a_visitor(edge: Edge) -> None:
    fields = {"kind": "abuse", "addresses": await drawn(edge), "statement": "spam"}
    assert (await edge.client.post(PAGE, data=fields, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    assert await stored(edge) == 0


async def test_a_reporter_leaves_no_session(edge: Edge) -> None:
    url = await drawn(edge)
    count = select(func.count()).select_from(SessionRow)
    before = await edge.services.database.read(lambda db: db.scalar(count))
    assert (await send(edge, addresses=url)).status_code == 303
    assert await edge.services.database.read(lambda db: db.scalar(count)) == before


@pytest.mark.parametrize("token", ["x", "A" * 48, "0" * 32])
async def test_an_address_that_is_none_says_so(edge: Edge, token: str) -> None:
    reply = await edge.client.get(f"{PAGE}/{token}", headers={"accept": "text/html"})
    assert (reply.status_code, "There is nothing here" in reply.text) == (404, True)
