"""Delivery alone: pictures of several requests in one decode, and what each of them hears."""

import asyncio
from collections.abc import AsyncIterator, Sequence, Set
from pathlib import Path

import msgspec
import pytest

from serve_app.contract import (
    Blocked,
    Event,
    Failed,
    GenerateRequest,
    Image,
    Preview,
    Prompt,
    Slot,
    StoreOrder,
    Succeeded,
    TrainingOrder,
    Turn,
)
from serve_app.delivery import Delivery
from serve_app.errors import ModerationUnavailable, StoreUnavailable
from serve_app.marks import xmp_packet
from serve_app.pipelines.pipeline import Picture
from serve_app.safety import PictureBlocked
from serve_app.storage.directory import DirectoryStore
from serve_app.work import Work
from tests.serve_app.counting_pipeline import NATIVE_PX, CountingPipeline, CountingRow, Poison
from tests.serve_app.harmless import Harmless

MARK = xmp_packet("test", "1")


@pytest.fixture
def pipeline() -> CountingPipeline:
    return CountingPipeline()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "objects")


@pytest.fixture
async def delivery(pipeline: CountingPipeline, store: DirectoryStore) -> AsyncIterator[Delivery]:
    delivery = Delivery(pipeline, store, MARK, Harmless())
    yield delivery
    delivery.close()


def started(pipeline: CountingPipeline, seed: int, *, n: int = 1, inline: bool = False, stored: bool = True) -> Work:
    slots = [Slot(f"{seed + index:032x}", b"\x05" * 32) for index in range(n)]
    request = GenerateRequest(
        job_id=f"gen_{seed}",
        model="counting",
        policy_digest="d",
        prompt=Prompt("a cat"),
        n=n,
        width_px=32,
        height_px=16,
        steps=4,
        guidance=1.0,
        seed=seed,
        turn=Turn("anonymous", "t", 1.0, 60.0),
        inline=inline,
        store=StoreOrder("img", 1, 3600, slots) if stored else None,
    )
    work = Work(request, pipeline.batch_key)
    work.rows.update(enumerate(pipeline.start(work.specs)))
    return work


async def heard(work: Work, count: int) -> list[Event]:
    return [await work.outbox.next() for _ in range(count)]


async def test_the_last_image_is_followed_by_succeeded(delivery: Delivery, pipeline: CountingPipeline):
    work = started(pipeline, 10, n=2)
    await delivery.images([(work, 1)])
    await delivery.images([(work, 0)])
    first, second, last = await heard(work, 3)
    assert isinstance(first, Image)
    assert isinstance(second, Image)
    assert (first.index, second.index, last) == (1, 0, Succeeded())


async def test_an_image_tells_in_which_size_it_was_drawn(delivery: Delivery, pipeline: CountingPipeline):
    work = started(pipeline, 10, inline=True, stored=False)
    await delivery.images([(work, 0)])
    image = (await heard(work, 1))[0]
    assert isinstance(image, Image)
    assert (image.native_width_px, image.native_height_px) == (NATIVE_PX, NATIVE_PX)


@pytest.mark.parametrize(("inline", "stored"), [(True, False), (False, True), (True, True)])
async def test_bytes_go_only_where_they_were_asked_for(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore, inline: bool, stored: bool
):
    work = started(pipeline, 10, inline=inline, stored=stored)
    await delivery.images([(work, 0)])
    image = (await heard(work, 1))[0]
    assert isinstance(image, Image)
    assert (image.data is not None, image.key is not None) == (inline, stored)
    assert await store.keys("img/") == ([image.key] if stored else [])


async def test_a_picture_that_cannot_be_decoded_fails_its_request_alone(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore
):
    pipeline.undecodable = {20}
    works = [started(pipeline, seed) for seed in (10, 20, 30)]
    await delivery.images([(work, 0) for work in works])
    good, bad, other = [(await heard(work, 1))[0] for work in works]
    assert isinstance(good, Image)
    assert bad == Failed("engine_failed", "decoding failed")
    assert isinstance(other, Image)
    assert len(await store.keys("img/")) == 2


