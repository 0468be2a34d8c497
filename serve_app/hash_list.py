"""The operator's list of pictures that may not leave: PDQ hashes in a text file, read again when it changes.

One hash of 64 hex digits a line; `#` begins a remark. No file, no list. A file that cannot be understood stops all
pictures rather than letting one through.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import ModerationUnavailable
from serve_app.pdq import BITS

State = tuple[int, int, int]  # of a file: when it was written, its size, its inode


class HashList:
    def __init__(self, path: Path) -> None:
        """Raises ModerationUnavailable."""
        self._path = path
        self._read: tuple[State | None, NDArray[np.uint8]] = (None, _nothing())
        self.hashes()

    def hashes(self) -> NDArray[np.uint8]:
        """(N, 32) as the file has them now. Raises ModerationUnavailable."""
        state = self._state()
        if state != self._read[0]:
            self._read = (state, self._parsed() if state else _nothing())
        return self._read[1]

    def _state(self) -> State | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModerationUnavailable("the list of hashes cannot be read") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _parsed(self) -> NDArray[np.uint8]:
        try:
            lines = self._path.read_text("ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModerationUnavailable("the list of hashes cannot be read") from error
        hashes: list[bytes] = []
        for number, line in enumerate(lines, start=1):
            if not (text := line.partition("#")[0].strip()):
                continue
            try:
                hashes.append(bytes.fromhex(text))
            except ValueError as error:
                raise ModerationUnavailable(f"line {number} of the list of hashes is no hash") from error
            if len(hashes[-1]) != BITS // 8:
                raise ModerationUnavailable(f"line {number} of the list of hashes is no hash")
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, BITS // 8)


def add_hashes(path: Path, hashes: Sequence[NDArray[np.uint8]], remark: str) -> None:
    """Those that are not there yet. The file is replaced whole, so that no replica reads half a line; two who add at
    once wait for each other. Raises ModerationUnavailable for a list that cannot be understood, OSError."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        known = {bytes(each) for each in HashList(path).hashes()}
        lines = path.read_text("ascii").splitlines() if path.exists() else []
        lines += [
            f"{each.hex()} # {remark}" for each in dict.fromkeys(bytes(each) for each in hashes) if each not in known
        ]
        draft = path.with_name(f"{path.name}.new")
        draft.write_text("".join(f"{line}\n" for line in lines), "ascii")
        draft.replace(path)
    finally:
        os.close(directory)


def nearest(hash_: NDArray[np.uint8], hashes: NDArray[np.uint8]) -> int:
    """Bits in which `hash_` differs from the most alike of `hashes`, of which there is one at least."""
    return int(np.bitwise_count(hashes ^ hash_).sum(1).min())


def _nothing() -> NDArray[np.uint8]:
    return np.empty((0, BITS // 8), np.uint8)
