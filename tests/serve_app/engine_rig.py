"""An engine with a pipeline that counts, and what tests ask of it."""

import asyncio
from pathlib import Path
from typing import Any

from serve_app.contract import (
    Event,
    GenerateRequest,
    Prompt,
    Slot,
    StoreOrder,
    Turn,
)
from serve_app.delivery import Delivery
from serve_app.engine import Engine
from serve_app.marks import xmp_packet
from serve_app.pipelines.pipeline import RowSpec
from serve_app.step_times import StepTimes
from serve_app.storage.directory import DirectoryStore
from tests.serve_app.counting_pipeline import CountingPipeline
from tests.serve_app.harmless import Harmless

MODEL = "counting"
USUAL = RowSpec("", "", seed=999, steps=4, guidance=1.0, width_px=64, height_px=64)
SECRET = b"\x05" * 32


class Rig:
    """An engine, its pipeline and its store, served until the test ends."""

    def __init__(self, directory: Path, usual: RowSpec = USUAL, times: StepTimes | None = None) -> None:
        self.pipeline = CountingPipeline()
        self.store = DirectoryStore(directory)
        delivery = Delivery(self.pipeline, self.store, xmp_packet("test", "1"), Harmless())
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
