import asyncio
from functools import partial
from pathlib import Path

import pytest

from edge.domain.jobs import LEASE_S, find_job
from edge.domain.orders import order_images
from edge.domain.owner import Caller, Owner, OwnerId
from edge.domain.requests import ImageRequest
from tests.edge.edges import Clock, make_edge


async def test_closing_the_edge_ends_its_jobs(tmp_path: Path) -> None:
    first = make_edge(tmp_path, Clock())
    first.generator.hold.clear()
    async with first.opened():
        reply = await first.submit()
        await first.generator.started.wait()
    assert first.generator.cancelled.is_set()
    second = make_edge(tmp_path, Clock())
    async with second.opened():
        second.sign_in(reply)
        job = (await second.client.get(reply.headers["location"])).json()
    assert (job["status"], job["error"]["code"]) == ("failed", "edge_lost")


async def test_a_job_whose_edge_died_is_failed_once_its_lease_has_passed(tmp_path: Path) -> None:
    lost, clock = make_edge(tmp_path, Clock()), Clock()
    lost.generator.hold.clear()
    async with lost.opened():
        reply = await lost.submit()
        other = make_edge(tmp_path, clock)
        async with other.opened():
            other.sign_in(reply)
            assert (await other.client.get(reply.headers["location"])).json()["status"] in ("queued", "running")
            clock.advance(LEASE_S + 1)
            await other.services.runs.tick()
            job = (await other.client.get(reply.headers["location"])).json()
            assert (job["status"], job["error"]["code"]) == ("failed", "edge_lost")


async def test_a_final_state_is_never_overwritten(tmp_path: Path) -> None:
    slow, clock = make_edge(tmp_path, Clock()), Clock()
    slow.generator.hold.clear()
    async with slow.opened():
        reply = await slow.submit()
        slow.sign_in(reply)
        other = make_edge(tmp_path, clock)
        clock.advance(LEASE_S + 1)
        async with other.opened():
            pass  # entering ends what has no lease
        slow.generator.hold.set()
        await slow.client.get(f"{reply.headers['location']}/events")
        job = (await slow.client.get(reply.headers["location"])).json()
    assert (job["status"], job["error"]["code"]) == ("failed", "edge_lost")


async def test_a_lease_is_renewed_while_the_job_runs(tmp_path: Path) -> None:
    edge = make_edge(tmp_path, Clock())
    edge.generator.hold.clear()
    async with edge.opened():
        reply = await edge.submit()
        edge.sign_in(reply)
        for _ in range(10):
            edge.clock.advance(LEASE_S - 1)
            await edge.services.runs.tick()
        assert (await edge.client.get(reply.headers["location"])).json()["status"] == "running"


async def test_a_call_cancelled_before_its_first_step_ends_too(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        services = edge.services
        caller = Caller(Owner("session", OwnerId("a" * 32)), b"v" * 32, services.anonymous_plan, is_new=True)
        order = order_images(ImageRequest(prompt="a red apple"), caller.plan, services.policies, services.training)
        run = await services.runs.start_call(caller, order, keeps_some=False)
        run.cancel()
        assert (await run.finished()).status == "cancelled"
        job = await services.database.read(partial(find_job, owner=caller.owner, job_id=run.job_id))
        assert job is not None
        assert job.status == "cancelled"


async def test_leases_go_on_whatever_one_renewal_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.domain.runs.TICK_S", 0.001)
    edge, ticked = make_edge(tmp_path, Clock()), asyncio.Event()
    async with edge.opened():

        async def trip() -> None:
            monkeypatch.setattr(edge.services.runs, "tick", succeed)
            raise KeyError("a bug")

        async def succeed() -> None:
            ticked.set()

        monkeypatch.setattr(edge.services.runs, "tick", trip)
        await asyncio.wait_for(ticked.wait(), 5)
