"""The wire between the edge and the engine: the request, the events that answer it, and the seam both sides share.

No torch, no HTTP. Structs evolve by four rules, so that an old edge and a new replica understand each other: new fields
have defaults; nothing is retyped, reordered or reused. `tests/serve_app/golden/` holds messages that prove it.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

WIRE_VERSION = 1
MAX_FRAME_BYTES = 64 * 1024 * 1024

OutputFormat = Literal["png", "webp", "jpeg"]


class Prompt(Struct, frozen=True):
    """What the caller wants, and wants to avoid. Its repr tells lengths only, so that no log can hold the text."""

    text: str
    negative: str = ""

    def __repr__(self) -> str:
        return f"<prompt:{len(self.text)}+{len(self.negative)}>"


class Turn(Struct, frozen=True):
    """Whose work this is, for the scheduler: the traffic class as `plans.toml` has it, and an opaque tenant."""

    traffic: str
    tenant: str
    weight: float
    deadline_s: float
    max_step_slowdown: float | None = None


class Slot(Struct, frozen=True):
    """Where one image goes: its id (32 hex digits) and the 32-byte secret that encrypts it."""

    image_id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"<slot:{self.image_id}>"


class StoreOrder(Struct, frozen=True):
    """Store each image under `<prefix>/<class_days>d/…` so that it goes `kept_for_s` seconds after storing."""

    prefix: str
    class_days: int
    kept_for_s: int
    slots: list[Slot]


class TrainingOrder(Struct, frozen=True):
    """Copy each stored image, with its prompt, under `<prefix>/<class_days>d/…`, sealed to the operator's 32-byte
    `public_key`; the copy goes `kept_for_s` seconds after storing."""

    prefix: str
    class_days: int
    kept_for_s: int
    public_key: bytes


class GenerateRequest(Struct, frozen=True):
    """`n` images of one prompt. Image `i` has seed `seed + i`.

    `previews` is how many partial images each image sends on its way; `inline` asks for the bytes in the reply;
    `store` is None where nothing may be stored, `training` where nothing may be copied for training. `news_every_s`:
    how rarely the queue and the steps may be told, by a caller who only waits for the end. `adult`: what policy keeps
    for adults may be made for this caller.
    """

    job_id: str
    model: str
    policy_digest: str
    prompt: Prompt
    n: int
    width_px: int
    height_px: int
    steps: int
    guidance: float
    seed: int
    turn: Turn
    output_format: OutputFormat = "png"
    output_compression: int | None = None
    previews: int = 0
    inline: bool = False
    store: StoreOrder | None = None
    wire: int = WIRE_VERSION
    training: TrainingOrder | None = None
    news_every_s: float = 0.0
    adult: bool = False


# Events, in the order of a request's life ----------------------------------------------------------------------------


class Queued(Struct, frozen=True, tag="queued", tag_field="event"):
    """Accepted. `position` counts requests ahead that have not begun; `eta_s` is the time to the last image."""

    position: int
    eta_s: float


class Step(Struct, frozen=True, tag="step", tag_field="event"):
    """Steps done of all steps of all images of the request."""

    done: int
    total: int


class Preview(Struct, frozen=True, tag="preview", tag_field="event"):
    """Partial image `number` (from 0) of image `index`, encoded like the final one. Never stored."""

    index: int
    number: int
    data: bytes

    def __repr__(self) -> str:
        return f"<preview:{self.index}.{self.number}>"


class Image(Struct, frozen=True, tag="image", tag_field="event"):
    """One finished image. Where it was stored: `key`, `delete_at` (Unix seconds, a whole minute), and the ciphertext's
    `size_bytes` and SHA-256 `digest`; `data` is the plain file where the request asked for it inline. Where a copy for
    training was made: its key, and when it goes. `truncated`: as in `Succeeded`, where images are shown one by one."""

    index: int
    seed: int
    native_width_px: int
    native_height_px: int
    key: str | None = None
    delete_at: int | None = None
    size_bytes: int | None = None
    digest: bytes | None = None
    data: bytes | None = None
    training_key: str | None = None
    training_delete_at: int | None = None
    truncated: bool = False

    def __repr__(self) -> str:
        return f"<image:{self.index}>"


class Succeeded(Struct, frozen=True, tag="succeeded", tag_field="event"):
    """Every image was sent. `truncated`: the text encoder read only the beginning of the prompt.

    `retried`: an attempt before this one was lost, and may have stored images of its own.
    """

    truncated: bool = False
    retried: bool = False


class Blocked(Struct, frozen=True, tag="blocked", tag_field="event"):
    """A picture may not be seen: no more images come. `category` as `moderation.toml` has it, or `listed`: it is like
    one of the operator's list."""

    category: str


class Failed(Struct, frozen=True, tag="failed", tag_field="event"):
    """No more images come. `code` is one of `serve_app.errors`; `retry_after_s` says when trying again makes sense."""

    code: str
    message: str
    retry_after_s: float | None = None


End = Succeeded | Blocked | Failed
Event = Queued | Step | Preview | Image | End


class ModelStatus(Struct, frozen=True):
    """How busy a model is. `step_s` is the last measured step; `rows_per_s` forward rows at the learned batch size."""

    model: str
    ready: bool
    running_rows: int
    waiting_rows: int
    rows_per_s: float
    step_s: float
    batch_rows: int
    draining: bool = False


class Generator(Protocol):
    """The seam between edge and engine: `edge.gateway` over Ray Serve, `serve_app.engine` in process."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """Ends with an End. Closing the iterator cancels the request at the next step."""
        ...

    async def status(self, model: str) -> ModelStatus:
        """Raises ModelUnavailable when nothing serves the model."""
        ...


# Frames: 4 bytes big-endian length, then one msgpack event ------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
_request_decoder = msgspec.msgpack.Decoder(GenerateRequest)


class FrameError(Exception):
    """The stream of frames is cut short or malformed: the other side died or speaks another protocol."""


def encode_request(request: GenerateRequest) -> bytes:
    return _encoder.encode(request)


def decode_request(body: bytes) -> GenerateRequest:
    """Raises FrameError; the message never quotes the body."""
    try:
        return _request_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise FrameError("the request is not a GenerateRequest") from error


def frame(event: Event) -> bytes:
    body = _encoder.encode(event)
    return len(body).to_bytes(4, "big") + body


async def read_frames(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """Events from a byte stream cut anywhere. Raises FrameError when it ends inside a frame or a frame is too large."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        while len(pending) >= 4:
            end = 4 + int.from_bytes(pending[:4], "big")
            if end > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {end} bytes is over the limit")
            if len(pending) < end:
                break
            try:
                event = _event_decoder.decode(bytes(pending[4:end]))
            except msgspec.DecodeError as error:
                raise FrameError("a frame is not an event") from error
            del pending[:end]
            yield event
    if pending:
        raise FrameError("the stream ended inside a frame")
