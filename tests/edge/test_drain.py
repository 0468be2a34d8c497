"""A signal drains a real server: new work is refused, running work may finish, and no open stream keeps it."""

import asyncio
from pathlib import Path

import pytest
from httpx2 import AsyncClient, Response

from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.routes.test_generation_events import frames_of
from tests.edge.serving import serving


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    edge = make_edge(tmp_path, Clock())
    edge.generator.hold.clear()
    return edge


async def submitted(edge: Edge, client: AsyncClient) -> str:
    """A job that has begun: the path of its events."""
    edge.client = client
    reply = await edge.submit()
    edge.sign_in(reply)
    await edge.generator.started.wait()
    return f"{reply.headers['location']}/events"


async def heard(client: AsyncClient, events: str) -> Response:
    return await client.send(client.build_request("GET", events), stream=True)


async def test_what_runs_may_finish_and_what_is_new_is_refused(edge: Edge) -> None:
    leave = asyncio.Event()
    async with serving(edge.services, leave=leave, drain_s=20) as client:
        events = await heard(client, await submitted(edge, client))
        leave.set()
        await edge.services.runs.draining.wait()
        for refused in (await client.get("/readyz"), await edge.submit(), await edge.draw()):
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert refused.json()["error"]["code"] == "draining"
        edge.generator.hold.set()
        assert frames_of((await events.aread()).decode())[-1]["event"] == "succeeded"


async def test_what_does_not_finish_in_time_is_ended_and_every_stream_with_it(edge: Edge) -> None:
    leave = asyncio.Event()
    async with serving(edge.services, leave=leave, drain_s=0.1) as client:
        events = await heard(client, await submitted(edge, client))
        drawing = asyncio.create_task(edge.draw())
        await edge.generator.asked(2)
        leave.set()
        assert frames_of((await events.aread()).decode())[-1]["event"] == "failed"
        assert (await drawing).json()["error"]["code"] == "edge_lost"


async def test_a_stream_that_waits_for_another_edge_does_not_keep_this_one(edge: Edge) -> None:
    other = make_edge(edge.home, Clock(), heartbeat_s=60)
    async with serving(edge.services) as client:
        events = await submitted(edge, client)
        leave = asyncio.Event()
        async with serving(other.services, leave=leave) as elsewhere:
            elsewhere.headers["authorization"] = client.headers["authorization"]
            following = await heard(elsewhere, events)
            leave.set()
            async with asyncio.timeout(5):
                assert b"event:" not in await following.aread()


async def test_a_client_that_reads_nothing_does_not_keep_it_either(edge: Edge) -> None:
    began = asyncio.get_running_loop().time()
    async with serving(edge.services) as client:
        await heard(client, await submitted(edge, client))  # and never read
    assert asyncio.get_running_loop().time() - began < 10