async def test_a_file_that_cannot_be_made_fails_the_request(pipeline: CountingPipeline, store: DirectoryStore):
    delivery = Delivery(pipeline, store, mark=b"\xff is no UTF-8", safety=Harmless())
    work = started(pipeline, 10)
    await delivery.images([(work, 0)])
    delivery.close()
    assert await heard(work, 1) == [Failed("engine_failed", "encoding failed")]


async def test_work_that_is_over_is_neither_decoded_nor_stored(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore
):
    pipeline.undecodable = {10}
    over, alive = started(pipeline, 10), started(pipeline, 20)
    over.is_over = True
    await delivery.images([(over, 0), (alive, 0)])
    await delivery.images([(over, 0)])
    assert isinstance((await heard(alive, 1))[0], Image)
    assert len(await store.keys("img/")) == 1


async def test_a_caller_who_leaves_during_the_decode_leaves_nothing_in_the_store(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore
):
    work = started(pipeline, 10, n=4)
    pipeline.decode_gate.clear()
    delivering = asyncio.create_task(delivery.images([(work, index) for index in range(4)]))
    assert await asyncio.to_thread(pipeline.decoding.wait, 10)
    work.is_over = True
    pipeline.decode_gate.set()
    await delivering
    assert await store.keys("img/") == []


async def test_after_one_image_failed_no_other_is_stored(pipeline: CountingPipeline, store: DirectoryStore):
    refusing = RefusingStore(store, refused=1)
    delivery = Delivery(pipeline, refusing, MARK, Harmless())
    work = started(pipeline, 10, n=4)
    await delivery.images([(work, 0)])
    await delivery.images([(work, index) for index in range(1, 4)])
    delivery.close()
    assert await heard(work, 1) == [Failed("store_unavailable", "full")]
    assert await store.keys("img/") == []


class RefusingStore:
    """Refuses the first `refused` objects."""

    def __init__(self, store: DirectoryStore, refused: int) -> None:
        self._store = store
        self._refused = refused
        self.keys, self.get, self.delete = store.keys, store.get, store.delete
        self.children, self.check = store.children, store.check

    async def put(self, key: str, data: bytes) -> None:
        if self._refused:
            self._refused -= 1
            raise StoreUnavailable("full")
        await self._store.put(key, data)


async def test_a_preview_is_a_file_of_its_own_number_and_is_never_stored(
    delivery: Delivery, pipeline: CountingPipeline, store: DirectoryStore
):
    work = started(pipeline, 10)
    await delivery.previews([(work, 0, 2)])
    preview = (await heard(work, 1))[0]
    assert isinstance(preview, Preview)
    assert (preview.index, preview.number) == (0, 2)
    assert preview.data.startswith(b"\x89PNG")
    assert await store.keys("img/") == []


async def test_previews_that_are_under_way_come_in_order_and_before_their_image(
    delivery: Delivery, pipeline: CountingPipeline
):
    work = started(pipeline, 10, n=4, stored=False)
    due = [[(work, index, number) for index in range(4)] for number in range(3)]
    await asyncio.gather(
        *(delivery.previews(pass_) for pass_ in due), delivery.images([(work, index) for index in range(4)])
    )
    events = await heard(work, 17)
    for index in range(4):
        mine = [event for event in events if isinstance(event, Preview | Image) and event.index == index]
        assert [event.number for event in mine if isinstance(event, Preview)] == [0, 1, 2]
        assert isinstance(mine[-1], Image)


async def test_a_preview_that_cannot_be_drawn_holds_no_image_up(pipeline: CountingPipeline, store: DirectoryStore):
    delivery = Delivery(BlindPipeline(), store, MARK, Harmless())
    work = started(pipeline, 10)
    failed, _ = await asyncio.gather(
        delivery.previews([(work, 0, 0)]), delivery.images([(work, 0)]), return_exceptions=True
    )
    delivery.close()
    assert isinstance(failed, Poison)
    assert isinstance((await heard(work, 1))[0], Image)


class BlindPipeline(CountingPipeline):
    """Draws pictures and no previews."""

    def preview(self, rows: Sequence[CountingRow]) -> list[Picture]:
        raise Poison


