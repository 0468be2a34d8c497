"""A pipeline that draws nothing and counts: each picture is one grey, the row's seed; tests tell it what to refuse."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve_app.pipelines.pipeline import BatchKey, OutOfMemory, Picture, RowSpec

NATIVE_PX = 8
HOLD_S = 20.0  # a test that forgets to let go fails instead of hanging


class Poison(Exception):
    """What a bug in a model would raise."""


@dataclass
class CountingRow:
    spec: RowSpec
    step_index: int = 0
    truncated: bool = False

    @property
    def steps(self) -> int:
        return self.spec.steps


class CountingPipeline:
    """`passes` lists the seeds of every pass that was made; `gate` holds the thread inside a step while it is clear,
    and each step takes one of the `permits` where there are any; `decode_gate` holds decoding in the same way."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.too_large: list[int] = []
        self.fits_rows = 1000
        self.starts_rows = 1000
        self.poisoned: set[int] = set()
        self.undecodable: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.decode_gate = threading.Event()
        self.decode_gate.set()
        self.decoding = threading.Event()
        self.permits: threading.Semaphore | None = None

    def enter_thread(self) -> None:
        pass

    def batch_key(self, spec: RowSpec) -> BatchKey:
        return BatchKey("counting", (4, spec.height_px // 8, spec.width_px // 8), 8)

    def start(self, specs: Sequence[RowSpec]) -> list[CountingRow]:
        if len(specs) > self.starts_rows:
            raise OutOfMemory
        return [CountingRow(spec, truncated=len(spec.prompt) > 20) for spec in specs]

    def step(self, rows: Sequence[CountingRow]) -> None:
        self.inside.set()
        self.gate.wait(HOLD_S)
        if self.permits is not None:
            self.permits.acquire(timeout=HOLD_S)
        if len(rows) > self.fits_rows:
            self.too_large.append(len(rows))
            raise OutOfMemory
        self._refuse(rows, self.poisoned)
        assert all(row.step_index < row.steps for row in rows)
        self.passes.append([row.spec.seed for row in rows])
        for row in rows:
            row.step_index += 1

    def preview(self, rows: Sequence[CountingRow]) -> list[Picture]:
        return [_grey(row.spec.seed) for row in rows]

    def decode(self, rows: Sequence[CountingRow]) -> list[Picture]:
        self.decoding.set()
        self.decode_gate.wait(HOLD_S)
        self._refuse(rows, self.undecodable)
        return [_grey(row.spec.seed) for row in rows]

    def _refuse(self, rows: Sequence[CountingRow], seeds: set[int]) -> None:
        if any(row.spec.seed in seeds for row in rows):
            raise Poison


def _grey(seed: int) -> Picture:
    return np.full((NATIVE_PX, NATIVE_PX, 3), seed % 256, np.uint8)
