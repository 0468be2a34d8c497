"""Where a Ray that is started here keeps its files: below home, by a path that its sockets can bear."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MAX_BYTES = 40  # a socket's path may be 107 bytes long, and Ray's own part of it takes the rest


@contextmanager
def ray_directory(home: Path) -> Generator[Path]:
    """`<home>/ray`, made where missing and cleared of what killed runs left; where its path is long, a link to it."""
    directory = home.absolute() / "ray"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_dead_sessions(directory)
    if len(os.fsencode(directory)) <= MAX_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="sfumato-", dir="/tmp") as place:
        link = Path(place) / "ray"
        link.symlink_to(directory)
        yield link


def _remove_dead_sessions(directory: Path) -> None:
    """A session's name ends with the id of the process that began it."""
    for session in directory.glob("session_*_*"):
        if not session.is_symlink() and not _is_alive(session.name.rpartition("_")[2]):
            shutil.rmtree(session, ignore_errors=True)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
