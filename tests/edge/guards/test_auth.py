import pytest
from sqlalchemy import select

from edge.db.rows import SessionRow
from tests.edge.edges import Edge


async def test_a_keyless_call_gets_a_session_that_works_as_a_bearer(edge: Edge) -> None:
    reply = await edge.draw()
    assert "set-cookie" not in reply.headers
    edge.sign_in(reply)
    again = await edge.client.get("/v1/generations")
    assert len(again.json()["data"]) == 1
    assert "x-sfumato-session" not in again.headers


async def test_anonymous_is_a_key_that_anyone_may_use(edge: Edge) -> None:
    edge.client.headers["authorization"] = "Bearer anonymous"
    first, second = await edge.draw(), await edge.draw()
    assert first.status_code == 200
    assert first.headers["x-sfumato-session"] != second.headers["x-sfumato-session"]


@pytest.mark.parametrize("header", ["Bearer sk-123", "Bearer ", "Basic abc", "Bearer sfs_" + "A" * 96, "anonymous"])
async def test_any_other_key_is_refused(edge: Edge, header: str) -> None:
    reply = await edge.client.get("/v1/models", headers={"authorization": header})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_an_expired_session_is_refused_as_a_bearer(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    edge.clock.advance(31 * 86400)
    assert (await edge.client.get("/v1/models")).status_code == 401


async def test_a_cookie_that_is_not_ours_counts_as_none(edge: Edge) -> None:
    reply = await edge.client.get("/v1/models", headers={"cookie": "sid=sfs_" + "A" * 96})
    assert reply.status_code == 200
    assert "x-sfumato-session" in reply.headers


async def test_a_session_has_no_row_before_its_first_job(edge: Edge) -> None:
    async def rows() -> int:
        return await edge.services.database.read(lambda db: len(db.scalars(select(SessionRow)).all()))

    edge.sign_in(await edge.client.get("/v1/models"))
    assert await rows() == 0
    await edge.draw()
    assert await rows() == 1


async def test_a_session_that_is_used_does_not_end(edge: Edge) -> None:
    edge.sign_in(await edge.draw())
    for _ in range(5):
        edge.clock.advance(14 * 86400)
        assert "x-sfumato-session" not in (await edge.client.get("/v1/models")).headers
        edge.clock.advance(2 * 86400)
        edge.sign_in(await edge.client.get("/v1/models"))
    assert len((await edge.client.get("/v1/generations")).json()["data"]) == 1