class Wary:
    """Lets nobody see the pictures of these seeds, and cannot tell of those; remembers whether adults were to see."""

    def __init__(self, *, blocked: Set[int] = frozenset(), unclear: Set[int] = frozenset()) -> None:
        self._blocked = blocked
        self._unclear = unclear
        self.asked: list[bool] = []

    def check(self, picture: Picture, *, adult: bool) -> None:
        self.asked.append(adult)
        if (seed := int(picture[0, 0, 0])) in self._blocked:
            raise PictureBlocked("sexual")
        if seed in self._unclear:
            raise ModerationUnavailable("the classifier of pictures failed")


async def test_a_picture_that_may_not_be_seen_ends_its_request_and_is_not_stored(
    pipeline: CountingPipeline, store: DirectoryStore
):
    delivery = Delivery(pipeline, store, MARK, Wary(blocked={20}))
    works = [started(pipeline, seed, inline=True) for seed in (10, 20, 30)]
    await delivery.images([(work, 0) for work in works])
    delivery.close()
    good, bad, other = [(await heard(work, 1))[0] for work in works]
    assert isinstance(good, Image)
    assert bad == Blocked("sexual")
    assert works[1].is_over
    assert isinstance(other, Image)
    assert sorted(await store.keys("img/")) == sorted(str(image.key) for image in (good, other))


async def test_after_one_image_was_blocked_no_other_is_drawn_stored_or_told(
    pipeline: CountingPipeline, store: DirectoryStore
):
    delivery = Delivery(pipeline, store, MARK, Wary(blocked={10, 12}))
    work = started(pipeline, 10, n=4)
    await delivery.images([(work, 0)])
    await delivery.images([(work, index) for index in range(1, 4)])
    delivery.close()
    work.outbox.post(Succeeded())
    assert await heard(work, 2) == [Blocked("sexual"), Succeeded()]
    assert await store.keys("img/") + await store.keys("training/") == []


async def test_a_blocked_picture_is_not_copied_for_training(pipeline: CountingPipeline, store: DirectoryStore):
    delivery = Delivery(pipeline, store, MARK, Wary(blocked={10}))
    plain = started(pipeline, 10)
    training = TrainingOrder("training", 366, 31_536_000, b"\x04" * 32)
    work = Work(msgspec.structs.replace(plain.request, training=training), pipeline.batch_key)
    work.rows.update(enumerate(pipeline.start(work.specs)))
    await delivery.images([(work, 0)])
    delivery.close()
    assert await heard(work, 1) == [Blocked("sexual")]
    assert await store.keys("img/") + await store.keys("training/") == []


async def test_where_no_picture_can_be_checked_none_leaves(pipeline: CountingPipeline, store: DirectoryStore):
    delivery = Delivery(pipeline, store, MARK, Wary(unclear={10}))
    work = started(pipeline, 10, inline=True)
    await delivery.previews([(work, 0, 0)])
    await delivery.images([(work, 0)])
    delivery.close()
    assert await heard(work, 1) == [Failed("moderation_unavailable", "the classifier of pictures failed")]
    assert await store.keys("img/") + await store.keys("training/") == []


async def test_a_preview_that_may_not_be_seen_is_not_sent_and_the_others_are(
    pipeline: CountingPipeline, store: DirectoryStore
):
    delivery = Delivery(pipeline, store, MARK, Wary(blocked={11}, unclear={12}))
    work = started(pipeline, 10, n=4, stored=False)
    await delivery.previews([(work, index, 0) for index in range(4)])
    work.outbox.post(Succeeded())
    first, second, last = await heard(work, 3)
    delivery.close()
    assert isinstance(first, Preview)
    assert isinstance(second, Preview)
    assert ({first.index, second.index}, last) == ({0, 3}, Succeeded())


async def test_every_picture_is_checked_for_the_caller_who_asked(pipeline: CountingPipeline, store: DirectoryStore):
    wary = Wary()
    delivery = Delivery(pipeline, store, MARK, wary)
    young = started(pipeline, 10, stored=False)
    grown = Work(msgspec.structs.replace(young.request, adult=True), pipeline.batch_key)
    grown.rows.update(enumerate(pipeline.start(grown.specs)))
    for work in (young, grown):
        await delivery.previews([(work, 0, 0)])
        await delivery.images([(work, 0)])
    delivery.close()
    assert wary.asked == [False, False, True, True]
