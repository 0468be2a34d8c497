"""A Generator that draws in step with a test: plain colours, each preview different, no step before `let` allows it."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable

from PIL import Image as Canvas

from serve_app.contract import Event, Failed, GenerateRequest, Image, ModelStatus, Preview, Queued, Step, Succeeded
from serve_app.storage.store import ObjectStore, put_image

NATIVE_PX = 64


def picture(request: GenerateRequest, done: int) -> bytes:
    file = io.BytesIO()
    colour = (255 * done // request.steps, 60, 160)
    Canvas.new("RGB", (request.width_px, request.height_px), colour).save(file, "png")
    return file.getvalue()


class PacedGenerator:
    def __init__(self, store: ObjectStore, clock: Callable[[], float]) -> None:
        self.requests: list[GenerateRequest] = []
        self.cancelled = asyncio.Event()
        self.hold_end = asyncio.Event()
        self.hold_end.set()
        self.failure: Failed | None = None
        self.truncates = False
        self._store = store
        self._clock = clock
        self._allowed = asyncio.Semaphore(0)

    def let(self, steps: int) -> None:
        for _ in range(steps):
            self._allowed.release()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        if self.failure:
            yield self.failure
            return
        try:
            yield Queued(2, 7.5)
            for done in range(1, request.steps + 1):
                await self._allowed.acquire()
                yield Step(done * request.n, request.steps * request.n)
                for index in range(request.n if done <= request.previews else 0):
                    yield Preview(index, done - 1, picture(request, done))
            for index in range(request.n):
                yield await self._image(request, index)
            await self.hold_end.wait()
            yield Succeeded(self.truncates)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def status(self, model: str) -> ModelStatus:
        return ModelStatus(model, True, running_rows=0, waiting_rows=0, rows_per_s=24.0, step_s=0.1, batch_rows=4)

    async def _image(self, request: GenerateRequest, index: int) -> Image:
        data = picture(request, request.steps)
        stored = await put_image(self._store, request.store, index, data, self._clock()) if request.store else None
        return Image(
            index,
            request.seed + index,
            NATIVE_PX,
            NATIVE_PX,
            key=stored and stored.key,
            delete_at=stored and stored.delete_at,
            size_bytes=stored and stored.size_bytes,
            digest=stored and stored.digest,
            data=data if request.inline else None,
            truncated=self.truncates,
        )
