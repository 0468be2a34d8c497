"""The engine when memory, a device, a store or a request is bad: who pays for whose mistake."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.contract import (
    Failed,
    Image,
    Prompt,
    Succeeded,
)
from serve_app.errors import EngineFailed
from tests.serve_app.engine_rig import MODEL, USUAL, Rig, kinds, request


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
