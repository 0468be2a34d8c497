"""What a process might leave on a disk without being told to: core dumps and temporary files."""

import atexit
import os
import resource
import shutil
import tempfile
from pathlib import Path

from cluster.home import HomeError
from cluster.processes import is_dead


def forbid_core_dumps() -> None:
    """For this process and all that it starts: a dump would hold prompts, pictures and keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_temporary_files(home: Path) -> None:
    """Under `home`, for this process and all that it starts, whatever TMPDIR said; what processes that are dead left
    there goes. Raises HomeError."""
    place, own = home / "tmp", str(os.getpid())
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in place.iterdir():
            if left.name == own or is_dead(left.name):
                _remove(left)
        directory = place / own
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise HomeError(f"{place} cannot be used ({error.strerror}): choose another with SFUMATO_HOME") from error
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None  # else the first answer is kept
    atexit.register(shutil.rmtree, directory, ignore_errors=True)


def _remove(left: Path) -> None:
    """Another process that starts may be at it too."""
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)
