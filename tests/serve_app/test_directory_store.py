"""The store that is a directory: what it promises beyond the common seam."""

import asyncio
import errno
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serve_app.errors import StoreUnavailable
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.keys import ImageKey, parse_key

MINUTE = datetime(2026, 11, 24, 5, 31, tzinfo=UTC)
IMAGE_ID = "0123456789abcdef" * 2
KEY = str(ImageKey("img", 1, MINUTE, IMAGE_ID))
PLAIN = b"not really a picture" * 100


def key_of(digit: str) -> str:
    return str(ImageKey("img", 1, MINUTE, digit * 32))


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../outside", "img/../../outside", "img//x", "img/.partial-x", "img/x\n", "img\\x", "~"]
)
async def test_a_key_that_could_escape_is_refused(tmp_path: Path, key: str):
    store = DirectoryStore(tmp_path / "objects")
    for call in (store.put(key, b"x"), store.get(key), store.delete([key])):
        with pytest.raises(ValueError, match="not a key"):
            await call
    assert files_below(tmp_path) == []


async def test_files_and_directories_are_the_owners_alone(tmp_path: Path):
    await DirectoryStore(tmp_path / "objects").put(KEY, PLAIN)
    objects = tmp_path / "objects"
    assert [path.stat().st_mode & 0o777 for path in (objects, objects / "img", objects / KEY)] == [0o700, 0o700, 0o600]


async def test_an_emptied_minute_is_no_child_any_more(tmp_path: Path):
    store = DirectoryStore(tmp_path / "objects")
    await store.put(KEY, PLAIN)
    await store.delete([KEY])
    assert await store.children("img/1d/") == []
    assert not (tmp_path / "objects" / "img").exists()


async def test_a_reader_never_sees_half_an_object(tmp_path: Path):
    store = DirectoryStore(tmp_path / "objects")
    whole = {bytes([digit]) * 1_000_000 for digit in range(8)}
    await store.put(KEY, b"\0" * 1_000_000)
    writes = asyncio.gather(*(store.put(KEY, data) for data in whole))
    while not writes.done():
        assert await store.get(KEY) in whole
        assert KEY in await store.keys("img/")
    await writes


async def test_a_write_that_fails_leaves_no_file(tmp_path: Path):
    store = DirectoryStore(tmp_path)
    (tmp_path / KEY).mkdir(parents=True)  # a file cannot replace it
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await store.put(KEY, PLAIN)
    assert files_below(tmp_path) == []


async def test_the_file_and_every_name_on_its_way_are_on_disk_before_a_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    await DirectoryStore(tmp_path).put(KEY, PLAIN)
    assert synced[0].parent == (tmp_path / KEY).parent
    assert synced[1:] == list((tmp_path / KEY).parents)[: len(KEY.split("/"))]


async def test_a_disk_that_does_not_take_the_bytes_is_no_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await DirectoryStore(tmp_path).put(KEY, PLAIN)
    assert files_below(tmp_path) == []


async def test_a_file_in_place_of_the_directory_is_unavailable_and_neither_empty_nor_gone(tmp_path: Path):
    (tmp_path / "objects").write_text("a file in its place")
    store = DirectoryStore(tmp_path / "objects")
    calls = (store.check(), store.put(KEY, PLAIN), store.get(KEY), store.delete([KEY]), store.keys("img/"))
    for call in (*calls, store.children("img/")):
        with pytest.raises(StoreUnavailable, match="the object directory cannot be"):
            await call


async def test_of_a_directory_that_is_not_mounted_nothing_is_said_and_none_takes_its_place(tmp_path: Path):
    store = DirectoryStore(tmp_path / "objects")
    await store.put(KEY, PLAIN)
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    batches = store.batches("img/", 9)
    calls = (store.get(KEY), store.delete([KEY]), store.put(KEY, PLAIN), store.check(), store.keys("img/"))
    for call in (*calls, store.children("img/"), anext(batches)):
        with pytest.raises(StoreUnavailable, match="it is not there"):
            await call
    assert not (tmp_path / "objects").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "objects")
    assert await store.get(KEY) == PLAIN


async def test_a_file_that_is_no_object_stops_nothing_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store = DirectoryStore(tmp_path)
    await store.put(KEY, PLAIN)
    strays = [place / ".DS_Store" for place in (tmp_path, tmp_path / "img", (tmp_path / KEY).parent)]
    for stray in strays:
        stray.write_bytes(b"from a file manager")
    (tmp_path / "img" / "loose").write_bytes(b"where only directories should be")
    assert await store.children("img/loose/") == []
    [batch] = [batch async for batch in store.batches("img/1d/", 9)]
    assert batch == await store.keys("img/1d/") == [KEY]
    await store.delete(batch)
    assert await store.children("img/") == ["loose"], "a minute with strays alone holds nothing"
    assert all(stray.exists() for stray in strays)
    assert "files that are no objects lie among the objects, and stay: 1" in caplog.text
    assert "DS_Store" not in caplog.text


async def test_what_a_killed_writer_left_goes_with_its_minute(tmp_path: Path):
    stuck = f"""
import asyncio, os, pathlib
from serve_app.storage.directory import DirectoryStore
os.fsync = lambda _: os.kill(os.getpid(), 9)
asyncio.run(DirectoryStore(pathlib.Path({str(tmp_path)!r})).put({KEY!r}, {PLAIN!r}))
"""
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", stuck)
    assert await killed.wait() == -signal.SIGKILL
    store = DirectoryStore(tmp_path)
    [left] = await store.keys("img/")
    assert parse_key(left)._replace(image_id=IMAGE_ID) == parse_key(KEY), "an object of its minute, of an unknown id"
    await store.delete([left])
    assert files_below(tmp_path) == []


async def test_an_image_survives_that_its_minute_is_emptied_while_it_comes(tmp_path: Path):
    store = DirectoryStore(tmp_path)
    for _ in range(100):
        await store.put(key_of("a"), PLAIN)
        await asyncio.gather(store.delete([key_of("a")]), store.put(key_of("b"), PLAIN))
        assert await store.keys("img/") == [key_of("b")]
        await store.delete([key_of("b")])
