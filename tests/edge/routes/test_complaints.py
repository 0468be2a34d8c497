"""Objections to refusals and reports of pictures: who may, what is taken, what is said of it, and what is kept."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from edge.db.rows import AppealRow, ImageRow, ModerationDecisionRow, NoticeRow
from edge.domain.appeals import decide_appeal
from edge.domain.complaints import close, waiting_complaints
from tests.edge.accounts import bearer, new_key
from tests.edge.browsers import visiting
from tests.edge.domain.moderation.forbidden import gravest
from tests.edge.edges import BASE_URL, START, Edge
from tests.sweeping import metrics_of

APPEALS, REPORTS, ME = "/v1/appeals", "/v1/reports", "/v1/privacy/me"
DAY_S = 86_400
STATEMENT = "It is a picture of my garden."
CONTACT = "reporter@example.org"
UNKNOWN = "0" * 32
SPELT: list[Callable[[str], str]] = [
    lambda url: url.removeprefix(BASE_URL),
    lambda url: f"  {url}\n",
    lambda url: f"{url}?download=true#top",
    lambda url: url.replace("testserver.local", "TESTSERVER.local:443"),
    lambda url: url.replace("http://", "https://"),
]
NOT_OURS: list[Callable[[str], object]] = [
    lambda url: "",
    lambda url: "a picture of me",
    lambda url: url.replace("testserver.local", "evil.example"),
    lambda url: url.replace("http://", "http://testserver.local@evil.example/"),
    lambda url: url.replace("http:", "javascript:"),
    lambda url: url.replace("/i/", "/v1/images/"),
    lambda url: url.replace("/i/", "/i/x/../"),
    lambda url: url[:-1] + ("A" if url[-1] != "A" else "B"),
    lambda url: url[:60],
    lambda url: url.rpartition("/")[2],
    lambda url: f"{url}\u0000",
    lambda url: f"{url}/",
    lambda url: "http://[::1/i/" + url.rpartition("/")[2],
    lambda url: "x" * 501,
    lambda url: 5,
    lambda url: None,
    lambda url: [url],
]


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def refused(edge: Edge) -> str:
    """A prompt of this caller's; its reference."""
    reply = await edge.draw(prompt=gravest())
    if "x-sfumato-session" in reply.headers:
        edge.sign_in(reply)
    return reply.json()["error"]["reference"]


async def drawn(edge: Edge, **fields: object) -> str:
    """The address of a picture of somebody else's."""
    reply = await edge.draw(**fields)
    assert reply.status_code == 200
    return reply.json()["data"][0]["url"]


async def appealed(edge: Edge, reference: str, **fields: object) -> Response:
    return await edge.client.post(APPEALS, json={"reference": reference, **fields})


async def reported(edge: Edge, *addresses: object, **fields: object) -> Response:
    body = {"kind": "abuse", "addresses": list(addresses), "statement": STATEMENT, **fields}
    return await edge.client.post(REPORTS, json=body)


async def stored(edge: Edge) -> int:
    def count(db: Session) -> int:
        return sum(db.scalar(select(func.count()).select_from(table)) or 0 for table in (AppealRow, NoticeRow))

    return await edge.services.database.read(count)


async def decided(edge: Edge, outcome: Any, answer: str | None = None) -> None:
    """The one that waits."""

    def decide(db: Session) -> None:
        [row] = waiting_complaints(db)
        if isinstance(row, AppealRow):
            decide_appeal(db, row, outcome, answer, edge.clock(), 180 * DAY_S)
        else:
            close(row, outcome, answer, edge.clock(), 180 * DAY_S)

    await edge.services.database.write(decide)


# appeals --------------------------------------------------------------------------------------------------------------


