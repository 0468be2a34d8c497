"""What an appeal or a report says, whom it names and how to reach its sender is read by the operator's reader alone:
no log, reply, table, file, counter or metric has a word of it, taken or refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.complaint_reader import read_complaint
from cluster.lifecycle import EACH_MINUTE, sweep_once
from cluster.prompt_reader import Reading
from edge.domain.complaints import waiting_complaints
from tests.edge.domain.moderation.forbidden import gravest
from tests.edge.edges import Clock, Edge, make_edge
from tests.promises.searched import all_places
from tests.sweeping import parts_of
from tests.told import told

STATEMENT, CONTACT = "xylocanarystatement", "xylocanarycontact@example.org"
DAY_S = 86_400


@pytest.fixture
async def edge(tmp_path: Path, database_url: str, valkey_url: str) -> AsyncIterator[Edge]:
    env = {"SFUMATO_DATABASE_URL": database_url, "SFUMATO_VALKEY_URL": valkey_url}
    async with make_edge(tmp_path / "home", Clock(), env=env).opened() as edge:
        yield edge


async def everything_said(edge: Edge, url: str, reference: str) -> str:
    """On every way, and each wrong in one thing as well. All that is answered, but the form that comes back."""
    appeal = {"reference": reference, "statement": STATEMENT}
    report = {"kind": "abuse", "addresses": [url], "statement": STATEMENT, "contact": CONTACT}
    form = {**report, "addresses": url}
    spoiled = url[:-1] + ("A" if url[-1] != "A" else "B")
    replies = [
        await edge.client.post("/v1/appeals", json=appeal),
        await edge.client.post("/v1/appeals", json=appeal),
        await edge.client.post("/v1/reports", json=report),
        await edge.client.post("/report", data=form),
    ]
    assert [reply.status_code for reply in replies] == [201, 200, 201, 303]
    addresses = [replies[0].json()["url"], replies[2].json()["url"], replies[3].headers["location"]]
    replies += [await edge.client.get(address) for address in addresses]
    wrong = [
        await edge.client.post("/v1/appeals", json={**appeal, "reference": "0" * 32}),
        await edge.client.post("/v1/appeals", json={**appeal, "reference": STATEMENT}),
        await edge.client.post("/v1/reports", json={**report, "kind": STATEMENT}),
        await edge.client.post("/v1/reports", json={**report, "addresses": [url, spoiled]}),
        await edge.client.post("/v1/reports", json={**report, "contact": CONTACT * 10}),
        await edge.client.post("/v1/reports", content=f'{{"statement": "{STATEMENT}'.encode()),
        await edge.client.post("/report", data={**form, "kind": STATEMENT}),
    ]
    assert {reply.status_code // 100 for reply in wrong} == {4}
    replies += [*wrong, await edge.client.get("/v1/privacy/me"), await edge.client.get("/v1/privacy/me/export")]
    assert (await edge.client.post("/report", data={**form, "addresses": f"{url}\n{spoiled}"})).status_code == 400
    return "\n".join(f"{reply.text} {dict(reply.headers)}" for reply in replies)


async def drawn_and_refused(edge: Edge) -> tuple[str, str]:
    picture = await edge.draw()
    edge.sign_in(picture)
    refused = await edge.draw(prompt=gravest())
    return picture.json()["data"][0]["url"], refused.json()["error"]["reference"]


async def test_what_was_said_is_found_nowhere(edge: Edge) -> None:
    url, reference = await drawn_and_refused(edge)
    with told() as lines:
        answers = await everything_said(edge, url, reference)
    places = await all_places(edge, lines, answers)
    for what in (STATEMENT, CONTACT, url.rpartition("/")[2]):
        for place, held in places.items():
            assert what.encode() not in held, f"{what} is in {place}"


async def test_the_reader_finds_it(edge: Edge) -> None:
    """So that the claim above is not true of a service that keeps nothing."""
    url, reference = await drawn_and_refused(edge)
    await everything_said(edge, url, reference)
    reading, shown = Reading("ada", "a test", edge.clock(), edge.clock() + DAY_S), list[str]()
    for row in await edge.services.database.read(waiting_complaints):
        shown.append(str(await read_complaint(row.id, reading, edge.services.database, edge.keys.of_notices)))
    assert len(shown) == 3
    assert all(STATEMENT in each for each in shown)
    assert [CONTACT in each and url.rpartition("/")[2] in each for each in shown] == [True, True, False]


async def test_a_report_that_waits_for_long_keeps_no_key_of_a_prompt(edge: Edge) -> None:
    """A prompt's day ends with its prompts, in backups too, whatever a person has not decided yet."""
    url, reference = await drawn_and_refused(edge)
    await everything_said(edge, url, reference)
    [first, *_] = sorted(edge.keys.days())
    edge.clock.advance(33 * DAY_S)
    assert (await sweep_once(parts_of(edge.services, edge.keys), EACH_MINUTE)).left == []
    assert first not in edge.keys.days()
    assert first in edge.keys.of_notices.days()
    [report, *_] = await edge.services.database.read(waiting_complaints)
    reading = Reading("ada", "late", edge.clock(), edge.clock() + DAY_S)
    assert STATEMENT in str(await read_complaint(report.id, reading, edge.services.database, edge.keys.of_notices))
