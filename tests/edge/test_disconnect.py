"""Who hangs up stops the drawing. On a real server: only there does a socket close."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import AsyncClient, Request, Response

from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.serving import serving

GENERATE = "/v1/images/generations"


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, Clock())
    edge.generator.hold.clear()
    async with serving(edge.services) as edge.client:
        yield edge


def asking(client: AsyncClient, path: str, **fields: object) -> Request:
    return client.build_request("POST", path, json={"prompt": "a red apple", **fields})


async def within(waiting: asyncio.Event) -> None:
    await asyncio.wait_for(waiting.wait(), 10)


async def only_job(edge: Edge, reply: Response) -> dict[str, object]:
    edge.sign_in(reply)
    [job] = (await edge.client.get("/v1/generations")).json()["data"]
    return job


async def test_a_plain_call_that_hangs_up_is_cancelled(edge: Edge) -> None:
    session = await edge.client.get("/v1/models")
    edge.sign_in(session)
    calling = asyncio.create_task(edge.client.send(asking(edge.client, GENERATE)))
    await within(edge.generator.started)
    calling.cancel()
    await within(edge.generator.cancelled)
    [job] = (await edge.client.get("/v1/generations")).json()["data"]
    await edge.client.get(f"/v1/generations/{job['id']}/events")  # ends when the job has
    assert (await only_job(edge, session))["status"] == "cancelled"


async def test_a_stream_that_is_left_is_cancelled(edge: Edge) -> None:
    reply = await edge.client.send(asking(edge.client, GENERATE, stream=True), stream=True)
    await within(edge.generator.started)
    await reply.aclose()
    await within(edge.generator.cancelled)


async def test_a_job_does_not_mind_a_listener_who_leaves(edge: Edge) -> None:
    accepted = await edge.client.send(asking(edge.client, "/v1/generations"))
    edge.sign_in(accepted)
    events = f"{accepted.headers['location']}/events"
    await (await edge.client.send(edge.client.build_request("GET", events), stream=True)).aclose()
    edge.generator.hold.set()
    await edge.client.get(events)
    assert (await only_job(edge, accepted))["status"] == "succeeded"


async def test_a_watched_job_ends_when_the_last_listener_has_left(edge: Edge) -> None:
    accepted = await edge.client.send(asking(edge.client, "/v1/generations", cancel_when_unwatched=True))
    edge.sign_in(accepted)
    events = edge.client.build_request("GET", f"{accepted.headers['location']}/events")
    listening = await edge.client.send(events, stream=True)
    await within(edge.generator.started)
    await asyncio.sleep(0.2)  # longer than its patience: it is watched
    assert not edge.generator.cancelled.is_set()
    await listening.aclose()
    await within(edge.generator.cancelled)


async def test_events_arrive_as_they_happen(edge: Edge) -> None:
    accepted = await edge.client.send(asking(edge.client, "/v1/generations", partial_images=2))
    edge.sign_in(accepted)
    events = edge.client.build_request("GET", f"{accepted.headers['location']}/events")
    listening = await edge.client.send(events, stream=True)
    seen: list[str] = []
    async for line in listening.aiter_lines():
        if line.startswith("event: "):
            seen.append(line.removeprefix("event: "))
            if seen[-1] == "step":
                edge.generator.hold.set()
    assert seen[0] == "queued"
    assert seen[-1] == "succeeded"
    assert seen.count("preview") == 2
    assert seen.index("step") < seen.index("preview") < seen.index("image")
