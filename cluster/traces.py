"""What a process might leave on a disk without being told to: core dumps and temporary files."""

import os
import resource
import tempfile
from pathlib import Path

from cluster.home import HomeError


def forbid_core_dumps() -> None:
    """For this process and all that it starts: a dump would hold prompts, pictures and keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_temporary_files(home: Path) -> None:
    """Under `home`, for this process and all that it starts, whatever TMPDIR said. Raises HomeError."""
    directory = home / "tmp"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"{directory} cannot be made ({error.strerror}): choose another with SFUMATO_HOME") from error
    os.environ["TMPDIR"] = str(directory)
    tempfile.tempdir = None  # else the first answer is kept
