"""Where a Ray that is started here keeps its files: below home, by a path that its sockets can bear."""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from cluster.processes import is_dead

MAX_BYTES = 40  # a socket's path may be 107 bytes long, and Ray's own part of it takes the rest


@contextmanager
def ray_directory(home: Path) -> Generator[Path]:
    """`<home>/ray`, made where missing; where its path is long, a link to it.

    It is cleared of what killed runs left, and on leaving of its own session, unless that ended with an error.
    """
    directory = home.absolute() / "ray"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_sessions(directory, is_dead)
    with _short(directory) as place:
        try:
            yield place
        except SystemExit as leaving:
            if not leaving.code:
                _remove_sessions(directory, _is_ours)
            raise


def empty_logs(directory: Path) -> None:
    """Ray's processes hold their logs open, and open them to append: they go on at the beginning."""
    for log in directory.glob("session_*/logs/**/*"):
        if log.is_file():
            os.truncate(log, 0)


@contextmanager
def _short(directory: Path) -> Generator[Path]:
    if len(os.fsencode(directory)) <= MAX_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="sfumato-", dir="/tmp") as place:
        link = Path(place) / "ray"
        link.symlink_to(directory)
        yield link


def _remove_sessions(directory: Path, of: Callable[[str], bool]) -> None:
    """A session's name ends with the id of the process that began it."""
    for session in directory.glob("session_*_*"):
        if not session.is_symlink() and of(session.name.rpartition("_")[2]):
            shutil.rmtree(session, ignore_errors=True)


def _is_ours(process: str) -> bool:
    return process == str(os.getpid())
