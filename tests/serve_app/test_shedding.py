"""The engine at a full queue: who is displaced hears it, who is not is drawn, and nobody is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.admission import HEADROOM
from serve_app.contract import Event, Failed, Succeeded, Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import StepTimes
from tests.serve_app.engine_rig import Rig, request


class KnownTimes(StepTimes):
    """One row a second, whatever is measured: a step counts as a second."""

    def __init__(self) -> None:
        super().__init__(max_forward_rows=1, max_step_s=1.0)

    def predict(self, key: BatchKey, forward_rows: int) -> float:
        return float(forward_rows)

    def batch_rows(self, key: BatchKey) -> int:
        return 1


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "objects", times=KnownTimes())
    rig.start()
    yield rig
    rig.pipeline.gate.set()
    await rig.engine.close()


def anonymous(deadline_s: float = 1000.0) -> Turn:
    return Turn("anonymous", "visitor", 1.0, deadline_s)


def paid(deadline_s: float) -> Turn:
    return Turn("paid", "customer", 8.0, deadline_s, 1.2)


async def asked(rig: Rig, job_id: str, steps: int, turn: Turn) -> asyncio.Task[list[Event]]:
    """Returns once the engine has said where it stands."""
    heard = asyncio.Event()

    async def listen() -> list[Event]:
        events: list[Event] = []
        async for event in rig.engine.generate(request(job_id, steps=steps, turn=turn)):
            events.append(event)
            heard.set()
        return events

    listening = asyncio.create_task(listen())
    await heard.wait()
    return listening


async def test_paid_work_displaces_the_newest_that_waits_and_everyone_hears_an_end(rig: Rig):
    await rig.hold()
    running = await asked(rig, "running", 5, anonymous())
    await rig.is_inside_a_step()
    old = await asked(rig, "old", 3, anonymous())
    newest = await asked(rig, "newest", 40, anonymous())
    customer = await asked(rig, "paid", 100, paid(109 / HEADROOM))
    *_, displaced = await newest
    assert isinstance(displaced, Failed)
    assert displaced.code == "overloaded"
    assert displaced.retry_after_s
    assert not running.done()
    rig.pipeline.gate.set()
    for drawn in (running, old, customer):
        assert isinstance((await drawn)[-1], Succeeded)
    status = await rig.engine.status("counting")
    assert status.running_rows + status.waiting_rows == 0


async def test_the_newest_anonymous_work_is_refused_while_older_waits(rig: Rig):
    await rig.hold()
    older = await asked(rig, "older", 30, anonymous())
    *_, refused = await (await asked(rig, "newest", 80, anonymous(deadline_s=100.0)))
    assert isinstance(refused, Failed)
    assert (refused.code, refused.retry_after_s) == ("overloaded", pytest.approx(30 + 80 - 90))
    rig.pipeline.gate.set()
    assert isinstance((await older)[-1], Succeeded)


async def test_whatever_comes_at_an_overload_ends_once(rig: Rig):
    await rig.hold()
    turns = [anonymous(60.0), paid(80.0), anonymous(200.0), paid(30.0)]
    asking = [await asked(rig, f"j{number}", 5 + number % 7, turns[number % 4]) for number in range(80)]
    rig.pipeline.gate.set()
    ends = [[type(event) for event in await each if isinstance(event, Succeeded | Failed)] for each in asking]
    assert all(len(end) == 1 for end in ends)
    assert {end for [end] in ends} == {Succeeded, Failed}
