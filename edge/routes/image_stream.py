"""`stream: true`: partial images and finished ones as OpenAI's events. When the client leaves, the drawing stops."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from edge.domain.events import Ended, ImageReady, Listener, Told
from edge.domain.owner import Caller
from edge.domain.run import Run
from edge.guards.refusals import error_reply
from edge.routes.replies import image_url, refusal_of
from edge.routes.shown_jobs import queue_headers
from edge.routes.sse import PING, Chunks, EventStream, sse_frame
from edge.services import Services
from policies.size import Pixels
from serve_app.contract import OutputFormat, Preview, Queued

FIRST_EVENT_S = 1.0  # an engine that refuses does so at once; nobody watches for a client that leaves meanwhile


class TokenDetails(Struct, frozen=True):
    image_tokens: int = 0
    text_tokens: int = 0


class Usage(Struct, frozen=True):
    """OpenAI's types ask for it. We count steps, not tokens, and bill nothing here."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()


class PartialImage(Struct, frozen=True, kw_only=True):
    type: Literal["image_generation.partial_image"] = "image_generation.partial_image"
    b64_json: bytes
    index: int
    partial_image_index: int
    created_at: int
    size: str
    quality: str
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat


class CompletedImage(Struct, frozen=True, kw_only=True):
    type: Literal["image_generation.completed"] = "image_generation.completed"
    b64_json: bytes
    url: str | UnsetType = UNSET
    id: str | None
    index: int
    seed: int
    expires_at: int | None
    created_at: int
    size: str
    native_size: str
    truncated: bool
    quality: str
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    usage: Usage = Usage()


async def stream_images(run: Run, caller: Caller, services: Services) -> EventStream:
    """Raises what `refusal_of` says while it still can: when the engine refuses at once."""
    listener = run.channel.listen()
    first = await listener.take(FIRST_EVENT_S)
    for told in first:
        if isinstance(told.event, Ended) and told.event.status != "succeeded":
            raise refusal_of(told.event, run.job_id)
    queued = next((told.event for told in first if isinstance(told.event, Queued)), None)
    return EventStream(_chunks(run, listener, first, caller, services), queue_headers(queued))


async def _chunks(run: Run, listener: Listener, first: list[Told], caller: Caller, services: Services) -> Chunks:
    try:
        arrived = first
        while True:
            for told in arrived:
                if chunk := _chunk(told, run, caller, services):
                    yield chunk
                if isinstance(told.event, Ended):
                    return
            arrived = await listener.take(services.heartbeat_s)
            if not arrived:
                yield PING
    finally:
        listener.close()
        run.cancel()


def _chunk(told: Told, run: Run, caller: Caller, services: Services) -> bytes | None:
    match told.event:
        case Preview() as preview:
            partial = _partial(preview, run)
            return sse_frame(partial, event=partial.type)
        case ImageReady(index=index) if index in run.made:  # else it was dropped again: the end says why
            completed = _completed(index, run, caller, services)
            return sse_frame(completed, event=completed.type)
        case Ended() as ended if ended.status != "succeeded":
            return sse_frame(error_reply(refusal_of(ended, run.job_id)))
        case _:
            return None


def _partial(preview: Preview, run: Run) -> PartialImage:
    order = run.order
    return PartialImage(
        b64_json=preview.data,
        index=preview.index,
        partial_image_index=preview.number,
        created_at=run.job.created_at,
        size=str(order.size),
        quality=order.quality,
        output_format=order.output_format,
    )


def _completed(index: int, run: Run, caller: Caller, services: Services) -> CompletedImage:
    order, made = run.order, run.made[index]
    image, row = made.image, made.row
    return CompletedImage(
        b64_json=image.data or b"",
        url=image_url(row, caller, services) if row else UNSET,
        id=row.id if row else None,
        index=index,
        seed=image.seed,
        expires_at=row.delete_at if row else None,
        created_at=run.job.created_at,
        size=str(order.size),
        native_size=str(Pixels(image.native_width_px, image.native_height_px)),
        truncated=image.truncated,
        quality=order.quality,
        output_format=order.output_format,
    )
