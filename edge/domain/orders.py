"""From what a caller sent to what will be made: every value settled and checked against plan, model and policies.

Each refusal names the parameter. The prompt leaves here only inside the order.
"""

import secrets
from datetime import timedelta

import msgspec
from msgspec import Struct

from edge.domain.addresses import PREFIX
from edge.domain.owner import JobId
from edge.domain.requests import MAX_SEED, ImageRequest, JobRequest, PictureRequest
from edge.domain.training import Choice, Terms, refuse_what_cannot_be
from edge.errors import BadInput
from policies.load import model_digest
from policies.schema import MIN_RETENTION, Model, Plan, Policies
from policies.size import Pixels, parse_size
from serve_app.contract import GenerateRequest, OutputFormat, Prompt, Slot, StoreOrder, TrainingOrder, Turn

CALL_NEWS_S = 30.0  # a call's reply says nothing of queue and steps; it is only told that somebody is there
QUALITY_WORDS = {"standard": "medium", "hd": "high"}


class Kept(Struct, frozen=True):
    """How long the images are stored, and under which backstop. With `on_download` that is the longest."""

    seconds: int
    class_days: int
    on_download: bool = False


class Order(Struct, frozen=True):
    """One generation, settled. `kept` is None where nothing is stored; `inline` where the reply carries the bytes.

    `training` is the call's own word, if it said one. `news_every_s` as in `GenerateRequest`.
    """

    model: str
    policy_digest: str
    prompt: Prompt
    n: int
    size: Pixels
    quality: str
    steps: int
    guidance: float
    seed: int
    output_format: OutputFormat
    output_compression: int | None
    kept: Kept | None
    previews: int = 0
    inline: bool = False
    training: Choice | None = None
    news_every_s: float = 0.0

    @property
    def is_kept_for_a_time(self) -> bool:
        return self.kept is not None and not self.kept.on_download


def order_images(request: ImageRequest, plan: Plan, policies: Policies, terms: Terms) -> Order:
    """Raises BadInput."""
    kept = _kept(request, plan, policies)
    if kept is None and request.response_format == "url":
        raise BadInput("an image that is not stored has no url", param="retention", code="retention")
    if request.partial_images is not None and not request.stream:
        raise BadInput("`partial_images` needs `stream`", param="partial_images")
    inline = bool(request.stream) or kept is None or request.response_format == "b64_json"
    previews = request.partial_images or 0
    order = _order(request, plan, policies, terms, kept, previews=previews, inline=inline)
    return msgspec.structs.replace(order, news_every_s=CALL_NEWS_S)


def order_job(request: JobRequest, plan: Plan, policies: Policies, terms: Terms) -> Order:
    """Raises BadInput."""
    kept = _kept(request, plan, policies)
    if kept is None:
        raise BadInput(
            "a job's images are fetched from the store, so they must be stored", param="retention", code="retention"
        )
    return _order(request, plan, policies, terms, kept, previews=request.partial_images or 0, inline=False)


def engine_request(
    order: Order, job_id: JobId, turn: Turn, slots: list[Slot], training: TrainingOrder | None = None,
    *, adult: bool = False,
) -> GenerateRequest:  # fmt: skip
    kept = order.kept
    return GenerateRequest(
        job_id=job_id,
        model=order.model,
        policy_digest=order.policy_digest,
        prompt=order.prompt,
        n=order.n,
        width_px=order.size.width_px,
        height_px=order.size.height_px,
        steps=order.steps,
        guidance=order.guidance,
        seed=order.seed,
        turn=turn,
        output_format=order.output_format,
        output_compression=order.output_compression,
        previews=order.previews,
        inline=order.inline,
        store=StoreOrder(PREFIX, kept.class_days, kept.seconds, slots) if kept else None,
        training=training,
        news_every_s=order.news_every_s,
        adult=adult,
    )


def _order(
    request: PictureRequest, plan: Plan, policies: Policies, terms: Terms, kept: Kept | None,
    *, previews: int, inline: bool,
) -> Order:  # fmt: skip
    _refuse_what_is_not_built(request)
    name, model = _model(request, plan, policies)
    n = _count(request, plan)
    guidance = _guidance(request, model)
    order = Order(
        model=name,
        policy_digest=model_digest(model, policies.moderation.images),
        prompt=_prompt(request, guidance),
        n=n,
        size=_size(request, plan, model),
        quality=_quality(request),
        steps=_steps(request, plan, model),
        guidance=guidance,
        seed=_seed(request, n),
        output_format=request.output_format or "png",
        output_compression=_compression(request),
        kept=kept,
        previews=previews,
        inline=inline,
        training=request.training,
    )
    refuse_what_cannot_be(order.training, terms, is_kept=order.is_kept_for_a_time)
    return order


