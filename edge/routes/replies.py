"""What callers get to read: one struct for each JSON object of the API, and how it is made from rows.

`bytes` fields are base64 in JSON. Addresses are computed for the caller who asks; no row holds them.
"""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from edge.db.rows import ImageRow, JobRow
from edge.domain.events import Ended, State
from edge.domain.images import token_for
from edge.domain.moderation.decisions import IMAGE
from edge.domain.orders import Order
from edge.domain.owner import Caller
from edge.domain.run import Made
from edge.errors import Cancelled, GenerationFailed, ModerationBlocked, Refusal, message_for, usual_wait_s
from edge.services import Services
from policies.schema import Guidance, Model, Steps
from policies.size import Pixels
from serve_app.contract import OutputFormat, Queued

Status = Literal["queued", "running", "succeeded", "blocked", "failed", "cancelled"]


class ImageData(Struct, frozen=True, kw_only=True):
    """One image of a plain reply. `id` and `expires_at` are null where nothing was stored."""

    url: str | UnsetType = UNSET
    b64_json: bytes | UnsetType = UNSET
    id: str | None
    seed: int
    size: str
    native_size: str
    expires_at: int | None


class ImagesReply(Struct, frozen=True, kw_only=True):
    """OpenAI's images response, with our extensions."""

    created: int
    data: list[ImageData]
    output_format: OutputFormat
    size: str
    quality: str
    background: Literal["opaque"] = "opaque"
    truncated: bool


class StoredImage(Struct, frozen=True, kw_only=True):
    """A picture that can still be seen. With `on_download` it goes a minute after its first whole download.

    `seed` is null once another picture of the same generation has gone, since that one's would follow from it.
    """

    id: str
    object: Literal["image"] = "image"
    generation: str
    index: int
    url: str
    model: str
    seed: int | None
    steps: int
    guidance: float
    size: str
    native_size: str
    output_format: str
    size_bytes: int
    created_at: int
    expires_at: int
    on_download: bool


class Queue(Struct, frozen=True):
    position: int
    eta_s: float


class JobError(Struct, frozen=True):
    """`retry_after_s`: where another try makes sense, how long to wait before it. `stage`, `reference` and, for as long
    as the job's events are there, `category` come with `moderation_blocked`."""

    code: str
    message: str
    retry_after_s: float | None
    stage: str | UnsetType = UNSET
    category: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET


class Generation(Struct, frozen=True, kw_only=True):
    """A job."""

    id: str
    object: Literal["generation"] = "generation"
    status: Status
    model: str
    n: int
    queue: Queue | None
    credits: int = 0
    images: list[StoredImage]
    error: JobError | None
    truncated: bool
    created_at: int
    ended_at: int | None


class Generations(Struct, frozen=True):
    data: list[Generation]
    has_more: bool
    object: Literal["list"] = "list"


class Quote(Struct, frozen=True, kw_only=True):
    """What a job would cost and take, at this moment."""

    object: Literal["quote"] = "quote"
    credits: int = 0
    model: str
    n: int
    size: str
    steps: int
    eta_s: float | None


class ModelCard(Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "sfumato"
    title: str
    licence: str
    sizes: list[str]
    auto_size: str
    native_size: str | None
    max_prompt_tokens: int
    steps: Steps
    guidance: Guidance
    note: str


class ModelCards(Struct, frozen=True):
    data: list[ModelCard]
    has_more: bool = False
    object: Literal["list"] = "list"


def image_data(made: Made, order: Order, caller: Caller, services: Services, *, inline: bool) -> ImageData:
    image, row = made.image, made.row
    url = image_url(row, caller, services) if row and not inline else UNSET
    return ImageData(
        url=url,
        b64_json=image.data if inline and image.data is not None else UNSET,
        id=row.id if row else None,
        seed=image.seed,
        size=str(order.size),
        native_size=str(Pixels(image.native_width_px, image.native_height_px)),
        expires_at=row.delete_at if row else None,
    )


def image_url(row: ImageRow, caller: Caller, services: Services) -> str:
    token = token_for(row, caller, services.keyring)
    return f"{services.settings.public_url}/i/{token}"


def stored_image(row: ImageRow, caller: Caller, services: Services) -> StoredImage:
    return StoredImage(
        id=row.id,
        generation=row.job_id,
        index=row.position,
        url=image_url(row, caller, services),
        model=row.model,
        seed=row.seed,
        steps=row.steps,
        guidance=row.guidance,
        size=str(Pixels(row.width_px, row.height_px)),
        native_size=str(Pixels(row.native_width_px, row.native_height_px)),
        output_format=row.output_format,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        expires_at=row.delete_at,
        on_download=row.on_download,
    )


def generation(
    job: JobRow, images: list[ImageRow], told: State | None, caller: Caller, services: Services
) -> Generation:
    """`told`: the last state that was told of it, where its row does not say all."""
    queued = told if isinstance(told, Queued) and job.status == "queued" else None
    return Generation(
        id=job.id,
        status=job.status,  # pyright: ignore[reportArgumentType]  only these are ever written
        model=job.model,
        n=job.images_asked,
        queue=Queue(queued.position, queued.eta_s) if queued else None,
        images=[stored_image(row, caller, services) for row in images],
        error=_job_error(job, job.error_code, told) if job.error_code else None,
        truncated=job.truncated,
        created_at=job.created_at,
        ended_at=job.ended_at,
    )


def refusal_of(ended: Ended, job_id: str) -> Refusal:
    """What a caller who waited for the pictures gets instead."""
    if ended.status == "cancelled":
        return Cancelled()
    if ended.status == "blocked" and ended.category is not None:
        return ModerationBlocked(stage=IMAGE, category=ended.category, reference=job_id)
    return GenerationFailed(ended.error_code or "engine_failed", retry_after_s=ended.retry_after_s)


def model_card(name: str, model: Model, created: int) -> ModelCard:
    return ModelCard(
        id=name,
        created=created,
        title=model.title,
        licence=model.licence,
        sizes=model.sizes,
        auto_size=model.auto_size,
        native_size=model.native_size,
        max_prompt_tokens=model.max_prompt_tokens,
        steps=model.steps,
        guidance=model.guidance,
        note=model.note,
    )


def _job_error(job: JobRow, code: str, told: State | None) -> JobError:
    ended = told if isinstance(told, Ended) and told.error_code == code else None
    if code == ModerationBlocked.code:
        category = UNSET if ended is None or ended.category is None else ended.category
        return JobError(code, message_for(code), None, stage=IMAGE, category=category, reference=job.id)
    known_s = ended and ended.retry_after_s
    return JobError(code, message_for(code), usual_wait_s(code) if known_s is None else known_s)
