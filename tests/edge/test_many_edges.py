"""Several edges over one database and one Valkey: a job is followed, cancelled and watched at any of them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from valkey.asyncio import Valkey

from edge.domain.event_wire import STREAM, stream_of
from edge.domain.jobs import LEASE_S
from edge.domain.owner import JobId
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.routes.test_generation_events import Frame, frames_of
from tests.servers import free_ports, valkey_on

CANARY = "a heron named Ottoline"


@pytest.fixture
async def edges(tmp_path: Path, valkey_url: str) -> AsyncIterator[list[Edge]]:
    """The first runs what a test submits."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(edge.opened()) for edge in made(tmp_path, valkey_url)]


def made(home: Path, valkey_url: str) -> list[Edge]:
    clock = Clock()
    return [make_edge(home, clock, unwatched_s=1.5, env={"SFUMATO_VALKEY_URL": valkey_url}) for _ in range(2)]


async def submitted(edges: list[Edge], **fields: object) -> str:
    reply = await edges[0].submit(prompt=CANARY, **fields)
    for edge in edges:
        edge.sign_in(reply)
    return reply.headers["location"]


async def heard(edge: Edge, job: str, last: str | None = None) -> list[Frame]:
    headers = {"last-event-id": last} if last else {}
    return frames_of((await edge.client.get(f"{job}/events", headers=headers)).text)


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    for _ in range(250):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within five seconds")


async def is_followed(edge: Edge) -> bool:
    """Somebody listens at another edge, as this one knows."""
    channels = edge.services.hub._channels.values()
    return any(channel._watched_elsewhere for channel in channels)


