"""The copy for training: who can open it, what it holds, and that it never stands in the picture's way."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from serve_app.contract import Event, GenerateRequest, Image, Prompt, Slot, StoreOrder, Succeeded, TrainingOrder, Turn
from serve_app.delivery import Delivery
from serve_app.errors import StoreUnavailable
from serve_app.marks import xmp_packet
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.keys import parse_key
from serve_app.storage.sealing import unseal
from serve_app.storage.store import ObjectStore
from serve_app.training import CopyBroken, TrainingCopy, open_copy, seal_copy
from serve_app.work import Work
from tests.serve_app.counting_pipeline import CountingPipeline
from tests.serve_app.harmless import Harmless

OPERATOR = X25519PrivateKey.generate()
PUBLIC = OPERATOR.public_key().public_bytes_raw()
SECRET = b"\x05" * 32
IMAGE_ID = "a" * 32
KEY = f"training/366d/20271124T0531Z/{IMAGE_ID}"
COPY = TrainingCopy(b"a file", "png", "a red apple", "counting", 32, 16)
REQUEST = GenerateRequest(
    job_id="gen_1",
    model="counting",
    policy_digest="d",
    prompt=Prompt("a red apple", "clouds"),
    n=1,
    width_px=32,
    height_px=16,
    steps=4,
    guidance=1.5,
    seed=123_456_789,
    turn=Turn("anonymous", "t", 1.0, 60.0),
    store=StoreOrder("img", 1, 3600, [Slot(IMAGE_ID, SECRET)]),
    training=TrainingOrder("training", 366, 365 * 86400, PUBLIC),
)


@pytest.fixture
def pipeline() -> CountingPipeline:
    return CountingPipeline()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")


@pytest.fixture
async def delivery(pipeline: CountingPipeline, store: DirectoryStore) -> AsyncIterator[Delivery]:
    delivery = Delivery(pipeline, store, xmp_packet("test", "1"), Harmless())
    yield delivery
    delivery.close()


def started(pipeline: CountingPipeline, request: GenerateRequest = REQUEST) -> Work:
    work = Work(request, pipeline.batch_key)
    work.rows.update(enumerate(pipeline.start(work.specs)))
    return work


async def finished(delivery: Delivery, work: Work) -> Image:
    await delivery.images([(work, 0)])
    image, last = await work.outbox.next(), await work.outbox.next()
    assert isinstance(image, Image)
    assert last == Succeeded()
    return image


def test_only_the_operators_key_opens_a_copy():
    sealed = seal_copy(PUBLIC, KEY, COPY)
    assert b"red apple" not in sealed
    assert open_copy(OPERATOR, KEY, sealed) == COPY
    with pytest.raises(CopyBroken):
        open_copy(X25519PrivateKey.generate(), KEY, sealed)


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\x02", "moved", "cut", "changed"])
def test_bytes_that_are_no_copy_do_not_open(broken: bytes | str):
    sealed, key = seal_copy(PUBLIC, KEY, COPY), KEY
    match broken:
        case bytes():
            sealed = broken
        case "moved":
            key = KEY.replace("a" * 32, "b" * 32)
        case "cut":
            sealed = sealed[:-1]
        case _:
            sealed = sealed[:40] + bytes([sealed[40] ^ 1]) + sealed[41:]
    with pytest.raises(CopyBroken):
        open_copy(OPERATOR, key, sealed)


async def test_a_copy_holds_the_picture_its_prompt_and_its_size_and_neither_seed_nor_settings(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore
):
    image = await finished(delivery, started(pipeline))
    assert image.training_key is not None
    assert image.key is not None
    place = parse_key(image.training_key)
    assert (place.prefix, place.class_days, place.image_id) == ("training", 366, IMAGE_ID)
    assert place.delete_at.timestamp() == image.training_delete_at

    copy = open_copy(OPERATOR, image.training_key, await store.get(image.training_key))
    file = unseal(SECRET, image.key, await store.get(image.key))
    assert copy == TrainingCopy(file, "png", "a red apple", "counting", 32, 16)
    assert not {"seed", "steps", "guidance", "negative"} & set(copy.__struct_fields__)
    for unwanted in (b"clouds", REQUEST.seed):
        assert msgspec.msgpack.encode(unwanted) not in msgspec.msgpack.encode(copy)


@pytest.mark.parametrize(
    "request_",
    [msgspec.structs.replace(REQUEST, training=None), msgspec.structs.replace(REQUEST, store=None, inline=True)],
    ids=["not ordered", "not stored"],
)
async def test_without_an_order_or_without_a_stored_picture_there_is_no_copy(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore, request_: GenerateRequest
):
    image = await finished(delivery, started(pipeline, request_))
    assert (image.training_key, image.training_delete_at) == (None, None)
    assert await store.keys("training/") == []


class CopiesRefused:
    """A store that takes pictures, and does `instead` with copies."""

    def __init__(self, store: DirectoryStore, instead: str, work: Work | None = None) -> None:
        self._store, self._instead, self._work = store, instead, work
        self.keys, self.get, self.delete = store.keys, store.get, store.delete
        self.children, self.check = store.children, store.check

    async def put(self, key: str, data: bytes) -> None:
        if key.startswith("img/"):
            if self._instead == "leave" and self._work is not None:
                self._work.is_over = True
        elif self._instead == "refuse":
            raise StoreUnavailable("full")
        elif self._instead == "hang":
            await asyncio.Event().wait()
        await self._store.put(key, data)


@pytest.mark.parametrize("instead", ["refuse", "hang"])
async def test_a_copy_that_cannot_be_stored_is_left_out_and_the_picture_comes(
    pipeline: CountingPipeline, store: DirectoryStore, instead: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    monkeypatch.setattr("serve_app.delivery.COPY_S", 0.05)
    with caplog.at_level(logging.WARNING, "serve_app"):
        image = await delivered(CopiesRefused(store, instead), pipeline, started(pipeline))
    assert isinstance(image, Image)
    assert image.key is not None
    assert image.training_key is None
    assert f"image {IMAGE_ID} has no copy for training" in caplog.text
    assert "apple" not in caplog.text


async def test_a_key_that_is_no_key_costs_the_copy_and_not_the_picture(
    pipeline: CountingPipeline, store: DirectoryStore
):
    order = TrainingOrder("training", 366, 3600, b"short")
    image = await delivered(store, pipeline, started(pipeline, msgspec.structs.replace(REQUEST, training=order)))
    assert isinstance(image, Image)
    assert image.training_key is None


async def test_a_caller_who_leaves_after_the_picture_was_stored_leaves_no_copy(
    pipeline: CountingPipeline, store: DirectoryStore
):
    work = started(pipeline)
    delivery = Delivery(pipeline, CopiesRefused(store, "leave", work), xmp_packet("test", "1"), Harmless())
    await delivery.images([(work, 0)])
    delivery.close()
    assert await store.keys("training/") == []


async def delivered(store: ObjectStore, pipeline: CountingPipeline, work: Work) -> Event:
    delivery = Delivery(pipeline, store, xmp_packet("test", "1"), Harmless())
    await delivery.images([(work, 0)])
    delivery.close()
    return await work.outbox.next()