async def test_who_had_a_refusal_objects_to_it_and_reads_what_became_of_it(edge: Edge) -> None:
    reference = await refused(edge)
    reply = await appealed(edge, reference, statement=STATEMENT)
    assert reply.status_code == 201
    said = reply.json()
    assert (said["object"], said["status"], said["reference"]) == ("appeal", "waiting", reference)
    assert (said["created_at"], said["due_at"]) == (START, START + 30 * DAY_S)
    await decided(edge, "upheld", "You are right.")
    del edge.client.headers["authorization"]
    told = (await edge.client.get(said["url"])).json()
    assert (told["status"], told["answer"]) == ("upheld", "You are right.")
    assert told["forgotten_at"] - told["closed_at"] == 180 * DAY_S


async def test_an_upheld_appeal_marks_the_decision_as_overturned(edge: Edge) -> None:
    await appealed(edge, await refused(edge))
    await decided(edge, "upheld")
    [decision] = await edge.services.database.read(lambda db: list(db.scalars(select(ModerationDecisionRow))))
    assert decision.overturned_at == START


async def test_a_rejected_appeal_leaves_the_decision_as_it_was(edge: Edge) -> None:
    await appealed(edge, await refused(edge))
    await decided(edge, "rejected")
    [decision] = await edge.services.database.read(lambda db: list(db.scalars(select(ModerationDecisionRow))))
    assert decision.overturned_at is None


async def test_another_s_reference_is_as_unknown_as_one_that_never_was(edge: Edge) -> None:
    foreign = await refused(edge)
    del edge.client.headers["authorization"]
    edge.sign_in(await edge.draw())
    replies = [await appealed(edge, reference, statement=STATEMENT) for reference in (foreign, UNKNOWN)]
    assert [reply.status_code for reply in replies] == [404, 404]
    assert replies[0].content == replies[1].content
    assert await stored(edge) == 0


async def test_a_second_appeal_is_told_about_the_first(edge: Edge) -> None:
    reference = await refused(edge)
    first = await appealed(edge, reference)
    second = await appealed(edge, reference, statement="once more")
    assert (second.status_code, second.json()) == (200, first.json())
    assert await stored(edge) == 1


async def test_after_a_no_one_may_object_again_and_after_a_yes_one_need_not(edge: Edge) -> None:
    reference = await refused(edge)
    await appealed(edge, reference)
    await decided(edge, "rejected")
    assert (await appealed(edge, reference)).status_code == 201
    await decided(edge, "upheld")
    again = await appealed(edge, reference)
    assert (again.status_code, again.json()["status"]) == (200, "upheld")


async def test_an_account_objects_with_any_key_that_may_draw(edge: Edge) -> None:
    key = await new_key(edge, "generate")
    blocked = await edge.client.post("/v1/images/generations", json={"prompt": gravest()}, headers=bearer(key))
    body = {"reference": blocked.json()["error"]["reference"]}
    assert (await edge.client.post(APPEALS, json=body, headers=bearer(key))).status_code == 201


async def test_what_a_session_had_refused_its_account_objects_to(edge: Edge) -> None:
    browser = await visiting(edge)
    blocked = await browser.ask("POST", "/v1/images/generations", {"prompt": gravest()})
    reference = blocked.json()["error"]["reference"]
    assert (await browser.sign_up(bring=True)).status_code == 201
    assert (await browser.ask("POST", APPEALS, {"reference": reference})).status_code == 201


# reports --------------------------------------------------------------------------------------------------------------


async def test_anybody_reports_pictures_by_their_addresses_and_has_an_answer_within_48_hours(edge: Edge) -> None:
    addresses = [await drawn(edge), await drawn(edge)]
    reply = await reported(edge, *addresses, kind="non_consensual_imagery", contact=CONTACT)
    assert reply.status_code == 201
    said = reply.json()
    assert (said["kind"], said["found"], said["status"]) == ("non_consensual_imagery", ["here", "here"], "waiting")
    assert said["due_at"] - said["created_at"] == 48 * 3600
    assert STATEMENT not in reply.text
    assert CONTACT not in reply.text
    assert not [each for each in addresses if each.rpartition("/")[2] in reply.text]
    await decided(edge, "rejected", "It shows a garden.")
    told = (await edge.client.get(said["url"])).json()
    assert (told["status"], told["answer"], told["found"]) == ("rejected", "It shows a garden.", ["here", "here"])


