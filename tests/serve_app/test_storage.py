"""Both stores behind their one protocol, the keys that say when, and the seal."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from serve_app.contract import Slot, StoreOrder
from serve_app.encode import encode
from serve_app.errors import StoreUnavailable
from serve_app.storage import s3 as s3_module
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.keys import ImageKey, delete_minute, minute_name, parse_key, parse_minute
from serve_app.storage.opening import open_store
from serve_app.storage.s3 import S3Store
from serve_app.storage.sealing import SealBroken, image_secret, seal, unseal
from serve_app.storage.store import ObjectGone, ObjectStore, StoreSettings, put_image
from tests.servers import S3Server, free_ports

MINUTE = datetime(2026, 11, 24, 5, 31, tzinfo=UTC)
IMAGE_ID = "0123456789abcdef" * 2
KEY = str(ImageKey("img", 1, MINUTE, IMAGE_ID))
SECRET = bytes(range(32))
PICTURE = np.random.default_rng(7).integers(0, 256, (64, 64, 3)).astype(np.uint8)
PLAIN = b"not really a picture" * 100


def s3_settings(server: S3Server, bucket: str, directory: Path) -> StoreSettings:
    return StoreSettings(
        directory=directory,
        s3_url=server.url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        bucket=bucket,
    )


@pytest.fixture(params=["directory", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """An empty store of each kind, there and writable."""
    if request.param == "directory":
        directory = DirectoryStore(tmp_path / "objects")
        await directory.check()
        yield directory
        return
    server: S3Server = request.getfixturevalue("s3")
    bucket = f"t{uuid.uuid4().hex}"
    server.client().make_bucket(bucket)
    yield S3Store(s3_settings(server, bucket, tmp_path))
    server.client().remove_bucket(bucket)


@pytest.fixture
async def filled(store: ObjectStore) -> AsyncIterator[ObjectStore]:
    """Three images in two minutes of one class, and one in another class."""
    keys = [key_of(1, 31, "a"), key_of(1, 31, "b"), key_of(1, 32, "c"), key_of(8, 31, "d")]
    for key in keys:
        await store.put(key, key.encode())
    yield store
    await store.delete(keys)


def key_of(days: int, minute: int, digit: str) -> str:
    return str(ImageKey("img", days, MINUTE.replace(minute=minute), digit * 32))


# both stores ---------------------------------------------------------------------------------------------------------


async def test_what_is_put_comes_back(store: ObjectStore):
    await store.put(KEY, PLAIN)
    assert await store.get(KEY) == PLAIN
    await store.delete([KEY])


async def test_a_second_put_replaces_the_first(store: ObjectStore):
    await store.put(KEY, b"old")
    await store.put(KEY, b"new")
    assert await store.get(KEY) == b"new"
    assert await store.keys("img/") == [KEY]
    await store.delete([KEY])


async def test_an_object_that_never_was_is_gone(store: ObjectStore):
    with pytest.raises(ObjectGone):
        await store.get(KEY)


async def test_a_deleted_object_is_gone(filled: ObjectStore):
    await filled.delete([key_of(1, 31, "a")])
    with pytest.raises(ObjectGone):
        await filled.get(key_of(1, 31, "a"))
    assert await filled.get(key_of(1, 31, "b")) == key_of(1, 31, "b").encode()


async def test_deleting_twice_or_nothing_is_no_error(filled: ObjectStore):
    await filled.delete([key_of(1, 31, "a")])
    await filled.delete([key_of(1, 31, "a"), key_of(1, 31, "b"), KEY])
    await filled.delete([])
    assert await filled.keys("img/1d/") == [key_of(1, 32, "c")]


async def test_children_are_the_names_one_level_below(filled: ObjectStore):
    assert await filled.children("img/") == ["1d", "8d"]
    assert await filled.children("img/1d/") == ["20261124T0531Z", "20261124T0532Z"]
    assert await filled.children("img/2d/") == []


async def test_children_later_than_asked_are_not_looked_at(filled: ObjectStore):
    assert await filled.children("img/1d/", until="20261124T0531Z") == ["20261124T0531Z"]
    assert await filled.children("img/1d/", until="20261124T0530Z") == []
    assert await filled.children("img/1d/", until="20261124T0532Z") == ["20261124T0531Z", "20261124T0532Z"]


async def test_a_loose_object_that_sorts_later_hides_no_minute(filled: ObjectStore):
    loose = ["img/1d/zzz", "img/1d/a"]
    for key in loose:
        await filled.put(key, b"anybody who may store anything may store this")
    assert await filled.children("img/1d/", until="20261124T0531Z") == ["20261124T0531Z"]
    await filled.delete(loose)


async def test_batches_hand_out_every_key_once_while_they_are_deleted(store: ObjectStore):
    keys = [key_of(1, 31, digit) for digit in "0123456"]
    for key in keys:
        await store.put(key, b"x")
    seen: list[str] = []
    async for batch in store.batches("img/1d/20261124T0531Z/", 3):
        assert 0 < len(batch) <= 3
        await store.delete(batch)
        seen += batch
    assert sorted(seen) == keys
    assert await store.keys("img/") == []
    assert [batch async for batch in store.batches("img/1d/", 3)] == []


async def test_an_emptied_minute_holds_nothing(filled: ObjectStore):
    await filled.delete(await filled.keys("img/1d/20261124T0531Z/"))
    assert await filled.keys("img/1d/20261124T0531Z/") == []
    assert await filled.keys("img/1d/") == [key_of(1, 32, "c")]


async def test_keys_are_all_below_the_prefix(filled: ObjectStore):
    assert await filled.keys("img/1d/20261124T0531Z/") == [key_of(1, 31, "a"), key_of(1, 31, "b")]
    assert len(await filled.keys("img/")) == 4
    assert await filled.keys("training/") == []


async def test_a_store_that_is_there_passes_its_check(store: ObjectStore):
    await store.check()


async def test_a_stored_image_opens_only_with_its_secret_and_key(store: ObjectStore):
    order = StoreOrder("img", 1, 3600, [Slot("f" * 32, b"\x01" * 32), Slot(IMAGE_ID, SECRET)])
    stored = await put_image(store, order, 1, PLAIN, MINUTE.timestamp() - 3630)
    assert stored.key == KEY
    assert stored.delete_at == MINUTE.timestamp()
    sealed = await store.get(stored.key)
    assert (stored.size_bytes, stored.digest) == (len(sealed), sha256(sealed).digest())
    assert PLAIN[:20] not in sealed
    assert unseal(SECRET, stored.key, sealed) == PLAIN
    await store.delete([stored.key])


# the directory -------------------------------------------------------------------------------------------------------


async def test_a_stolen_directory_shows_no_picture(tmp_path: Path):
    store = DirectoryStore(tmp_path)
    file = encode(PICTURE, width_px=64, height_px=64, output_format="png", compression=None, mark=b"")
    stored = await put_image(store, StoreOrder("img", 1, 3600, [Slot(IMAGE_ID, SECRET)]), 0, file, MINUTE.timestamp())
    stolen = (tmp_path / stored.key).read_bytes()
    assert unseal(SECRET, stored.key, stolen) == file
    assert not any(file[at : at + 8] in stolen for at in range(len(file) - 7))
    for guess in (bytes(32), sha256(IMAGE_ID.encode()).digest(), stolen[1:33], sha256(stored.key.encode()).digest()):
        with pytest.raises(SealBroken):
            unseal(guess, stored.key, stolen)


# S3 ------------------------------------------------------------------------------------------------------------------


async def test_a_missing_bucket_is_said_clearly(s3: S3Server, tmp_path: Path):
    store = S3Store(s3_settings(s3, "nobody-made-it", tmp_path))
    with pytest.raises(StoreUnavailable, match="the bucket nobody-made-it does not exist"):
        await store.check()
    with pytest.raises(StoreUnavailable, match=r"refused .*NoSuchBucket"):
        await store.get(KEY)


async def test_wrong_credentials_are_refused_at_once(s3: S3Server, tmp_path: Path):
    wrong = S3Server(s3.url, secret_key="another")
    with pytest.raises(StoreUnavailable, match=r"refused .*SignatureDoesNotMatch"):
        await S3Store(s3_settings(wrong, "any", tmp_path)).put(KEY, PLAIN)


async def test_a_thousand_and_one_objects_go_in_one_call(s3: S3Server, tmp_path: Path):
    """S3 takes a thousand names at once."""
    bucket = f"t{uuid.uuid4().hex}"
    s3.client().make_bucket(bucket)
    store = S3Store(s3_settings(s3, bucket, tmp_path))
    await store.put(KEY, PLAIN)
    never_were = [str(ImageKey("img", 1, MINUTE, f"{number:032x}")) for number in range(1000)]
    await store.delete([*never_were, KEY])
    assert await store.keys("img/") == []
    s3.client().remove_bucket(bucket)


async def test_a_store_that_is_down_is_unavailable_after_retries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(s3_module, "FIRST_PAUSE_S", 0.001)
    down = S3Server(f"http://127.0.0.1:{free_ports(1)[0]}")
    store = S3Store(s3_settings(down, "any", tmp_path))
    for call in (store.put(KEY, PLAIN), store.get(KEY), store.delete([KEY]), store.keys("img/"), store.check()):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await call


async def test_a_connection_that_breaks_twice_costs_no_image(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3_module, "FIRST_PAUSE_S", 0.001)
    bucket = f"t{uuid.uuid4().hex}"
    s3.client().make_bucket(bucket)
    direct = S3Store(s3_settings(s3, bucket, tmp_path))
    async with breaking_proxy(s3, breaks=s3_module.ATTEMPTS - 1) as proxy:
        await S3Store(s3_settings(proxy, bucket, tmp_path)).put(KEY, PLAIN)
    assert await direct.get(KEY) == PLAIN
    await direct.delete([KEY])
    s3.client().remove_bucket(bucket)


@asynccontextmanager
async def breaking_proxy(server: S3Server, breaks: int) -> AsyncGenerator[S3Server]:
    """Hangs up on the first `breaks` connections and passes everything on for those after them."""
    arrived: list[asyncio.Task[None]] = []
    open_ends: list[asyncio.StreamWriter] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(arrived) <= breaks:
            writer.close()
            return
        host, port = server.url.removeprefix("http://").split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        open_ends.extend((writer, far_writer))
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(asyncio.create_task(serve(reader, writer)))

    listening = await asyncio.start_server(arrive, "127.0.0.1", 0)
    async with listening:
        yield S3Server(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    for end in open_ends:
        end.close()
    await asyncio.gather(*arrived)
    assert len(arrived) == breaks + 1


def test_an_address_makes_it_s3(tmp_path: Path):
    assert isinstance(open_store(StoreSettings(directory=tmp_path)), DirectoryStore)
    assert isinstance(open_store(StoreSettings(directory=tmp_path, s3_url="http://127.0.0.1:9")), S3Store)


# keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_survives_the_round_trip():
    assert KEY == f"img/1d/20261124T0531Z/{IMAGE_ID}"
    assert parse_key(KEY) == ImageKey("img", 1, MINUTE, IMAGE_ID)
    assert parse_minute(minute_name(MINUTE)) == MINUTE


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"img/0d/20261124T0531Z/{IMAGE_ID}",
        f"img/1d/20261124T0531/{IMAGE_ID}",
        f"img/1d/20261324T0531Z/{IMAGE_ID}",
        f"img/1d/20261124T0531Z/{IMAGE_ID}0",
        f"img/1d/20261124T0531Z/{IMAGE_ID.upper()}",
        f"img/1d/20261124T0531Z/{IMAGE_ID}\n",
        f"../img/1d/20261124T0531Z/{IMAGE_ID}",
        "img/1d/canary/one",
    ],
)
def test_another_shape_is_no_key(text: str):
    with pytest.raises(ValueError, match=r"not the key|does not match format"):
        parse_key(text)


@pytest.mark.parametrize(
    ("stored_after_s", "minute"), [(0.0, 31), (0.001, 32), (59.0, 32), (59.999, 32), (60.0, 32), (60.5, 33)]
)
def test_the_minute_is_rounded_up(stored_after_s: float, minute: int):
    stored_at_s = (MINUTE - timedelta(hours=1)).timestamp() + stored_after_s
    assert delete_minute(stored_at_s, 3600) == MINUTE.replace(minute=minute)


def test_names_of_minutes_sort_like_time():
    minutes = [MINUTE + timedelta(minutes=997 * step) for step in range(300)]
    assert sorted(map(minute_name, minutes)) == list(map(minute_name, minutes))


# the seal ------------------------------------------------------------------------------------------------------------


def test_a_sealed_image_opens():
    assert unseal(SECRET, KEY, seal(SECRET, KEY, PLAIN)) == PLAIN


def test_the_same_image_is_never_sealed_to_the_same_bytes():
    assert seal(SECRET, KEY, PLAIN) != seal(SECRET, KEY, PLAIN)


def test_a_flipped_bit_anywhere_breaks_the_seal():
    sealed = seal(SECRET, KEY, b"short")
    for at in range(len(sealed)):
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        with pytest.raises(SealBroken):
            unseal(SECRET, KEY, bytes(flipped))


def test_bytes_cut_anywhere_do_not_open():
    sealed = seal(SECRET, KEY, b"short")
    for end in range(len(sealed)):
        with pytest.raises(SealBroken):
            unseal(SECRET, KEY, sealed[:end])


def test_bytes_moved_to_another_key_do_not_open():
    with pytest.raises(SealBroken):
        unseal(SECRET, key_of(1, 32, "c"), seal(SECRET, KEY, PLAIN))


def test_another_secret_does_not_open():
    with pytest.raises(SealBroken):
        unseal(bytes(32), KEY, seal(SECRET, KEY, PLAIN))


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_secret_of_another_length_seals_nothing(secret: bytes):
    for call in (lambda: seal(secret, KEY, PLAIN), lambda: image_secret(secret, IMAGE_ID)):
        with pytest.raises(ValueError, match="a secret has 32 bytes"):
            call()


def test_each_image_of_an_owner_has_a_secret_of_its_own():
    assert len(image_secret(SECRET, "a" * 32)) == 32
    assert image_secret(SECRET, "a" * 32) == image_secret(SECRET, "a" * 32)
    assert len({image_secret(SECRET, "a" * 32), image_secret(SECRET, "b" * 32), image_secret(bytes(32), "a" * 32)}) == 3
