"""The edge while a part is down: a clear code, nothing half-written, nothing shown that is gone."""

import asyncio

import pytest
from sqlalchemy import text

from serve_app.errors import StoreUnavailable
from tests.edge.edges import Edge


async def break_table(edge: Edge, name: str) -> None:
    await edge.services.database.write(lambda db: db.execute(text(f"ALTER TABLE {name} RENAME TO {name}_away")))


async def test_without_a_database_nothing_starts(edge: Edge) -> None:
    await break_table(edge, "job")
    for reply in (await edge.draw(), await edge.submit()):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_unavailable")
        assert reply.headers["retry-after"] == "5"
    assert edge.generator.requests == []


async def test_a_database_lost_on_the_way_fails_the_call(edge: Edge) -> None:
    await break_table(edge, "image")
    reply = await edge.draw()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "database_unavailable")
    assert edge.generator.cancelled.is_set()


async def test_a_store_that_does_not_answer_is_no_410(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: str) -> bytes:
        raise StoreUnavailable("down")

    url = (await edge.draw()).json()["data"][0]["url"]
    monkeypatch.setattr(edge.services.store, "get", refuse)
    reply = await edge.client.get(url)
    assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
    assert "retry-after" in reply.headers


async def test_an_edge_is_ready_only_with_a_model_to_ask(edge: Edge) -> None:
    assert (await edge.client.get("/readyz")).status_code == 200
    edge.generator.is_up = False
    reply = await edge.client.get("/readyz")
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
    assert "retry-after" in reply.headers
    assert (await edge.client.get("/healthz")).status_code == 200


async def test_a_job_cancelled_in_the_same_breath_still_ends(edge: Edge) -> None:
    reply = await edge.submit()
    edge.sign_in(reply)
    address = reply.headers["location"]
    await asyncio.gather(edge.client.delete(address), edge.client.delete(address))
    status = (await edge.client.get(address)).json().get("status", "deleted")
    assert status in ("cancelled", "succeeded", "deleted")


async def test_a_bug_is_a_plain_500(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def trip(_: object) -> None:
        raise KeyError("canary")

    monkeypatch.setattr(edge.services.database, "read", trip)
    reply = await edge.client.get("/v1/generations")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "server_error")
    assert "canary" not in reply.text + caplog.text
    assert "KeyError" in caplog.text