async def test_a_picture_that_has_gone_may_be_reported_and_is_said_to_be_gone(edge: Edge) -> None:
    deleted, due, here = await drawn(edge), await drawn(edge, retention="PT1M"), await drawn(edge)
    await edge.client.delete(deleted)
    edge.clock.advance(60)
    assert (await reported(edge, deleted, due, here)).json()["found"] == ["gone", "gone", "here"]


@pytest.mark.parametrize("spelt", SPELT)
async def test_an_address_may_be_written_as_people_copy_it(edge: Edge, spelt: Callable[[str], str]) -> None:
    assert (await reported(edge, spelt(await drawn(edge)))).json()["found"] == ["here"]


@pytest.mark.parametrize("spelt", NOT_OURS)
async def test_what_is_no_address_of_ours_is_refused_by_name(edge: Edge, spelt: Callable[[str], object]) -> None:
    url = await drawn(edge)
    reply = await reported(edge, url, spelt(url))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "addresses")
    assert url not in reply.text
    assert await stored(edge) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "revenge"),
        ("kind", None),
        ("addresses", []),
        ("addresses", ["/i/x"] * 21),
        ("addresses", "/i/x"),
        ("statement", ""),
        ("statement", " \n\u00a0"),
        ("statement", "x" * 4001),
        ("contact", "x" * 201),
        ("contact", 5),
        ("owner_id", "me"),
    ],
)
async def test_what_is_no_report_is_refused_by_name(edge: Edge, field: str, value: object) -> None:
    reply = await reported(edge, await drawn(edge), **{field: value})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
    assert await stored(edge) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", "me"),
        ("reference", "0" * 31 + "\u0000"),
        ("reference", None),
        ("statement", "x" * 4001),
        ("statement", 5),
        ("subject", "me"),
    ],
)
async def test_what_is_no_appeal_is_refused_by_name(edge: Edge, field: str, value: object) -> None:
    reply = await edge.client.post(APPEALS, json={"reference": await refused(edge), field: value})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
    assert await stored(edge) == 0


@pytest.mark.parametrize("path", [APPEALS, REPORTS])
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"statement": "\\ud800"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b" " * 200_000, "application/json", 413),
        (b"kind=abuse", "application/x-www-form-urlencoded", 415),
    ],
)
async def test_what_is_no_body_is_refused(edge: Edge, path: str, content: bytes, media_type: str, status: int) -> None:
    reply = await edge.client.post(path, content=content, headers={"content-type": media_type})
    assert reply.status_code == status
    assert await stored(edge) == 0


async def test_a_report_keeps_no_picture_longer(edge: Edge) -> None:
    url = await drawn(edge, retention="PT1M")
    before = await edge.services.database.read(lambda db: db.scalars(select(ImageRow.delete_at)).all())
    await reported(edge, url)
    assert await edge.services.database.read(lambda db: db.scalars(select(ImageRow.delete_at)).all()) == before
    edge.clock.advance(60)
    assert (await edge.client.get(url)).status_code == 410


async def test_the_operator_s_metrics_tell_how_long_the_oldest_report_waits(edge: Edge) -> None:
    async def told() -> str:
        text = (await metrics_of(edge.services, edge.keys)).decode()
        return re.findall(r"^sfumato_report_waiting_seconds (\S+)", text, re.MULTILINE)[0]

    assert await told() == "0.0"
    await reported(edge, url := await drawn(edge))
    edge.clock.advance(49 * 3600)
    await edge.make_day_keys()
    await reported(edge, url)
    assert await told() == "176400.0"
    await decided_all(edge)
    assert await told() == "0.0"


# both -----------------------------------------------------------------------------------------------------------------


