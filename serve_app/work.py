"""One request inside the engine: its rows on their way, and its events on the way to the caller.

A slow caller holds nobody up: progress that was not read yet is replaced by newer progress.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from math import isfinite
from time import perf_counter
from typing import Any

from serve_app.contract import WIRE_VERSION, Event, Failed, GenerateRequest, Image, Queued, Step, Succeeded
from serve_app.errors import BadRequest, ServeError
from serve_app.pipelines.pipeline import BatchKey, Row, RowSpec
from serve_app.traffic import Demand

PROGRESS_S = 0.1
QUEUE_NEWS_S = 0.5


def check(request: GenerateRequest) -> None:
    """Raises BadRequest for what no model can draw. Whether a plan allows it was for the edge; sizes are rounded up to
    whole latent cells by the family."""
    turn = request.turn
    claims = {
        f"this replica speaks version {WIRE_VERSION} of the wire": request.wire <= WIRE_VERSION,
        "at least one image": request.n >= 1,
        "at least one step": request.steps >= 1,
        "at least one pixel": request.width_px >= 1 and request.height_px >= 1,
        "no seed below 0": request.seed >= 0,
        "a finite guidance": isfinite(request.guidance),
        "a finite weight above 0": isfinite(turn.weight) and turn.weight > 0,
        "news at some time": isfinite(request.news_every_s) and request.news_every_s >= 0,
        "a place to store for each image": request.store is None or len(request.store.slots) >= request.n,
    }
    if broken := [claim for claim, holds in claims.items() if not holds]:
        raise BadRequest("; ".join(broken))


class Outbox:
    """`post` from any thread, `next` in the caller's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()

    def post(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._put, event)

    async def next(self) -> Event:
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()

    def _put(self, event: Event) -> None:
        if self._events and isinstance(event, Step | Queued) and type(self._events[-1]) is type(event):
            self._events[-1] = event
        else:
            self._events.append(event)
        self._filled.set()


class _Pace:
    """Says yes at once, and then at most every `every_s`."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last_s = float("-inf")

    def is_due(self, now_s: float) -> bool:
        if now_s - self._last_s < self._every_s:
            return False
        self._last_s = now_s
        return True


class Work:
    """A request, its rows by image index, and what is left of it. Made in the caller's event loop.

    Once it `is_over` nobody listens: nothing more is drawn, stored or told.
    """

    def __init__(self, request: GenerateRequest, key: Callable[[RowSpec], BatchKey]) -> None:
        self.request = request
        self.specs = [_spec(request, index) for index in range(request.n)]
        first = self.specs[0]
        self.demand = Demand(request.turn, key(first), request.n, first.forward_rows, request.steps)
        self.rows: dict[int, Row] = {}
        self.last_preview: dict[int, asyncio.Task[None]] = {}
        self.done_steps = 0
        self.is_truncated = False
        self.is_over = False
        self.came_s = perf_counter()
        self._images_left = request.n
        self._progress = _Pace(max(PROGRESS_S, request.news_every_s))
        self._queue_news = _Pace(max(QUEUE_NEWS_S, request.news_every_s))
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(self._loop)
        self._preview_steps = _preview_steps(request.previews, request.steps)

    def step_made(self) -> None:
        self.done_steps += 1

    def tell_progress(self, now_s: float) -> None:
        """The first step, then at most so often, and the last where anybody watches: each message costs the machine
        that steps."""
        total = self.request.steps * self.request.n
        is_last = self.done_steps == total and not self.request.news_every_s
        if self._progress.is_due(now_s) or is_last:
            self.outbox.post(Step(self.done_steps, total))

    def tell_place(self, place: Queued, now_s: float) -> None:
        if self._queue_news.is_due(now_s):
            self.outbox.post(place)

    def preview_due(self, index: int) -> int | None:
        """The number of the partial image that is due for this row now, if one is."""
        return self._preview_steps.get(self.rows[index].step_index)

    def image_made(self, image: Image) -> None:
        """The last one is followed by Succeeded."""
        self.outbox.post(image)
        self._images_left -= 1
        if not self._images_left:
            self.outbox.post(Succeeded(self.is_truncated))

    def fail(self, error: ServeError) -> None:
        """From any thread. Only the first failure is told."""
        if not self.is_over:
            self.is_over = True
            self.outbox.post(Failed(error.code, error.message, error.retry_after_s))

    def run_in_loop(
        self, make: Callable[[], Coroutine[Any, Any, None]], began: Callable[[asyncio.Task[None]], None]
    ) -> None:
        """Begin a task in the caller's loop from another thread; `began` gets it."""
        self._loop.call_soon_threadsafe(lambda: began(self._loop.create_task(make())))


def _spec(request: GenerateRequest, index: int) -> RowSpec:
    return RowSpec(
        prompt=request.prompt.text,
        negative_prompt=request.prompt.negative,
        seed=request.seed + index,
        steps=request.steps,
        guidance=request.guidance,
        width_px=request.width_px,
        height_px=request.height_px,
    )


def _preview_steps(previews: int, steps: int) -> dict[int, int]:
    """Step -> number of its partial image: evenly spread, the first after the first step, none after the last."""
    count = min(previews, steps - 1)
    return {1 + number * (steps - 1) // count: number for number in range(count)}
