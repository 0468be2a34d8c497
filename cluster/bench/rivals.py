"""The other ways to serve the same model, as Ray Serve deployments: what the engine is compared with.

All draw with the same pipeline, threads, check and encoder, finish their pictures beside the next batch as the engine
does, and answer in the gateway's frames, so that one load generator drives every side.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import Response

from policies.load import load_policies
from serve_app.contract import GenerateRequest, Image, Succeeded, decode_request, frame
from serve_app.encode import encode
from serve_app.hash_list import HashList
from serve_app.marks import xmp_packet
from serve_app.pipelines.pipeline import Picture, Row, RowSpec
from serve_app.pipelines.registry import load_pipeline
from serve_app.replica import FRAMES, MAX_ONGOING_REQUESTS
from serve_app.safety import Classifier, PictureSafety
from serve_app.settings import Settings


class Atelier:
    """The pipeline with one thread to denoise in, and threads beside it that turn rows into files."""

    def __init__(self, model: str) -> None:
        settings = Settings.from_env(os.environ)
        policies = load_policies(settings.policies)
        entry = policies.models.models[model]
        self._pipeline = load_pipeline(model, entry, threads=settings.torch_threads)
        self._safety = PictureSafety(policies.moderation.images, HashList(settings.image_hashes), Classifier())
        self._mark = xmp_packet(entry.title, entry.created.isoformat())
        self._denoiser = ThreadPoolExecutor(1, initializer=self._pipeline.enter_thread)
        self._decoder = ThreadPoolExecutor(1)
        self._encoders = ThreadPoolExecutor(2)

    async def denoise(self, requests: Sequence[GenerateRequest]) -> list[Row]:
        """Requests wait their turn in order; one that is cancelled before its turn costs nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._denoiser, self._denoise, requests)

    async def files(self, requests: Sequence[GenerateRequest], rows: Sequence[Row]) -> list[bytes]:
        loop = asyncio.get_running_loop()
        pictures = await loop.run_in_executor(self._decoder, self._pipeline.decode, rows)
        pairs = zip(requests, pictures, strict=True)
        return await asyncio.gather(*(loop.run_in_executor(self._encoders, self._file, *pair) for pair in pairs))

    def _denoise(self, requests: Sequence[GenerateRequest]) -> list[Row]:
        rows: list[Row] = []
        for first in range(0, len(requests), 8):  # as many prompts at a time as the engine encodes
            rows += self._pipeline.start([_spec(request) for request in requests[first : first + 8]])
        while moving := [row for row in rows if row.step_index < row.steps]:
            self._pipeline.step(moving)
        return rows

    def _file(self, request: GenerateRequest, picture: Picture) -> bytes:
        self._safety.check(picture, adult=request.adult)
        return encode(
            picture,
            width_px=request.width_px,
            height_px=request.height_px,
            output_format=request.output_format,
            compression=request.output_compression,
            mark=self._mark,
        )


class OneAtATime:
    """Ray's documented example shape: a request has the model to itself from its first step to its last."""

    def __init__(self, model: str) -> None:
        self._atelier = Atelier(model)

    async def __call__(self, request: Request) -> Response:
        wanted = [decode_request(await request.body())]
        return _reply(wanted[0], (await self._atelier.files(wanted, await self._atelier.denoise(wanted)))[0])


@dataclass(eq=False, slots=True)
class _Waiting:
    request: GenerateRequest
    file: asyncio.Future[bytes]


class TunedBatcher:
    """Pulls when idle: the oldest request and all that wait with the same steps, size and guidance, up to `limit`."""

    def __init__(self, model: str, limit: int) -> None:
        self._atelier = Atelier(model)
        self._limit = limit
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._tasks = {asyncio.create_task(self._work())}

    async def __call__(self, request: Request) -> Response:
        wanted = decode_request(await request.body())
        place = _Waiting(wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._arrived.set()
        return _reply(wanted, await place.file)

    async def check_health(self) -> None:
        if any(task.done() and not task.cancelled() and task.exception() for task in self._tasks):
            raise RuntimeError("the batcher is gone")

    async def _work(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            rows = await self._atelier.denoise([place.request for place in batch])
            delivery = asyncio.create_task(self._deliver(batch, rows))
            self._tasks.add(delivery)
            delivery.add_done_callback(self._tasks.discard)

    def _take(self) -> list[_Waiting]:
        self._waiting = [place for place in self._waiting if not place.file.done()]  # done: its client has left
        if not self._waiting:
            return []
        kind = _kind(self._waiting[0].request)
        batch = [place for place in self._waiting if _kind(place.request) == kind][: self._limit]
        self._waiting = [place for place in self._waiting if place not in batch]
        return batch

    async def _deliver(self, batch: Sequence[_Waiting], rows: Sequence[Row]) -> None:
        files = await self._atelier.files([place.request for place in batch], rows)
        for place, file in zip(batch, files, strict=True):
            if not place.file.done():
                place.file.set_result(file)


class ServeBatch:
    """`@serve.batch` as it comes."""

    def __init__(self, model: str) -> None:
        self._atelier = Atelier(model)

    async def __call__(self, request: Request) -> Response:
        wanted = decode_request(await request.body())
        return _reply(wanted, await self._draw(wanted))  # pyright: ignore[reportCallIssue, reportArgumentType]

    @serve.batch
    async def _draw(self, requests: list[GenerateRequest]) -> list[bytes]:
        return await self._atelier.files(requests, await self._atelier.denoise(requests))


class StaticBatches:
    """Full batches back to back, without a queue, a network or a gap: what batching by request can reach at best."""

    def __init__(self, model: str) -> None:
        self._atelier = Atelier(model)

    async def images_per_s(self, request: GenerateRequest, batch: int, seconds: float) -> float:
        """Whole batches for at least `seconds`; files are made beside the next batch."""
        requests = [request] * batch
        deliveries: list[asyncio.Task[list[bytes]]] = []
        began_s = perf_counter()
        while perf_counter() - began_s < seconds:
            rows = await self._atelier.denoise(requests)
            deliveries.append(asyncio.create_task(self._atelier.files(requests, rows)))
        await asyncio.gather(*deliveries)
        return batch * len(deliveries) / (perf_counter() - began_s)


def deploy(rival: type[Any], *arguments: object) -> serve.Application:
    deployment = serve.deployment(
        name="rival",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        ray_actor_options={"num_cpus": 1},
        logging_config=LoggingConfig(enable_access_log=False),
        graceful_shutdown_timeout_s=2,
    )(rival)
    return deployment.bind(*arguments)


def _kind(request: GenerateRequest) -> tuple[int, int, int, bool]:
    return request.steps, request.width_px, request.height_px, request.guidance > 1


def _spec(request: GenerateRequest) -> RowSpec:
    return RowSpec(
        prompt=request.prompt.text,
        negative_prompt=request.prompt.negative,
        seed=request.seed,
        steps=request.steps,
        guidance=request.guidance,
        width_px=request.width_px,
        height_px=request.height_px,
    )


def _reply(request: GenerateRequest, file: bytes) -> Response:
    image = Image(0, request.seed, 64, 64, data=file)
    return Response(frame(image) + frame(Succeeded()), media_type=FRAMES)
