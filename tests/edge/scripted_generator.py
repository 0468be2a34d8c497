"""A Generator without a model: it stores one-pixel pictures for real and does what a test's script says."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable

from serve_app.contract import (
    Blocked,
    Event,
    Failed,
    GenerateRequest,
    Image,
    ModelStatus,
    Preview,
    Queued,
    Step,
    Succeeded,
)
from serve_app.errors import ModelUnavailable
from serve_app.storage.store import ObjectStore, put_image
from serve_app.training import put_copy

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class ScriptedGenerator:
    """`hold_queue` keeps every request waiting until it is set, `hold` at its first step, `hold_end` after its images;
    `failure` ends it; `shed` ends whatever has waited."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float]) -> None:
        self.requests: list[GenerateRequest] = []
        self.hold_queue = asyncio.Event()
        self.hold_queue.set()
        self.hold = asyncio.Event()
        self.hold.set()
        self.hold_end = asyncio.Event()
        self.hold_end.set()
        self.started = asyncio.Event()
        self.drawn = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.failure: Failed | Blocked | None = None
        self.shed: Failed | None = None
        self.failures: list[Failed] = []
        self.raises: Exception | None = None
        self.is_up = True
        self.truncates = False
        self.fails_after_images = False
        self._came = asyncio.Event()
        self._store = store
        self._clock = clock

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        self._came.set()
        if self.failures:
            yield self.failures.pop()
            return
        if self.failure and not self.fails_after_images:
            yield self.failure
            return
        try:
            yield Queued(0, 1.5)
            if self.raises:
                raise self.raises
            await self.hold_queue.wait()
            if self.shed:
                yield self.shed
                return
            yield Step(1, request.steps)
            self.started.set()
            await self.hold.wait()
            if self.failure and not self.fails_after_images:
                yield self.failure
                return
            async for event in self._draw(request):
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def asked(self, times: int) -> None:
        """Waits until so many requests have come."""
        while len(self.requests) < times:
            self._came.clear()
            await self._came.wait()

    async def status(self, model: str) -> ModelStatus:
        if not self.is_up:
            raise ModelUnavailable("nothing serves it")
        return ModelStatus(model, True, running_rows=0, waiting_rows=0, rows_per_s=24.0, step_s=0.1, batch_rows=4)

    async def _draw(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        for index in range(request.n):
            for number in range(request.previews):
                yield Preview(index, number, PIXEL)
            yield Step((index + 1) * request.steps, request.n * request.steps)
            yield await self._image(request, index)
        self.drawn.set()
        await self.hold_end.wait()
        yield self.failure or Succeeded(self.truncates)

    async def _image(self, request: GenerateRequest, index: int) -> Image:
        now = self._clock()
        stored = await put_image(self._store, request.store, index, PIXEL, now) if request.store else None
        copy = None
        if request.store and request.training:
            image_id = request.store.slots[index].image_id
            copy = await put_copy(self._store, request.training, request, image_id, PIXEL, now)
        return Image(
            index,
            request.seed + index,
            64,
            64,
            key=stored and stored.key,
            delete_at=stored and stored.delete_at,
            size_bytes=stored and stored.size_bytes,
            digest=stored and stored.digest,
            data=PIXEL if request.inline else None,
            training_key=copy and copy.key,
            training_delete_at=copy and copy.delete_at,
            truncated=self.truncates,
        )
