"""Objects as files below a directory: the embedded default. It has no lifecycle backstop; the deleter is all."""

import asyncio
import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from serve_app.errors import StoreUnavailable
from serve_app.storage.store import ObjectGone

_SAFE_KEY = re.compile(r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")
_PARTIAL = ".partial-"  # never a key: keys have no dot


class DirectoryStore:
    """Files are 0600, directories 0700; an object appears whole, by rename. Empty directories are removed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._put, self._path(key), data)

    async def get(self, key: str) -> bytes:
        path = self._path(key)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectGone(key) from error
        except OSError as error:
            raise StoreUnavailable(f"the object directory cannot be read: {error.strerror}") from error

    async def delete(self, keys: Sequence[str]) -> None:
        await asyncio.to_thread(self._delete, [self._path(key) for key in keys])

    async def children(self, prefix: str) -> list[str]:
        return sorted({key[len(prefix) :].split("/")[0] for key in await self.keys(prefix)})

    async def keys(self, prefix: str) -> list[str]:
        directory = self._path(prefix.rstrip("/"))
        return await asyncio.to_thread(lambda: sorted(self._walk(directory)))

    async def check(self) -> None:
        await asyncio.to_thread(self._check)

    def _path(self, key: str) -> Path:
        if not _SAFE_KEY.match(key):
            raise ValueError("not a key")
        return self._root / key

    def _put(self, path: Path, data: bytes) -> None:
        try:
            self._check()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)  # 0600
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(partial, path)
        except OSError as error:
            raise StoreUnavailable(f"the object directory cannot be written: {error.strerror}") from error

    def _delete(self, paths: Sequence[Path]) -> None:
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise StoreUnavailable(f"an object cannot be deleted: {error.strerror}") from error
            for parent in list(path.parents)[: len(path.relative_to(self._root).parts) - 1]:
                with contextlib.suppress(OSError):  # not empty, or gone already
                    parent.rmdir()

    def _walk(self, directory: Path) -> Iterator[str]:
        for parent, _, names in os.walk(directory):
            for name in names:
                if not name.startswith(_PARTIAL):
                    yield (Path(parent) / name).relative_to(self._root).as_posix()

    def _check(self) -> None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the object directory cannot be made: {error.strerror}") from error
        if not os.access(self._root, os.W_OK):
            raise StoreUnavailable("the object directory cannot be written")
