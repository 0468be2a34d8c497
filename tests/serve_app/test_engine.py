"""The engine with a pipeline that counts: what callers hear and what is stored."""

import asyncio
import threading
from typing import Any

import pytest

from serve_app.contract import (
    WIRE_VERSION,
    Event,
    Failed,
    Image,
    Preview,
    Prompt,
    Queued,
    Step,
    StoreOrder,
    Succeeded,
    Turn,
)
from serve_app.errors import ModelUnavailable
from serve_app.storage.sealing import unseal
from tests.serve_app.engine_rig import MODEL, SECRET, Rig, kinds, request

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
