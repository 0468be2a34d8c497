"""The wire: golden messages of version 1, frames cut anywhere, and reprs that a log may hold.

A golden file is what a deployed edge or replica sends. It is never changed: a new field adds a new message.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from serve_app.contract import (
    MAX_FRAME_BYTES,
    Blocked,
    Event,
    Failed,
    FrameError,
    GenerateRequest,
    Image,
    Preview,
    Prompt,
    Queued,
    Slot,
    Step,
    StoreOrder,
    Succeeded,
    TrainingOrder,
    Turn,
    decode_request,
    encode_request,
    frame,
    read_frames,
)

GOLDEN = Path(__file__).parent / "golden"

REQUEST = GenerateRequest(
    job_id="gen_0123456789abcdef",
    model="sfumato-embedded",
    policy_digest="00112233445566aa",
    prompt=Prompt("a red kite over the sea", "clouds"),
    n=2,
    width_px=256,
    height_px=128,
    steps=12,
    guidance=2.5,
    seed=2**53 - 2,
    turn=Turn("paid", "tenant-1", 8.0, 120.0, 1.2),
    output_format="webp",
    output_compression=80,
    previews=3,
    inline=True,
    store=StoreOrder("img", 2, 86400, [Slot("a" * 32, b"\x01" * 32), Slot("b" * 32, b"\x02" * 32)]),
)
BARE_REQUEST = GenerateRequest(
    job_id="gen_1",
    model="m",
    policy_digest="d",
    prompt=Prompt("a cat"),
    n=1,
    width_px=64,
    height_px=64,
    steps=4,
    guidance=1.0,
    seed=0,
    turn=Turn("anonymous", "tenant-2", 1.0, 180.0),
)
COPIED_REQUEST = msgspec.structs.replace(
    BARE_REQUEST,
    job_id="gen_2",
    store=StoreOrder("img", 2, 86400, [Slot("a" * 32, b"\x01" * 32)]),
    training=TrainingOrder("training", 366, 31_536_000, b"\x04" * 32),
)
ADULT_REQUEST = msgspec.structs.replace(BARE_REQUEST, job_id="gen_4", adult=True)
QUIET_REQUEST = msgspec.structs.replace(BARE_REQUEST, job_id="gen_3", news_every_s=30.0)
REQUESTS = {
    "request": REQUEST,
    "request_bare": BARE_REQUEST,
    "request_copied": COPIED_REQUEST,
    "request_quiet": QUIET_REQUEST,
    "request_adult": ADULT_REQUEST,
}
EVENTS: dict[str, Event] = {
    "queued": Queued(3, 1.5),
    "step": Step(7, 24),
    "preview": Preview(1, 0, b"\x89PNG-preview"),
    "image": Image(
        1,
        2**53 - 1,
        64,
        32,
        key="img/2d/20261124T0531Z/" + "b" * 32,
        delete_at=1795498260,
        size_bytes=4321,
        digest=b"\x03" * 32,
        data=b"\x89PNG-image",
    ),
    "image_inline": Image(0, 5, 64, 64, data=b"\x89PNG-image"),
    "image_copied": Image(
        0,
        5,
        64,
        64,
        key="img/2d/20261124T0531Z/" + "a" * 32,
        delete_at=1795498260,
        size_bytes=4321,
        digest=b"\x03" * 32,
        training_key="training/366d/20271124T0531Z/" + "a" * 32,
        training_delete_at=1827034260,
    ),
    "image_truncated": Image(0, 5, 64, 64, data=b"\x89PNG-image", truncated=True),
    "succeeded": Succeeded(truncated=True),
    "blocked": Blocked("sexual"),
    "failed": Failed("overloaded", "too much is waiting already", 12.5),
}


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.msgpack").read_bytes()


async def cut(data: bytes, size_bytes: int) -> AsyncIterator[bytes]:
    for first in range(0, len(data), size_bytes):
        yield data[first : first + size_bytes]


async def read_all(data: bytes, size_bytes: int = 1 << 20) -> list[Event]:
    return [event async for event in read_frames(cut(data, size_bytes))]


def with_more_fields(message: object) -> object:
    """As a newer version of the other side might send it."""
    if isinstance(message, dict):
        return {key: with_more_fields(value) for key, value in message.items()} | {"invented_later": [1, {"a": None}]}
    if isinstance(message, list):
        return [with_more_fields(value) for value in message]
    return message


# golden messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REQUESTS)
def test_a_golden_request_is_read_as_it_was_meant(name: str):
    assert decode_request(golden(name)) == REQUESTS[name]


@pytest.mark.parametrize("name", EVENTS)
async def test_a_golden_event_is_read_as_it_was_meant(name: str):
    assert await read_all(golden(name)) == [EVENTS[name]]


async def test_what_is_sent_comes_back():
    assert decode_request(encode_request(REQUEST)) == REQUEST
    assert await read_all(b"".join(map(frame, EVENTS.values()))) == list(EVENTS.values())


def test_every_event_has_a_golden_message():
    assert {type(event) for event in EVENTS.values()} == set(Event.__args__)
    assert {path.stem for path in GOLDEN.glob("*.msgpack")} == {*REQUESTS, *EVENTS}


# tolerance -----------------------------------------------------------------------------------------------------------


def test_unknown_fields_of_a_request_are_tolerated():
    newer = msgspec.msgpack.encode(with_more_fields(msgspec.msgpack.decode(golden("request"))))
    assert decode_request(newer) == REQUEST


@pytest.mark.parametrize("name", EVENTS)
async def test_unknown_fields_of_an_event_are_tolerated(name: str):
    body = msgspec.msgpack.encode(with_more_fields(msgspec.msgpack.decode(golden(name)[4:])))
    assert await read_all(len(body).to_bytes(4, "big") + body) == [EVENTS[name]]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03", b"secret prompt"])
def test_a_body_that_is_no_request_is_refused_without_quoting_it(body: bytes):
    with pytest.raises(FrameError) as caught:
        decode_request(body)
    assert str(caught.value) == "the request is not a GenerateRequest"


# frames --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [1, 2, 3, 5, 7, 64, 1000])
async def test_frames_may_be_cut_anywhere(size_bytes: int):
    stream = b"".join(map(frame, EVENTS.values()))
    assert await read_all(stream, size_bytes) == list(EVENTS.values())


async def test_an_event_is_given_as_soon_as_its_frame_is_whole():
    asked: list[int] = []

    async def chunks() -> AsyncIterator[bytes]:
        for number, event in enumerate(EVENTS.values()):
            asked.append(number)
            yield frame(event)

    events = read_frames(chunks())
    assert await anext(events) == EVENTS["queued"]
    assert asked == [0]
    await events.aclose()


async def test_a_stream_that_ends_inside_a_frame_is_an_error():
    stream = frame(EVENTS["step"])
    for end in range(1, len(stream)):
        with pytest.raises(FrameError, match="ended inside a frame"):
            await read_all(stream[:end])


async def test_a_stream_without_frames_is_empty():
    assert await read_all(b"") == []


async def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(FrameError, match="over the limit"):
        await read_all((MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"x")


async def test_a_frame_that_is_no_event_is_an_error():
    body = msgspec.msgpack.encode({"event": "invented", "prompt": "a secret"})
    with pytest.raises(FrameError) as caught:
        await read_all(len(body).to_bytes(4, "big") + body)
    assert str(caught.value) == "a frame is not an event"


# reprs ---------------------------------------------------------------------------------------------------------------


def test_no_repr_shows_a_text_a_secret_or_a_pixel():
    shown = " ".join(map(repr, [REQUEST, REQUEST.prompt, REQUEST.store, *EVENTS.values()]))
    for private in ("kite", "clouds", "\\x01\\x01", "\\x02\\x02", "PNG"):
        assert private not in shown


def test_the_repr_of_a_prompt_tells_lengths():
    assert repr(Prompt("four", "no")) == "<prompt:4+2>"


def test_an_object_key_is_not_shown():
    assert repr(EVENTS["image"]) == "<image:1>"
