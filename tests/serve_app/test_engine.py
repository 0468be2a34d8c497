"""The engine with a pipeline that counts: what callers hear, what is stored, and who pays for whose mistake."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve_app.contract import (
    WIRE_VERSION,
    Event,
    Failed,
    GenerateRequest,
    Image,
    Preview,
    Prompt,
    Queued,
    Slot,
    Step,
    StoreOrder,
    Succeeded,
    Turn,
)
from serve_app.delivery import Delivery
from serve_app.engine import Engine
from serve_app.errors import EngineFailed, ModelUnavailable
from serve_app.marks import xmp_packet
from serve_app.pipelines.pipeline import RowSpec
from serve_app.step_times import StepTimes
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.sealing import unseal
from tests.serve_app.counting_pipeline import CountingPipeline

MODEL = "counting"
USUAL = RowSpec("", "", seed=999, steps=4, guidance=1.0, width_px=64, height_px=64)
SECRET = b"\x05" * 32


class Rig:
    """An engine, its pipeline and its store, served until the test ends."""

    def __init__(self, directory: Path, usual: RowSpec = USUAL, times: StepTimes | None = None) -> None:
        self.pipeline = CountingPipeline()
        self.store = DirectoryStore(directory)
        delivery = Delivery(self.pipeline, self.store, xmp_packet("test", "1"))
        times = times or StepTimes(max_forward_rows=8, max_step_s=1.0)
        self.engine = Engine(MODEL, self.pipeline, delivery, times, usual)

    def start(self) -> None:
        self.engine.start()
        self.pipeline.passes.clear()
        self.pipeline.inside.clear()

    async def run(self, request: GenerateRequest) -> list[Event]:
        return [event async for event in self.engine.generate(request)]

    async def hold(self) -> None:
        """The next step does not end until `pipeline.gate` is set."""
        self.pipeline.gate.clear()
        self.pipeline.inside.clear()

    async def is_inside_a_step(self) -> None:
        assert await asyncio.to_thread(self.pipeline.inside.wait, 10)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "objects")
    rig.start()
    yield rig
    rig.pipeline.gate.set()
    await rig.engine.close()


def request(job_id: str = "gen_1", **changes: Any) -> GenerateRequest:
    n: int = changes.get("n", 1)
    usual: dict[str, Any] = {
        "model": MODEL,
        "policy_digest": "d",
        "prompt": Prompt("a cat"),
        "n": n,
        "width_px": 64,
        "height_px": 64,
        "steps": 4,
        "guidance": 1.0,
        "seed": 10,
        "turn": Turn("anonymous", job_id, 1.0, 60.0),
        "store": StoreOrder("img", 1, 3600, [Slot(f"{index:032x}", SECRET) for index in range(n)]),
    }
    return GenerateRequest(job_id=job_id, **{**usual, **changes})


def kinds(events: list[Event]) -> list[str]:
    """Names of the events, repetitions taken together."""
    names = [type(event).__name__ for event in events]
    return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]


# a good life ---------------------------------------------------------------------------------------------------------


async def test_events_come_in_order_and_end_with_succeeded(rig: Rig):
    events = await rig.run(request())
    assert kinds(events) == ["Queued", "Step", "Image", "Succeeded"]
    assert [event for event in events if isinstance(event, Step)][-1] == Step(4, 4)
    assert len(rig.pipeline.passes) == 4


async def test_progress_never_goes_back(rig: Rig):
    done = [event.done for event in await rig.run(request(n=3, steps=20)) if isinstance(event, Step)]
    assert done == sorted(done)
    assert done[-1] == 60


async def test_image_i_has_the_seed_plus_i(rig: Rig):
    images = [event for event in await rig.run(request(n=3, seed=40)) if isinstance(event, Image)]
    assert {image.index: image.seed for image in images} == {0: 40, 1: 41, 2: 42}
    assert {seed for seeds in rig.pipeline.passes for seed in seeds} == {40, 41, 42}


async def test_every_image_is_stored_sealed_where_its_event_says(rig: Rig):
    images = [event for event in await rig.run(request(n=2)) if isinstance(event, Image)]
    assert sorted(str(image.key) for image in images) == await rig.store.keys("img/")
    for image in images:
        assert image.data is None
        assert image.key
        assert unseal(SECRET, image.key, await rig.store.get(image.key)).startswith(b"\x89PNG")


async def test_inline_images_are_sent_and_stored_nowhere(rig: Rig):
    images = [event for event in await rig.run(request(store=None, inline=True)) if isinstance(event, Image)]
    assert images[0].key is None
    assert (images[0].data or b"").startswith(b"\x89PNG")
    assert await rig.store.keys("img/") == []


async def test_previews_are_numbered_and_come_before_their_image(rig: Rig):
    rig.pipeline.permits = threading.Semaphore(1)
    events: list[Event] = []
    async for event in rig.engine.generate(request(n=2, previews=3)):
        events.append(event)
        if isinstance(event, Preview) and event.index == 1:
            rig.pipeline.permits.release()
    for index in range(2):
        assert [event.number for event in events if isinstance(event, Preview) and event.index == index] == [0, 1, 2]
    assert kinds([event for event in events if not isinstance(event, Step)]) == [
        "Queued",
        "Preview",
        "Image",
        "Succeeded",
    ]


async def test_no_preview_is_lost_however_fast_the_steps_are(rig: Rig):
    events = await rig.run(request(n=8, previews=3, width_px=256, height_px=256))
    assert sum(isinstance(event, Preview) for event in events) == 24


async def test_a_prompt_that_was_cut_is_said_to_be(rig: Rig):
    for prompt, is_cut in (("a prompt that is longer than it reads", True), ("a red apple", False)):
        events = await rig.run(request(prompt=Prompt(prompt)))
        assert events[-1] == Succeeded(is_cut)
        assert [event.truncated for event in events if isinstance(event, Image)] == [is_cut]


async def test_requests_share_passes(rig: Rig):
    await rig.hold()
    runs = asyncio.gather(*(rig.run(request(f"gen_{seed}", seed=seed, steps=6)) for seed in (20, 30, 40)))
    await rig.is_inside_a_step()
    rig.pipeline.gate.set()
    assert all(isinstance(events[-1], Succeeded) for events in await runs)
    assert max(map(len, rig.pipeline.passes)) >= 2
    assert len(rig.pipeline.passes) < 18


# leaving -------------------------------------------------------------------------------------------------------------


async def test_a_caller_who_leaves_costs_one_more_step_at_most(rig: Rig):
    await rig.hold()
    events = rig.engine.generate(request("gen_gone", seed=70, steps=50))
    assert isinstance(await anext(events), Queued)
    await rig.is_inside_a_step()
    await events.aclose()
    rig.pipeline.gate.set()
    await rig.run(request("gen_stays", seed=80, store=None, inline=True))
    assert [seeds for seeds in rig.pipeline.passes if 70 in seeds] == [[70]]
    assert await rig.store.keys("img/") == []


async def test_a_caller_who_leaves_takes_nothing_from_the_others(rig: Rig):
    await rig.hold()
    leaving = rig.engine.generate(request("gen_gone", seed=70, steps=50))
    await anext(leaving)
    staying = asyncio.create_task(rig.run(request("gen_stays", seed=80, n=2)))
    await rig.is_inside_a_step()
    await leaving.aclose()
    rig.pipeline.gate.set()
    assert kinds(await staying)[-2:] == ["Image", "Succeeded"]


async def test_a_job_may_come_again_after_its_end(rig: Rig):
    await rig.run(request())
    assert isinstance((await rig.run(request()))[-1], Succeeded)


# refusals ------------------------------------------------------------------------------------------------------------


async def test_a_deadline_that_cannot_be_met_is_refused_at_once(rig: Rig):
    await rig.hold()
    first = asyncio.create_task(rig.run(request(steps=10**9, turn=Turn("anonymous", "t", 1.0, deadline_s=1e12))))
    await rig.is_inside_a_step()
    (only,) = await rig.run(request("gen_late", turn=Turn("anonymous", "t", 1.0, deadline_s=60.0)))
    first.cancel()
    rig.pipeline.gate.set()
    assert isinstance(only, Failed)
    assert only.code == "overloaded"
    assert only.retry_after_s


async def test_work_that_misses_its_deadline_even_alone_need_not_come_again(rig: Rig):
    (only,) = await rig.run(request(turn=Turn("anonymous", "t", 1.0, deadline_s=1e-9)))
    assert isinstance(only, Failed)
    assert (only.code, only.retry_after_s) == ("bad_request", None)
    assert rig.pipeline.passes == []


async def test_another_model_is_refused(rig: Rig):
    (only,) = await rig.run(request(model="other"))
    assert isinstance(only, Failed)
    assert only.code == "model_unavailable"
    with pytest.raises(ModelUnavailable):
        await rig.engine.status("other")


async def test_a_job_that_comes_again_after_a_broken_stream_replaces_itself(rig: Rig):
    await rig.hold()
    first = asyncio.create_task(rig.run(request(n=2)))
    await rig.is_inside_a_step()
    second = asyncio.create_task(rig.run(request(n=2)))
    (*_, ended) = await first
    rig.pipeline.gate.set()
    assert isinstance(ended, Failed)
    assert ended.code == "replica_lost"
    assert kinds(await second)[-2:] == ["Image", "Succeeded"]
    status = await rig.engine.status(MODEL)
    assert status.running_rows + status.waiting_rows == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 0}, "at least one image"),
        ({"steps": 0}, "at least one step"),
        ({"width_px": 0}, "at least one pixel"),
        ({"seed": -1}, "no seed below 0"),
        ({"guidance": float("nan")}, "a finite guidance"),
        ({"news_every_s": float("nan")}, "news at some time"),
        ({"turn": Turn("anonymous", "t", 0.0, 60.0)}, "a finite weight above 0"),
        ({"n": 2, "store": StoreOrder("img", 1, 60, [])}, "a place to store for each image"),
        ({"wire": WIRE_VERSION + 1}, f"this replica speaks version {WIRE_VERSION} of the wire"),
    ],
)
async def test_what_no_model_can_draw_is_refused(rig: Rig, changes: dict[str, Any], said: str):
    assert await rig.run(request(**changes)) == [Failed("bad_request", said)]
    assert rig.pipeline.passes == []


async def test_a_draining_engine_refuses_and_finishes_what_it_has(rig: Rig):
    await rig.hold()
    first = asyncio.create_task(rig.run(request()))
    await rig.is_inside_a_step()
    rig.engine.drain()
    (only,) = await rig.run(request("gen_late"))
    rig.pipeline.gate.set()
    assert isinstance(only, Failed)
    assert only.code == "draining"
    assert isinstance((await first)[-1], Succeeded)
    assert (await rig.engine.status(MODEL)).draining


async def test_closing_tells_whoever_waits(rig: Rig):
    await rig.hold()
    waiting = asyncio.create_task(rig.run(request(steps=50)))
    await rig.is_inside_a_step()
    closing = asyncio.create_task(rig.engine.close())
    last = (await waiting)[-1]
    rig.pipeline.gate.set()
    await closing
    assert isinstance(last, Failed)
    assert last.code == "draining"
    assert not (await rig.engine.status(MODEL)).ready
    assert len(rig.pipeline.passes) <= 1


# trouble -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fits_rows", [4, 3, 1])
async def test_running_out_of_memory_halves_the_pass_and_finishes(rig: Rig, fits_rows: int):
    rig.pipeline.fits_rows = fits_rows
    events = await asyncio.wait_for(rig.run(request(n=8)), 20)
    assert isinstance(events[-1], Succeeded)
    assert len(rig.pipeline.too_large) <= 3
    assert sorted(seed for seeds in rig.pipeline.passes for seed in seeds) == sorted(list(range(10, 18)) * 4)


async def test_a_row_that_never_fits_fails_and_the_engine_lives(rig: Rig):
    rig.pipeline.fits_rows = 0
    last = (await rig.run(request()))[-1]
    assert isinstance(last, Failed)
    assert last.code == "engine_failed"
    rig.pipeline.fits_rows = 8
    assert isinstance((await rig.run(request()))[-1], Succeeded)


@pytest.mark.parametrize("starts_rows", [3, 1])
async def test_running_out_of_memory_while_prompts_are_encoded_costs_nobody_a_picture(rig: Rig, starts_rows: int):
    rig.pipeline.starts_rows = starts_rows
    assert isinstance((await rig.run(request(n=8)))[-1], Succeeded)
    assert sorted(seed for seeds in rig.pipeline.passes for seed in seeds) == sorted(list(range(10, 18)) * 4)


@pytest.mark.parametrize("limit", ["fits_rows", "starts_rows"])
async def test_a_model_of_which_not_one_row_fits_does_not_start(tmp_path: Path, limit: str):
    rig = Rig(tmp_path)
    setattr(rig.pipeline, limit, 0)
    with pytest.raises(EngineFailed):
        rig.engine.start()
    assert not (await rig.engine.status(MODEL)).ready
    await rig.engine.close()


async def test_one_poisoned_request_fails_alone(rig: Rig):
    rig.pipeline.poisoned = {66}
    await rig.hold()
    seeds = (50, 66, 80)
    runs = asyncio.gather(*(rig.run(request(f"gen_{seed}", seed=seed, steps=5)) for seed in seeds))
    await rig.is_inside_a_step()
    rig.pipeline.gate.set()
    good, bad, other = [events[-1] for events in await runs]
    assert (good, other) == (Succeeded(), Succeeded())
    assert isinstance(bad, Failed)
    assert bad.code == "engine_failed"


async def test_an_engine_whose_device_died_is_not_ready_and_says_so_to_all(rig: Rig):
    await rig.hold()
    rig.pipeline.poisoned = {10, 20, 30, 40, USUAL.seed}
    runs = asyncio.gather(*(rig.run(request(f"gen_{seed}", seed=seed, steps=99)) for seed in (10, 20, 30, 40)))
    await rig.is_inside_a_step()
    rig.pipeline.gate.set()
    assert all(isinstance(events[-1], Failed) for events in await runs)
    async with asyncio.timeout(10):
        while (await rig.engine.status(MODEL)).ready:  # noqa: ASYNC110  the thread sets no event of this loop
            await asyncio.sleep(0.01)
    (refused,) = await rig.run(request("gen_late", seed=50))
    assert isinstance(refused, Failed)
    assert refused.code == "model_unavailable"


async def test_bad_requests_alone_do_not_make_a_device_dead(rig: Rig):
    rig.pipeline.poisoned = {10}
    for number in range(10):
        assert isinstance((await rig.run(request(f"gen_{number}")))[-1], Failed)
    assert (await rig.engine.status(MODEL)).ready
    assert isinstance((await rig.run(request(seed=20)))[-1], Succeeded)


async def test_a_store_that_is_down_fails_the_request(rig: Rig, tmp_path: Path):
    (tmp_path / "objects").rmdir()
    (tmp_path / "objects").write_text("a file in its place")
    events = await rig.run(request())
    last = events[-1]
    assert isinstance(last, Failed)
    assert last.code == "store_unavailable"
    assert not any(isinstance(event, Image) for event in events)


async def test_a_decode_that_raises_fails_the_request(rig: Rig):
    rig.pipeline.undecodable = {10}
    events = await rig.run(request())
    assert kinds(events)[-1] == "Failed"
    assert await rig.store.keys("img/") == []


async def test_a_failure_names_no_prompt(rig: Rig, caplog: pytest.LogCaptureFixture):
    rig.pipeline.poisoned = {10}
    events = await rig.run(request(prompt=Prompt("an unmistakable canary")))
    assert "canary" not in f"{events} {caplog.text}"
    assert "a request failed: EngineFailed" in caplog.text


async def test_a_model_that_makes_no_first_step_does_not_start(tmp_path: Path):
    rig = Rig(tmp_path)
    rig.pipeline.poisoned = {USUAL.seed}
    with pytest.raises(EngineFailed):
        rig.engine.start()
    await rig.engine.close()


async def test_a_model_that_usually_makes_one_step_starts(tmp_path: Path):
    rig = Rig(tmp_path, usual=replace(USUAL, steps=1))
    rig.start()
    assert isinstance((await rig.run(request(steps=1)))[-1], Succeeded)
    await rig.engine.close()


# status --------------------------------------------------------------------------------------------------------------


async def test_status_tells_how_busy_it_is(rig: Rig):
    await rig.hold()
    run = asyncio.create_task(rig.run(request(n=8, steps=3)))
    await rig.is_inside_a_step()
    busy = await rig.engine.status(MODEL)
    rig.pipeline.gate.set()
    await run
    idle = await rig.engine.status(MODEL)
    assert busy.running_rows + busy.waiting_rows == 8
    assert (idle.running_rows, idle.waiting_rows) == (0, 0)
    assert idle.ready
    assert idle.rows_per_s > 0
    assert idle.step_s > 0
