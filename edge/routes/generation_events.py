"""The events of a job as its owner sees them: states with ids for replay, steps and previews for whoever looks now.

The hub keeps ids and numbers only; addresses and seeds are added here, from the caller's credential and the image row.
"""

import asyncio
from contextlib import aclosing, suppress
from functools import partial

from msgspec import Struct

from edge.domain import jobs
from edge.domain.events import Ended, ImageReady, Listener, Told
from edge.domain.jobs import OPEN_STATES
from edge.domain.owner import Caller, JobId
from edge.routes.replies import Generation, Queue, StoredImage, stored_image
from edge.routes.shown_jobs import shown
from edge.routes.sse import PING, Chunks, sse_frame
from edge.services import Services
from serve_app.contract import OutputFormat, Preview, Queued, Step


class StepsDone(Struct, frozen=True):
    done: int
    total: int


class PreviewShown(Struct, frozen=True):
    index: int
    number: int
    b64_json: bytes
    output_format: OutputFormat


class ImageDone(Struct, frozen=True):
    index: int
    image: StoredImage | None


async def follow_job(job_id: str, listener: Listener, caller: Caller, services: Services) -> Chunks:
    """A job of another edge may have died with it: while nothing comes, its row tells."""
    last: Told | None = None
    try:
        while last is None and not listener.is_shut:
            arrived = await listener.take(services.heartbeat_s)
            if not arrived:
                yield PING
                if services.runs.find(job_id) is None and not await _is_open(job_id, services):
                    break
            for told in arrived:
                if isinstance(told.event, Ended):
                    last = told
                else:
                    yield await _chunk(told.event, told.number, caller, services)
    finally:
        listener.close()
    async with aclosing(follow_ended(job_id, caller, services, last and last.number)) as chunks:
        async for chunk in chunks:
            yield chunk


async def follow_ended(job_id: str, caller: Caller, services: Services, number: int | None = None) -> Chunks:
    """The state in which the row ends: all there is to tell when events are over, forgotten or out of reach."""
    while True:
        job = await _job(job_id, caller, services)
        if job is None:
            return
        if job.status not in OPEN_STATES:
            yield sse_frame(job, event=job.status, number=number)
            return
        yield PING
        with suppress(TimeoutError):
            async with asyncio.timeout(services.heartbeat_s):
                await services.runs.drained.wait()
                return


async def _chunk(
    event: Queued | Step | Preview | ImageReady, number: int | None, caller: Caller, services: Services
) -> bytes:
    match event:
        case Queued(position=position, eta_s=eta_s):
            return sse_frame(Queue(position, eta_s), event="queued", number=number)
        case Step(done=done, total=total):
            return sse_frame(StepsDone(done, total), event="step")
        case Preview(index=index, number=preview, data=data):
            return sse_frame(PreviewShown(index, preview, data, _format_of(data)), event="preview")
        case ImageReady(index=index, image_id=image_id):
            done = ImageDone(index, await _image(image_id, caller, services))
            return sse_frame(done, event="image", number=number)


async def _image(image_id: str | None, caller: Caller, services: Services) -> StoredImage | None:
    if image_id is None:
        return None
    find = partial(jobs.find_image, owner=caller.owner, image_id=image_id, now=services.clock())
    row = await services.database.read(find)
    return stored_image(row, caller, services) if row else None


async def _job(job_id: str, caller: Caller, services: Services) -> Generation | None:
    job = await services.database.read(partial(jobs.find_job, owner=caller.owner, job_id=job_id))
    return (await shown([job], caller, services))[0] if job else None


async def _is_open(job_id: str, services: Services) -> bool:
    return await services.database.read(partial(jobs.is_open, job_id=JobId(job_id)))


def _format_of(data: bytes) -> OutputFormat:
    """As the bytes themselves say: the order is known to the edge that runs the job alone."""
    if data.startswith(b"\x89PNG"):
        return "png"
    return "jpeg" if data.startswith(b"\xff\xd8") else "webp"
