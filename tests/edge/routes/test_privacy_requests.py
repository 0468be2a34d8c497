from functools import partial

import pytest

from edge.domain.rights_requests import answer_request, waiting_requests
from edge.errors import BadInput
from tests.edge.edges import START, Edge

REQUESTS = "/v1/privacy/requests"
DAY_S = 86_400


@pytest.fixture
def edge(edge_on_each_database: Edge) -> Edge:
    return edge_on_each_database


async def ask(edge: Edge, **fields: object) -> dict[str, object]:
    reply = await edge.client.post(REQUESTS, json={"kind": "access", "law": "gdpr", "message": "please", **fields})
    assert reply.status_code == 201
    if "x-sfumato-session" in reply.headers:
        edge.sign_in(reply)
    return reply.json()


@pytest.mark.parametrize(("law", "days"), [("gdpr", 30), ("ccpa", 45)])
async def test_the_law_s_clock_starts_with_the_request(edge: Edge, law: str, days: int) -> None:
    asked = await ask(edge, law=law)
    assert (asked["status"], asked["created_at"], asked["due_at"]) == ("waiting", START, START + days * DAY_S)


async def test_requests_are_listed_newest_first_to_their_sender_alone(edge: Edge) -> None:
    first = await ask(edge, kind="objection")
    edge.clock.advance(1)
    second = await ask(edge)
    assert [each["id"] for each in (await edge.client.get(REQUESTS)).json()["data"]] == [second["id"], first["id"]]
    del edge.client.headers["authorization"]
    assert (await edge.client.get(REQUESTS)).json()["data"] == []


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "revenge"), ("law", "moral"), ("message", ""), ("message", "x" * 4001)]
)
async def test_what_is_no_request_is_refused_by_name(edge: Edge, field: str, value: str) -> None:
    body = {"kind": "access", "law": "gdpr", "message": "please", field: value}
    reply = await edge.client.post(REQUESTS, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


async def test_nobody_fills_the_desk_alone(edge: Edge) -> None:
    for _ in range(10):
        await ask(edge)
    reply = await edge.client.post(REQUESTS, json={"kind": "access", "law": "gdpr", "message": "please"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_value")


async def test_erasure_takes_the_sender_off_and_leaves_the_request(edge: Edge) -> None:
    asked = await ask(edge)
    await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
    assert (await edge.client.get(REQUESTS)).json()["data"] == []
    left = await edge.services.database.read(waiting_requests)
    assert [(row.id, row.owner_kind, row.owner_id) for row in left] == [(asked["id"], None, None)]


async def test_the_answer_is_read_at_its_address_when_the_session_has_long_been_over(edge: Edge) -> None:
    asked = await ask(edge, law="ccpa")
    edge.clock.advance(44 * DAY_S)
    answer = partial(answer_request, request_id=str(asked["id"]), answer="done", now=edge.clock(), forget_after_s=DAY_S)
    await edge.services.database.write(answer)
    assert (await edge.client.get(REQUESTS)).status_code == 401
    del edge.client.headers["authorization"]
    read = (await edge.client.get(str(asked["url"]))).json()
    assert (read["status"], read["answer"], read["message"]) == ("answered", "done", "please")


async def test_the_answer_can_be_read_after_an_erasure_too(edge: Edge) -> None:
    asked = await ask(edge)
    await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
    assert (await edge.client.get(str(asked["url"]))).json()["status"] == "waiting"


async def test_an_id_is_no_address(edge: Edge) -> None:
    asked = await ask(edge)
    forged = str(asked["url"])[:-1] + ("A" if str(asked["url"])[-1] != "A" else "B")
    for address in (f"{REQUESTS}/{asked['id']}", forged):
        assert (await edge.client.get(address)).status_code == 404


async def test_an_answer_that_says_nothing_closes_nothing(edge: Edge) -> None:
    asked = await ask(edge)
    for nothing in ("", " \n"):
        answer = partial(answer_request, request_id=str(asked["id"]), answer=nothing, now=START, forget_after_s=DAY_S)
        with pytest.raises(BadInput):
            await edge.services.database.write(answer)
    assert (await edge.client.get(str(asked["url"]))).json()["status"] == "waiting"