def _refuse_what_is_not_built(request: PictureRequest) -> None:
    if request.background == "transparent":
        raise BadInput("transparent backgrounds are not available yet", param="background", code="not_available")
    if request.moderation == "low":
        raise BadInput("`moderation: low` is not available yet", param="moderation", code="not_available")


def _model(request: PictureRequest, plan: Plan, policies: Policies) -> tuple[str, Model]:
    name = plan.models[0] if request.model is None else request.model
    if name not in plan.models:
        raise BadInput(f"no such model; on offer: {', '.join(plan.models)}", param="model", code="model_not_found")
    return name, policies.models.models[name]


def _count(request: PictureRequest, plan: Plan) -> int:
    n = 1 if request.n is None else request.n
    if n > plan.max_images:
        raise BadInput(f"at most {plan.max_images} images at once", param="n")
    return n


def _prompt(request: PictureRequest, guidance: float) -> Prompt:
    if not request.prompt.strip():
        raise BadInput("the prompt is empty", param="prompt")
    if request.negative_prompt and guidance <= 1:
        raise BadInput("a negative prompt has no effect unless `guidance` is above 1", param="negative_prompt")
    return Prompt(request.prompt, request.negative_prompt or "")


def sizes_within(plan: Plan, model: Model) -> list[str]:
    return [size for size in model.sizes if parse_size(size).area_px <= plan.max_pixels]


def _size(request: PictureRequest, plan: Plan, model: Model) -> Pixels:
    if request.size in (None, "auto"):
        return parse_size(model.auto_size)
    sizes = sizes_within(plan, model)
    if request.size not in sizes:
        raise BadInput(f"this model offers auto, {', '.join(sizes)}", param="size")
    return parse_size(request.size)


def _quality(request: PictureRequest) -> str:
    word = request.quality or "auto"
    return QUALITY_WORDS.get(word, word)


def _steps(request: PictureRequest, plan: Plan, model: Model) -> int:
    steps, most = model.steps, min(model.steps.maximum, plan.max_steps)
    if request.steps is None:
        by_word = {"auto": steps.default, "low": steps.low, "medium": steps.medium, "high": steps.high}
        if (taken := by_word[_quality(request)]) > most:
            raise BadInput(f"this takes {taken} steps, and you may ask for {most}", param="quality")
        return taken
    if not steps.minimum <= request.steps <= most:
        raise BadInput(f"this model takes {steps.minimum} to {most} steps", param="steps")
    return request.steps


def _guidance(request: PictureRequest, model: Model) -> float:
    bounds = model.guidance
    if request.guidance is None:
        return bounds.default
    if not bounds.minimum <= request.guidance <= bounds.maximum:
        raise BadInput(f"this model takes a guidance of {bounds.minimum} to {bounds.maximum}", param="guidance")
    return request.guidance


def _seed(request: PictureRequest, n: int) -> int:
    last_first = MAX_SEED - (n - 1)
    if request.seed is None:
        return secrets.randbelow(last_first + 1)
    if request.seed > last_first:
        raise BadInput(f"the last image's seed, seed + n - 1, must not pass {MAX_SEED}", param="seed")
    return request.seed


def _compression(request: PictureRequest) -> int | None:
    if request.output_compression is not None and request.output_format in (None, "png"):
        raise BadInput("`output_compression` is for webp and jpeg", param="output_compression")
    return request.output_compression


def _kept(request: PictureRequest, plan: Plan, policies: Policies) -> Kept | None:
    if request.retention == "none":
        return None
    on_download = request.retention == "on_download"
    is_usual = request.retention is None or on_download
    kept_for = plan.retention.default if is_usual else read_duration(request.retention or "")
    if not MIN_RETENTION <= kept_for <= plan.retention.maximum:
        longest = msgspec.to_builtins(plan.retention.maximum)
        raise BadInput(
            f"images are kept for PT1M to {longest}, `on_download` or `none`", param="retention", code="retention"
        )
    return Kept(int(kept_for.total_seconds()), policies.retention.backstop_for(kept_for), on_download)


def read_duration(text: str) -> timedelta:
    """Raises BadInput."""
    try:
        return msgspec.convert(text, timedelta)
    except msgspec.ValidationError as error:
        words = "an ISO 8601 duration such as PT1H, `on_download` or `none`"
        raise BadInput(words, param="retention", code="retention") from error
