"""A body that comes a byte at a time is waited for so long and no longer, whatever route would read it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from litestar import Litestar

from edge.app import create_app
from tests.edge.accounts import bearer, new_key
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.serving import serving
from tests.promises.test_owner_matrix import filled, owned, routes_of

WITHIN_S = 0.1
HEAD = (
    b"POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\n"
    b"content-type: application/json\r\ncontent-length: 500\r\n\r\n"
)


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, Clock())
    edge.services = replace(edge.services, body_within_s=WITHIN_S)
    edge.app = create_app(edge.services)
    async with edge.opened() as edge:
        yield edge


async def never_whole() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


def routes_with_bodies(app: Litestar) -> list[tuple[str, str]]:
    return [(method, path) for method, path in routes_of(app) if method in ("POST", "PUT", "PATCH")]


async def test_every_route_that_reads_a_body_refuses_one_that_does_not_come_whole(hasty: Edge) -> None:
    mine, key = await owned(hasty), await new_key(hasty)
    routes = routes_with_bodies(hasty.app)
    assert len(routes) > 15
    for method, template in routes:
        path = filled(template, mine)
        kind = "application/x-www-form-urlencoded" if path.startswith("/your-data") else "application/json"
        headers = {"content-type": kind, "sec-fetch-site": "same-origin"}
        headers |= bearer(key) if path.startswith("/v1/keys") else {}
        reply = await hasty.client.request(method, path, content=never_whole(), headers=headers)
        assert reply.status_code == 408, f"{method} {template}: {reply.text}"
        told = reply.json()["error"] if path.startswith("/v1/") else reply.json()
        assert told["code"] == "body_too_slow", template
        assert "0.1 s" in (told["message"] if path.startswith("/v1/") else told["detail"])


async def test_nothing_is_begun_or_charged_as_pictures_for_such_a_body(hasty: Edge) -> None:
    headers = {"content-type": "application/json"}
    reply = await hasty.client.post("/v1/images/generations", content=never_whole(), headers=headers)
    assert reply.status_code == 408
    assert "images-per-minute" not in reply.headers["ratelimit"]
    assert int(reply.headers["x-ratelimit-remaining-requests"]) > 0
    assert hasty.generator.requests == []


async def test_a_body_in_parts_that_is_whole_in_time_is_read(hasty: Edge) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"prompt": '
        await asyncio.sleep(0)
        yield b'"a red apple"}'

    headers = {"content-type": "application/json"}
    assert (await hasty.client.post("/v1/images/generations", content=parts(), headers=headers)).status_code == 200


async def test_a_byte_now_and_then_holds_a_connection_no_longer(hasty: Edge) -> None:
    """By the server itself, which then closes it."""
    async with serving(hasty.services) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(HEAD)
        async with asyncio.timeout(10):
            dripping = asyncio.create_task(drip(writer))
            reply = await reader.read()
            dripping.cancel()
        writer.close()
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b'"body_too_slow"' in reply


async def test_what_is_answered_for_longer_than_that_goes_on(hasty: Edge) -> None:
    within_s = 0.5
    hasty.generator.hold.clear()
    async with serving(replace(hasty.services, body_within_s=within_s)) as client:
        job = (await client.post("/v1/generations", json={"prompt": "a red apple"})).headers
        bearer = {"authorization": f"Bearer {job['x-sfumato-session']}"}
        async with client.stream("GET", f"{job['location']}/events", headers=bearer) as events:
            lines = events.aiter_lines()
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 2 * within_s:
                await anext(lines)  # heartbeats
            hasty.generator.hold.set()
            assert "event: succeeded" in [line async for line in lines]


async def drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b" ")
        await asyncio.sleep(WITHIN_S / 10)
