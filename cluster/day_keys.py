"""The key pairs of days, to which prompts, appeals and reports are sealed: private halves as files, public as rows.

Random, never derived, since destroying a file is the erasure of that day: copies of the database hold only public
halves, so keep the directory out of every backup. Only the sweeper and the audited readers open it.
"""

import logging
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from edge.db.database import Database
from edge.db.rows import AppealRow, DayKeyRow, NoticeKeyRow, NoticeRow, PromptRow
from edge.db.statements import upsert
from edge.domain.day_seal import day_of

log = logging.getLogger(__name__)

AHEAD_DAYS = 7  # as long as edges go on when the sweeper is dead
SLACK_S = 86_400  # beyond a day's end: clocks of edges differ
KEY_BYTES = 32
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)\.key")


class KeyGone(Exception):
    """The private half of a day is not here: destroyed with that day's records, or never brought here."""


@dataclass(frozen=True)
class Kind:
    """Of key pairs: the table of the public halves, and the days of the records that are sealed to them."""

    public: type[DayKeyRow | NoticeKeyRow]
    sealed_on: tuple[InstrumentedAttribute[date], ...]


OF_PROMPTS = Kind(DayKeyRow, (PromptRow.made_on,))
OF_NOTICES = Kind(NoticeKeyRow, (AppealRow.made_on, NoticeRow.made_on))


class DayKeys:
    """`directory` (0700) holds a file `<day>.key` (0600) for each day; processes may share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "DayKeys":
        home = Path(env.get("SFUMATO_HOME") or ".sfumato").absolute()
        return cls(Path(env.get("SFUMATO_KEYS") or home / "keys").absolute())

    @property
    def of_notices(self) -> "DayKeys":
        """Those of `OF_NOTICES`, in a directory inside."""
        return DayKeys(self.directory / "notices")

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


async def make_day_keys(keys: DayKeys, database: Database, now: float, kind: Kind = OF_PROMPTS) -> None:
    """Today's and those of the coming days: the file first, then the row. Raises OSError, DatabaseUnavailable."""
    days = [day_of(now) + timedelta(days=ahead) for ahead in range(AHEAD_DAYS + 1)]
    halves = {day: keys.make(day).public_key().public_bytes_raw() for day in days}
    replaced = await database.write(partial(_publish, halves=halves, kind=kind))
    for day in replaced:
        log.warning("the key of %s was not here and is a new one: its earlier records need the old file", day)


async def destroy_day_keys(keys: DayKeys, database: Database, now: float, kind: Kind = OF_PROMPTS) -> int:
    """Those of days whose records have gone: the file first, then the row. Returns how many files. Raises OSError of
    one that cannot be destroyed, when the others are."""
    held = keys.days()
    spent = await database.read(partial(_spent, held=held, now=now, kind=kind))
    with ExitStack() as each_in_its_turn:
        for day in spent & held:
            each_in_its_turn.callback(keys.destroy, day)
    if spent:
        await database.write(partial(_unpublish, days=spent, kind=kind))
    return len(spent & held)


def _publish(db: Session, halves: Mapping[date, bytes], kind: Kind) -> list[date]:
    """Rows follow the files. Returns the days whose row named another key."""
    table = kind.public
    query = select(table.day, table.public_key).where(table.day.in_(halves))
    known = {day: public_key for day, public_key in db.execute(query)}
    for day, public_key in halves.items():
        if known.get(day) != public_key:
            upsert(db, table, key={"day": day}, values={"public_key": public_key})
    return sorted(day for day, public_key in known.items() if public_key != halves[day])


def _spent(db: Session, held: set[date], now: float, kind: Kind) -> set[date]:
    """Days that are over and have no record left, whether the file, the row or both are still there."""
    days = held | set(db.scalars(select(kind.public.day)))
    over = {day for day in days if day < day_of(now - SLACK_S)}
    return {day for day in over if not any(_is_sealed(db, column, day) for column in kind.sealed_on)}


def _is_sealed(db: Session, sealed_on: InstrumentedAttribute[date], day: date) -> bool:
    return db.scalar(select(sealed_on).where(sealed_on == day).limit(1)) is not None


def _unpublish(db: Session, days: set[date], kind: Kind) -> None:
    db.execute(delete(kind.public).where(kind.public.day.in_(days)))


def _day_in(name: str) -> date | None:
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None
