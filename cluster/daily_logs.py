"""The logs of `sfumato up`: a file a day for each child, gone before its first line is older than the policy allows.

What a child writes comes through a pipe, so that native output of Ray and granian lands here too, and nobody has to
hold a file that should go.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from time import time
from typing import IO

_NAME = re.compile(r"[a-z]+-(?P<day>\d{4}-\d\d-\d\d)\.log")


class DailyLogs:
    """Files `<directory>/<name>-<UTC day>.log`, each kept for `kept_for` from the beginning of its day: whole days, as
    `load_policies` has found, since a file goes whole."""

    def __init__(self, directory: Path, kept_for: timedelta, clock: Callable[[], float] = time) -> None:
        self.directory = directory
        self._kept_for = kept_for
        self._clock = clock
        self._forgot_on: datetime | None = None

    def follow(self, name: str, output: IO[bytes]) -> Thread:
        """Writes down what comes out of `output` until it ends, and closes it."""
        following = Thread(target=self._follow, args=(name, output), name=f"log-{name}", daemon=True)
        following.start()
        return following

    def tail(self, name: str, lines: int) -> tuple[str, Path]:
        """The newest lines, and which file they are from."""
        file = max(self.directory.glob(f"{name}-*.log"), default=self._file(name))
        text = file.read_text(errors="replace") if file.exists() else ""
        return "\n".join(text.splitlines()[-lines:]), file

    def forget(self) -> None:
        """Remove the files whose time is over. To be called often: it looks once a day."""
        if (today := self._today()) == self._forgot_on:
            return
        for file in self.directory.iterdir():
            named = _NAME.fullmatch(file.name)
            if named and datetime.fromisoformat(named["day"]).replace(tzinfo=UTC) + self._kept_for <= today:
                file.unlink(missing_ok=True)
        self._forgot_on = today

    def _follow(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                with suppress(OSError):  # a full disk costs log lines; a child that waits for us would stand still
                    self._write(name, line)

    def _write(self, name: str, line: bytes) -> None:
        with self._file(name).open("ab") as log:
            log.write(line)

    def _file(self, name: str) -> Path:
        return self.directory / f"{name}-{self._today():%Y-%m-%d}.log"

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
