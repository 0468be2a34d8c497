"""Engines of several models as one generator: who is served, and under which policies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serve_app.compose import Engines
from serve_app.contract import Event, Failed, GenerateRequest, Prompt, Succeeded, Turn
from serve_app.delivery import Delivery
from serve_app.engine import Engine
from serve_app.errors import ModelUnavailable
from serve_app.pipelines.pipeline import RowSpec
from serve_app.step_times import StepTimes
from serve_app.storage.directory import DirectoryStore
from tests.serve_app.counting_pipeline import CountingPipeline
from tests.serve_app.harmless import Harmless

CURRENT, BEFORE = "00112233445566aa", "ffeeddccbbaa0099"


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[Engines]:
    pipeline = CountingPipeline()
    engine = Engine(
        "counting",
        pipeline,
        Delivery(pipeline, DirectoryStore(tmp_path), b"", Harmless()),
        StepTimes(max_forward_rows=2, max_step_s=1.0),
        RowSpec("", "", seed=0, steps=4, guidance=1.0, width_px=64, height_px=64),
    )
    engine.start()
    engines = Engines({"counting": engine}, {"counting": {CURRENT, BEFORE}})
    yield engines
    await engines.close()


async def last(engines: Engines, digest: str, model: str = "counting") -> Event:
    request = GenerateRequest(
        job_id="gen_1",
        model=model,
        policy_digest=digest,
        prompt=Prompt("a cat"),
        n=1,
        width_px=64,
        height_px=64,
        steps=4,
        guidance=1.0,
        seed=10,
        turn=Turn("anonymous", "t", 1.0, 60.0),
        inline=True,
    )
    return [event async for event in engines.generate(request)][-1]


@pytest.mark.parametrize("digest", [CURRENT, BEFORE])
async def test_an_edge_of_this_policy_or_of_the_one_before_is_served(engines: Engines, digest: str):
    assert await last(engines, digest) == Succeeded()


async def test_an_edge_of_another_policy_is_refused_and_may_come_again(engines: Engines):
    refused = await last(engines, "0000000000000000")
    assert isinstance(refused, Failed)
    assert refused.code == "policy_mismatch"
    assert refused.retry_after_s


async def test_a_model_that_is_not_here_is_refused(engines: Engines):
    refused = await last(engines, CURRENT, model="other")
    assert isinstance(refused, Failed)
    assert refused.code == "model_unavailable"
    with pytest.raises(ModelUnavailable):
        await engines.status("other")