async def test_one_network_s_reports_and_appeals_are_bounded_apart_and_only_what_is_taken_counts(edge: Edge) -> None:
    url, most = await drawn(edge), edge.services.policies.plans.notices.ipv4_32
    for _ in range(most.reports_per_day):
        assert (await reported(edge, "nonsense")).status_code == 400
        assert (await reported(edge, url)).status_code == 201
    reply = await reported(edge, url)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(reply.headers["retry-after"]) > 60
    assert await stored(edge) == most.reports_per_day
    reference = await refused(edge)
    for _ in range(most.appeals_per_day):
        assert (await appealed(edge, UNKNOWN)).status_code == 404
        assert (await appealed(edge, reference)).status_code in (200, 201)
    assert (await appealed(edge, reference)).status_code == 429
    edge.clock.advance(2 * DAY_S)
    assert (await reported(edge, url)).status_code == 201


async def test_a_token_opens_one_kind_alone_and_an_id_none(edge: Edge) -> None:
    appeal = (await appealed(edge, await refused(edge))).json()
    report = (await reported(edge, await drawn(edge))).json()
    request = {"kind": "access", "law": "gdpr", "message": "please"}
    right = (await edge.client.post("/v1/privacy/requests", json=request)).json()
    tokens = {each["object"]: each["url"].rpartition("/")[2] for each in (appeal, report, right)}
    for kind, path in (("appeal", APPEALS), ("report", REPORTS), ("rights_request", "/v1/privacy/requests")):
        for other, token in tokens.items():
            status = (await edge.client.get(f"{path}/{token}")).status_code
            assert status == (200 if kind == other else 404), (kind, other)
    for path, each in ((APPEALS, appeal), (REPORTS, report)):
        forged = tokens[each["object"]][:-1] + ("A" if tokens[each["object"]][-1] != "A" else "B")
        for token in (each["id"], forged, "x", "%00"):
            assert (await edge.client.get(f"{path}/{token}")).status_code == 404


async def test_without_a_key_for_today_nothing_is_taken(edge: Edge) -> None:
    url, reference = await drawn(edge), await refused(edge)
    edge.clock.advance(8 * DAY_S)
    for reply in (await reported(edge, url), await appealed(edge, reference)):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "prompt_key_missing")
    assert await stored(edge) == 0


async def test_the_caller_s_own_are_counted_and_exported_without_what_they_say(edge: Edge) -> None:
    await appealed(edge, await refused(edge), statement=STATEMENT)
    await reported(edge, await drawn(edge), contact=CONTACT)
    [held] = [each for each in (await edge.client.get(ME)).json()["classes"] if each["name"] == "notice"]
    assert (held["count"], held.get("last_ends_at")) == (2, None)
    export = (await edge.client.get(f"{ME}/export")).content
    assert export
    await decided_all(edge)
    [held] = [each for each in (await edge.client.get(ME)).json()["classes"] if each["name"] == "notice"]
    assert (held["count"], held["last_ends_at"]) == (2, START + 180 * DAY_S)


async def decided_all(edge: Edge) -> None:
    def decide(db: Session) -> None:
        for row in waiting_complaints(db):
            close(row, "rejected", None, edge.clock(), 180 * DAY_S)

    await edge.services.database.write(decide)


async def test_erasure_takes_sender_and_contact_off_and_leaves_the_rest_to_be_decided(edge: Edge) -> None:
    appeal = (await appealed(edge, await refused(edge), statement=STATEMENT)).json()
    report = (await reported(edge, await drawn(edge), contact=CONTACT)).json()
    erased = await edge.client.delete(ME, headers={"sfumato-confirm": "erase"})
    claims = erased.json()["claims"]
    assert claims["counts"]["notices"] == 2
    assert "notice" in claims["classes"]
    [stays] = [each for each in claims["retained"] if each["class"] == "notice"]
    assert (stays["until"], "without its sender" in stays["what"]) == (None, True)
    rows = await edge.services.database.read(waiting_complaints)
    assert [row.subject for row in rows] == [None, None]
    assert [row.sealed_contact for row in rows if isinstance(row, NoticeRow)] == [None]
    for each in (appeal, report):
        assert (await edge.client.get(each["url"])).json()["status"] == "waiting"
    assert (await appealed(edge, appeal["reference"])).status_code == 404
