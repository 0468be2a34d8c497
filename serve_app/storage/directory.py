"""Objects as files below a directory: the embedded default. It has no lifecycle backstop; the deleter is all."""

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from serve_app.errors import StoreUnavailable
from serve_app.storage.store import ObjectGone

log = logging.getLogger(__name__)

ATTEMPTS = 5
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KEY = re.compile(rf"{_NAME.pattern}(/{_NAME.pattern})*")


class DirectoryStore:
    """Files are 0600, directories 0700; an object appears whole, by rename, and what was put survives a power cut.
    Emptied directories are removed.

    Until then it is an object of a name that nobody knows, beside its own: whatever removes those in their time removes
    what a writer who was killed left half written. Files of names that no key has are none of ours, and stay.

    The root is made once, here. One that is missing later is not mounted: nothing can be said about what lies there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with contextlib.suppress(OSError):  # each call says what is wrong with it
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, self._path(key), data)

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._get, self._path(key))

    async def delete(self, keys: Sequence[str]) -> None:
        await asyncio.to_thread(self._delete, [self._path(key) for key in keys])

    async def children(self, prefix: str, *, until: str | None = None) -> list[str]:
        return await asyncio.to_thread(self._children, self._path(prefix.rstrip("/")), until)

    async def keys(self, prefix: str) -> list[str]:
        return await asyncio.to_thread(self._keys, self._path(prefix.rstrip("/")))

    async def batches(self, prefix: str, size: int) -> AsyncIterator[list[str]]:
        files = _files(self._path(prefix.rstrip("/")))
        while batch := await asyncio.to_thread(self._next, files, size):
            yield batch

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("not a key")
        return self._root / key

    def _put(self, path: Path, data: bytes) -> None:
        with self._at_root("written"):
            partial, handle = self._open_beside(path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            for directory in (*self._inside(path.parent), self._root):
                _keep_names(directory)

    def _open_beside(self, path: Path) -> tuple[Path, int]:
        """Again where the deleter removed the directory between making it and opening a file there."""
        partial = path.with_name(secrets.token_hex(16))
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError, FileExistsError):  # the latter from mkdir
                return partial, self._open_new(partial)
        return partial, self._open_new(partial)

    def _open_new(self, path: Path) -> int:
        self._make(path.parent)
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)

    def _get(self, path: Path) -> bytes:
        with self._at_root("read"):
            try:
                return path.read_bytes()
            except FileNotFoundError as error:
                raise ObjectGone("no such object") from error

    def _delete(self, paths: Sequence[Path]) -> None:
        with self._at_root("emptied"):
            for path in paths:
                path.unlink(missing_ok=True)
            left = {parent for directory in {path.parent for path in paths} for parent in self._inside(directory)}
            for parent in sorted(left, key=lambda path: len(path.parts), reverse=True):  # innermost first
                with contextlib.suppress(OSError):  # not empty, or gone already
                    parent.rmdir()

    def _children(self, directory: Path, until: str | None) -> list[str]:
        with self._at_root("read"):
            entries = [entry for entry in _entries(directory) if until is None or entry.name <= until]
            return sorted(entry.name for entry in entries if entry.is_file() or any(_files(entry)))

    def _next(self, files: Iterator[Path], size: int) -> list[str]:
        with self._at_root("read"):
            return [file.relative_to(self._root).as_posix() for file in islice(files, size)]

    def _keys(self, directory: Path) -> list[str]:
        with self._at_root("read"):
            return sorted(file.relative_to(self._root).as_posix() for file in _files(directory))

    def _check(self) -> None:
        with self._at_root("written"):
            with tempfile.TemporaryFile(dir=self._root):
                pass

    def _make(self, directory: Path) -> None:
        for missing in reversed(self._inside(directory)):  # `parents=True` gives its mode to the last one only
            missing.mkdir(mode=0o700, exist_ok=True)

    def _inside(self, directory: Path) -> list[Path]:
        """`directory` and what is above it below the root, innermost first."""
        return [path for path in (directory, *directory.parents) if self._root in path.parents]

    @contextlib.contextmanager
    def _at_root(self, done: str) -> Generator[None]:
        try:
            if not self._root.is_dir():
                raise FileNotFoundError(errno.ENOENT, "it is not there")
            yield
        except OSError as error:
            raise StoreUnavailable(f"the object directory cannot be {done}: {error.strerror}") from error


def _keep_names(directory: Path) -> None:
    """On disk too. A directory that is gone already lost its names to the deleter."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _files(directory: Path) -> Iterator[Path]:
    for entry in _entries(directory):
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _entries(directory: Path) -> list[Path]:
    """Those whose names a key may have; none below a file. What goes while we look is not there."""
    try:
        found = list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    ours = [entry for entry in found if _NAME.fullmatch(entry.name)]
    if len(ours) < len(found):
        log.warning("files that are no objects lie among the objects, and stay: %d", len(found) - len(ours))
    return ours
