"""The staged protocol every model family speaks: start, step, preview, decode.

A row is one image on its way: its latent, its own schedule, how far it has come. All state lives in the row, nothing
in the pipeline, so rows at different steps, with different guidance and seeds, move together in one forward pass and
no row can change another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3)


class BatchKey(NamedTuple):
    """Rows may share a forward pass only where all of this is equal."""

    model: str
    latent_shape: tuple[int, ...]  # (C, H, W)
    text_tokens: int


@dataclass(frozen=True, slots=True)
class RowSpec:
    """What one row shall become. `guidance` at 1 and below means no classifier-free guidance."""

    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width_px: int
    height_px: int

    def __repr__(self) -> str:
        return f"<row:{self.width_px}x{self.height_px}, {self.steps} steps>"

    @property
    def forward_rows(self) -> int:
        return 2 if self.guidance > 1 else 1


class Row(Protocol):
    """A row in flight, as the engine sees it: the rest belongs to the family."""

    step_index: int
    truncated: bool

    @property
    def steps(self) -> int: ...


RowT = TypeVar("RowT", bound=Row)


class Pipeline(Protocol[RowT]):
    """One model, ready to draw.

    One thread calls `start` and `step`; `preview` and `decode` only read rows and may run in another thread at the
    same time.
    """

    def enter_thread(self) -> None:
        """Called once by the thread that will call `start` and `step`: some libraries set thread counts per thread."""
        ...

    def batch_key(self, spec: RowSpec) -> BatchKey:
        """Known before any tensor exists."""
        ...

    def start(self, specs: Sequence[RowSpec]) -> list[RowT]:
        """Encode the prompts, draw each row's noise from its own seed. Raises OutOfMemory."""
        ...

    def step(self, rows: Sequence[RowT]) -> None:
        """Move every row one step: one forward pass. Rows share a batch key. Raises OutOfMemory with no row moved."""
        ...

    def preview(self, rows: Sequence[RowT]) -> list[Picture]:
        """What each row, which has made at least one step, looks like now."""
        ...

    def decode(self, rows: Sequence[RowT]) -> list[Picture]:
        """The finished pictures. Raises NotFinite where one of them is none."""
        ...


AnyPipeline: TypeAlias = Pipeline[Any]  # the engine only hands rows back to the pipeline that made them


class OutOfMemory(Exception):
    """The rows did not fit on the device. None was started or moved; fewer may fit."""


class NotFinite(Exception):
    """A picture came out as NaN or infinity, which as bytes would be a black one."""
