import pytest

from edge.domain.rights_requests import waiting_requests
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
