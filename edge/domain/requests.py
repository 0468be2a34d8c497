"""What callers may send, as strict structs: the shape only. Whether it can be done is `orders.py`'s question.

Fields that are None or absent mean the default. Values that are listed but not built yet are refused by name there.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_PROMPT_CHARACTERS = 32_000
MAX_SEED = 2**53 - 1  # the largest integer that every JSON reader keeps exact

PromptText = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]
NegativeText = Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)]


class PictureRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a plain call and a job have in common."""

    prompt: PromptText
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = None
    output_format: Literal["png", "webp", "jpeg"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    background: Literal["auto", "opaque", "transparent"] | None = None
    moderation: Literal["auto", "low"] | None = None
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] | None = None
    steps: Annotated[int, Meta(ge=1)] | None = None
    guidance: Annotated[float, Meta(ge=0)] | None = None
    negative_prompt: NegativeText | None = None
    retention: str | None = None
    training: Literal["allow", "deny"] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class ImageRequest(PictureRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/images/generations`: OpenAI's fields and our extensions."""

    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None


class JobRequest(PictureRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/generations`."""

    partial_images: Annotated[int, Meta(ge=0, le=12)] | None = None
    cancel_when_unwatched: bool | None = None


NOT_BUILT_YET = {
    "safety_identifier": "`safety_identifier` is not available yet",
    "style": "`style` is not available",
    "user": "`user` is not available",
}