async def test_a_job_is_heard_at_another_edge_under_the_same_numbers(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold.clear()
    job = await submitted(edges, n=2, partial_images=1)
    hearing = [asyncio.create_task(heard(edge, job)) for edge in edges]
    await until(lambda: is_followed(here))
    here.generator.hold.set()
    local, remote = [await each for each in hearing]
    assert [frame for frame in remote if "id" in frame] == [frame for frame in local if "id" in frame]
    assert {"step", "preview"} <= {frame["event"] for frame in remote}
    assert await heard(there, job, last=remote[0]["id"]) == [frame for frame in remote if "id" in frame][1:]
    reply = await there.client.get(f"{job}/events", headers={"last-event-id": remote[-1]["id"]})
    assert reply.status_code == 204


async def test_where_a_job_waits_is_known_at_every_edge(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold_queue.clear()
    job = await submitted(edges)

    async def is_told() -> bool:
        reply = await there.client.get(job)
        return reply.json()["queue"] == {"position": 0, "eta_s": 1.5} and "x-sfumato-queue-eta" in reply.headers

    await until(is_told)
    [listed] = (await there.client.get("/v1/generations")).json()["data"]
    assert listed["queue"] == {"position": 0, "eta_s": 1.5}


async def told_of(edge: Edge) -> int:
    """How many jobs it says there are events of."""
    held = (await edge.client.get("/v1/privacy/me")).json()["classes"]
    return next(each["count"] for each in held if each["name"] == "job_events")


async def test_every_edge_tells_its_caller_of_how_many_jobs_events_are_held(edges: list[Edge]) -> None:
    here, there = edges
    job = await submitted(edges)
    await heard(here, job)
    await here.draw()  # a call that nobody else can listen to

    async def is_told() -> bool:
        return [await told_of(edge) for edge in edges] == [1, 1]

    await until(is_told)
    here.clock.advance(601)
    assert await told_of(there) == 0


async def test_a_job_is_cancelled_at_another_edge(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold.clear()
    job = await submitted(edges)
    await here.generator.started.wait()
    async with asyncio.timeout(1.0):
        assert (await there.client.delete(job)).status_code == 200
    assert here.generator.cancelled.is_set()
    assert (await there.client.get(job)).json()["status"] == "cancelled"
    assert (await heard(here, job))[-1]["event"] == "cancelled"


async def test_nobody_elses_job_is_heard_or_cancelled(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold.clear()
    job = await submitted(edges)
    await here.generator.started.wait()
    del there.client.headers["authorization"]
    for reply in (await there.client.get(f"{job}/events"), await there.client.delete(job)):
        assert reply.status_code == 404
    assert not here.generator.cancelled.is_set()


async def test_a_listener_at_another_edge_keeps_a_job_and_its_leaving_ends_it(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold.clear()
    job = await submitted(edges, cancel_when_unwatched=True)
    hearing = asyncio.create_task(heard(there, job))
    await until(lambda: is_followed(here))
    await asyncio.sleep(2)  # longer than a job goes unwatched
    assert not here.generator.cancelled.is_set()
    hearing.cancel()
    await asyncio.wait_for(here.generator.cancelled.wait(), 5)


async def test_whoever_follows_the_job_of_an_edge_that_died_hears_that_it_is_lost(edges: list[Edge]) -> None:
    here, there = edges
    here.generator.hold.clear()
    job = await submitted(edges)
    hearing = asyncio.create_task(heard(there, job))
    await until(lambda: is_followed(here))
    here.clock.advance(LEASE_S + 1)
    await there.services.runs.tick()
    frame = (await asyncio.wait_for(hearing, 5))[-1]
    assert (frame["event"], json.loads(frame["data"])["error"]["code"]) == ("failed", "edge_lost")


async def test_events_in_the_store_hold_states_alone_and_go_ten_minutes_after_the_end(
    edges: list[Edge], valkey_url: str
) -> None:
    job = await submitted(edges, n=2, partial_images=1)
    frames = await heard(edges[0], job)
    url = json.loads(frames[-1]["data"])["images"][0]["url"]
    async with Valkey.from_url(valkey_url) as store:
        stream = stream_of(JobId(job.rpartition("/")[2]))
        assert stream.split(":")[1] == STREAM

        async def is_complete() -> bool:
            return len(await store.xrange(stream)) == len({frame["id"] for frame in frames if "id" in frame})

        await until(is_complete)
        assert 590 < await store.ttl(stream) <= 600
        told = repr(await store.xrange(stream))
    assert "succeeded" in told
    for secret in (CANARY, url.rpartition("/")[2], "PNG", edges[0].client.headers["authorization"][7:]):
        assert secret not in told


async def test_while_the_store_is_away_the_jobs_own_edge_tells_all_and_others_hear_the_rest_later(
    tmp_path: Path,
) -> None:
    [port] = free_ports(1)
    url = f"valkey://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        with valkey_on(port):
            edges = [await stack.enter_async_context(edge.opened()) for edge in made(tmp_path, url)]
            here = edges[0]
            here.generator.hold.clear()
            here.generator.hold_end.clear()
            job = await submitted(edges, n=2)
            hearing = [asyncio.create_task(heard(edge, job)) for edge in edges]
            await until(lambda: is_followed(here))
        here.generator.hold.set()
        await here.generator.drawn.wait()
        with valkey_on(port):
            here.generator.hold_end.set()
            local, remote = [await asyncio.wait_for(each, 10) for each in hearing]
            assert [frame["event"] for frame in local if "id" in frame] == ["queued", "image", "image", "succeeded"]
            assert remote[-1]["event"] == "succeeded"
            assert len(json.loads(remote[-1]["data"])["images"]) == 2

            async def is_whole() -> bool:
                again = await heard(edges[1], job)
                return [frame for frame in again if "id" in frame] == [frame for frame in local if "id" in frame]

            await until(is_whole)


async def test_a_store_that_never_answers_changes_nothing_for_the_jobs_own_edge(tmp_path: Path) -> None:
    [port] = free_ports(1)
    here, _ = made(tmp_path, f"valkey://127.0.0.1:{port}")
    async with here.opened():
        job = await submitted([here], n=2)
        assert (await heard(here, job))[-1]["event"] == "succeeded"
