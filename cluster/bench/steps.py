"""E7 and E9: what a step boundary is good for. Steps made after a cancel, and how soon the first preview comes.

Both are the engine's own, so they are measured on an engine in this process; E9 shows the time over Ray Serve too.
"""

import os
import statistics
from collections.abc import Sequence
from contextlib import aclosing
from time import perf_counter

from cluster.bench.figures import Figure
from cluster.bench.orders import MODEL, Orders
from cluster.bench.stage import ENGINE, Stage
from policies.load import load_policies
from policies.size import parse_size
from serve_app.contract import GenerateRequest, Generator, Preview, Step
from serve_app.delivery import Delivery
from serve_app.engine import Engine
from serve_app.hash_list import HashList
from serve_app.pipelines.pipeline import AnyPipeline, BatchKey, Picture, Row, RowSpec
from serve_app.pipelines.registry import load_pipeline
from serve_app.safety import Classifier, PictureSafety
from serve_app.settings import Settings
from serve_app.step_times import StepTimes
from serve_app.storage.opening import open_store

MATES = 3
VICTIM_STEPS = 50  # a number that no mate has, so that the log shows whose step it was
MATE_STEPS = 28
CANCEL_AT = 5
TRIALS = 5  # a round


class StepLog:
    """Implements `Pipeline`: another one, and when each pass ended with which rows."""

    def __init__(self, pipeline: AnyPipeline) -> None:
        self._pipeline = pipeline
        self.passes: list[tuple[float, float, list[int]]] = []  # ended at, took, steps of each row

    def enter_thread(self) -> None:
        self._pipeline.enter_thread()

    def batch_key(self, spec: RowSpec) -> BatchKey:
        return self._pipeline.batch_key(spec)

    def start(self, specs: Sequence[RowSpec]) -> list[Row]:
        return self._pipeline.start(specs)

    def step(self, rows: Sequence[Row]) -> None:
        began_s = perf_counter()
        self._pipeline.step(rows)
        ended_s = perf_counter()
        self.passes.append((ended_s, ended_s - began_s, [row.steps for row in rows]))

    def preview(self, rows: Sequence[Row]) -> list[Picture]:
        return self._pipeline.preview(rows)

    def decode(self, rows: Sequence[Row]) -> list[Picture]:
        return self._pipeline.decode(rows)


def logged_engine() -> tuple[Engine, StepLog]:
    """An engine of its own in this process, as a replica has it."""
    settings = Settings.from_env(os.environ)
    policies = load_policies(settings.policies)
    model = policies.models.models[MODEL]
    log = StepLog(load_pipeline(MODEL, model, threads=settings.torch_threads))
    times = StepTimes(max_forward_rows=model.batching.max_forward_rows, max_step_s=model.batching.max_step_s)
    width_px, height_px = parse_size(model.auto_size)
    usual = RowSpec("warm up", "", 0, model.steps.default, 1.0, width_px, height_px)
    safety = PictureSafety(policies.moderation.images, HashList(settings.image_hashes), Classifier())
    engine = Engine(MODEL, log, Delivery(log, open_store(settings.store), b"", safety), times, usual)
    engine.start()
    return engine, log


async def measure_cancel(engine: Engine, log: StepLog, orders: Orders, rounds: int) -> Figure:
    worst: list[float] = []
    for _ in range(rounds):
        worst.append(float(max([await _steps_after_cancel(engine, log, orders) for _ in range(TRIALS)])))
    return Figure(
        row="E7",
        what="steps that ended after the engine learned that the client left",
        reach="≤ 1",
        rounds=worst,
        sides={"most steps of a round's trials": worst},
        notes=f"{TRIALS} trials a round among {MATES} other rows, engine in process, cancelled at step {CANCEL_AT}; "
        "the step that was running when it learned is counted",
    )


async def measure_preview(stage: Stage, engine: Engine, log: StepLog, rounds: int) -> Figure:
    alone, over_serve, step_s = list[float](), list[float](), list[float]()
    gateway = stage.gateway()
    try:
        for _ in range(rounds):
            began = len(log.passes)
            alone.append(await _median_to_preview_s(engine, stage.orders))
            step_s.append(statistics.median(took_s for _, took_s, _ in log.passes[began:]))
            over_serve.append(await _median_to_preview_s(gateway, stage.orders))
    finally:
        await gateway.close()
    through = statistics.median(a / b for a, b in zip(over_serve, step_s, strict=True))
    return Figure(
        row="E9",
        what="time to the first preview, engine idle / one step",
        reach="≤ 2",
        rounds=[a / b for a, b in zip(alone, step_s, strict=True)],
        sides={"engine preview_s": alone, "over Ray Serve preview_s": over_serve, "one step step_s": step_s},
        notes=f"engine in process; over Ray Serve's default proxy the same ratio is {through:.3g}. The time includes "
        "admission, the prompt's encoding, the step, decoding, resampling and PNG",
    )


async def _steps_after_cancel(engine: Engine, log: StepLog, orders: Orders) -> int:
    mates = [engine.generate(orders.one(ENGINE, MATE_STEPS)) for _ in range(MATES)]
    for mate in mates:
        await anext(mate)
    async with aclosing(engine.generate(orders.one(ENGINE, VICTIM_STEPS))) as victim:
        async for event in victim:
            if isinstance(event, Step) and event.done >= CANCEL_AT:
                break
        learned_s = perf_counter()
    for mate in mates:
        async for _ in mate:
            pass
    return sum(1 for ended_s, _, steps in log.passes if ended_s > learned_s and VICTIM_STEPS in steps)


async def _median_to_preview_s(generator: Generator, orders: Orders) -> float:
    return statistics.median(
        [await _to_preview_s(generator, orders.one(ENGINE, MATE_STEPS, previews=1)) for _ in range(TRIALS)]
    )


async def _to_preview_s(generator: Generator, request: GenerateRequest) -> float:
    began_s = perf_counter()
    async with aclosing(generator.generate(request)) as events:
        async for event in events:
            if isinstance(event, Preview):
                return perf_counter() - began_s
    raise RuntimeError("no preview came")
