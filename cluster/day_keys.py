"""The key pairs of days, to which prompts are sealed: private halves as files, public halves as rows.

Random, never derived, since destroying a file is the erasure of that day: copies of the database hold only public
halves, so keep the directory out of every backup. Only the sweeper and the reader of prompts open it.
"""

import logging
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import DayKeyRow, PromptRow
from edge.db.statements import upsert
from edge.domain.prompts import day_of

log = logging.getLogger(__name__)

AHEAD_DAYS = 7  # as long as edges go on when the sweeper is dead
SLACK_S = 86_400  # beyond a day's end: clocks of edges differ
KEY_BYTES = 32
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.key")


class KeyGone(Exception):
    """The private half of a day is not here: destroyed with that day's prompts, or never brought here."""


class DayKeys:
    """`directory` (0700) holds a file `<day>.key` (0600) for each day; processes may share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "DayKeys":
        home = Path(env.get("SFUMATO_HOME") or ".sfumato").absolute()
        return cls(Path(env.get("SFUMATO_KEYS") or home / "keys").absolute())

    def private(self, day: date) -> X25519PrivateKey:
        """Raises KeyGone."""
        try:
            return X25519PrivateKey.from_private_bytes(self._file(day).read_bytes())
        except FileNotFoundError as error:
            raise KeyGone(f"the key of {day} is not in {self.directory}") from error
        except ValueError as error:
            raise KeyGone(f"{self._file(day)} holds no key") from error

    def make(self, day: date) -> X25519PrivateKey:
        """The one that is there, or a new one. Two who make one at once get the same."""
        if not self._file(day).exists():
            self._write(day)
        return self.private(day)

    def days(self) -> set[date]:
        """Those that have a file. A name that is no day is none of ours."""
        if not self.directory.exists():
            return set()
        named = [name[1] for file in self.directory.iterdir() if (name := _NAME.match(file.name))]
        days = {name: _day_in(name) for name in named}
        for name in sorted(name for name, day in days.items() if day is None):
            log.warning("a key file is named by no day: %s", name)
        return {day for day in days.values() if day is not None}

    def destroy(self, day: date) -> None:
        """Overwritten first: on many file systems that leaves nothing to recover."""
        for file in self.directory.glob(f"{day.isoformat()}.key*"):
            with file.open("r+b", buffering=0) as held:
                held.write(secrets.token_bytes(KEY_BYTES))
                os.fsync(held.fileno())
            file.unlink()
        self._sync()

    def _write(self, day: date) -> None:
        """Complete or not there: a link appears at once, and never replaces another."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._file(day).with_suffix(f".key-{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as out:
            out.write(X25519PrivateKey.generate().private_bytes_raw())
            os.fsync(out.fileno())
        try:
            os.link(draft, self._file(day))
        except FileExistsError:
            pass  # another was first
        finally:
            draft.unlink()
            self._sync()

    def _file(self, day: date) -> Path:
        return self.directory / f"{day.isoformat()}.key"

    def _sync(self) -> None:
        """A file's coming and going lasts once its directory is on the disk."""
        if self.directory.exists():
            handle = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


async def make_day_keys(keys: DayKeys, database: Database, now: float) -> None:
    """Today's and those of the coming days: the file first, then the row. Raises OSError, DatabaseUnavailable."""
    days = [day_of(now) + timedelta(days=ahead) for ahead in range(AHEAD_DAYS + 1)]
    halves = {day: keys.make(day).public_key().public_bytes_raw() for day in days}
    replaced = await database.write(partial(_publish, halves=halves))
    for day in replaced:
        log.warning("the key of %s was not here and is a new one: its earlier prompts need the old file", day)


async def destroy_day_keys(keys: DayKeys, database: Database, now: float) -> int:
    """Those of days whose prompts have gone: the file first, then the row. Returns how many files. Raises OSError of
    one that cannot be destroyed, when the others are."""
    held = keys.days()
    spent = await database.read(partial(_spent, held=held, now=now))
    with ExitStack() as each_in_its_turn:
        for day in spent & held:
            each_in_its_turn.callback(keys.destroy, day)
    if spent:
        await database.write(partial(_unpublish, days=spent))
    return len(spent & held)


def _publish(db: Session, halves: Mapping[date, bytes]) -> list[date]:
    """Rows follow the files. Returns the days whose row named another key."""
    query = select(DayKeyRow.day, DayKeyRow.public_key).where(DayKeyRow.day.in_(halves))
    known = {day: public_key for day, public_key in db.execute(query)}
    for day, public_key in halves.items():
        if known.get(day) != public_key:
            upsert(db, DayKeyRow, key={"day": day}, values={"public_key": public_key})
    return sorted(day for day, public_key in known.items() if public_key != halves[day])


def _spent(db: Session, held: set[date], now: float) -> set[date]:
    """Days that are over and have no record left, whether the file, the row or both are still there."""
    days = held | set(db.scalars(select(DayKeyRow.day)))
    over = {day for day in days if day < day_of(now - SLACK_S)}
    return {day for day in over if db.scalar(select(PromptRow.id).where(PromptRow.made_on == day).limit(1)) is None}


def _unpublish(db: Session, days: set[date]) -> None:
    db.execute(delete(DayKeyRow).where(DayKeyRow.day.in_(days)))


def _day_in(name: str) -> date | None:
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None
