"""Copies for training, opened with the operator's key into a directory: pictures, and a manifest line for each.

Every consent is checked at the moment its picture is written, and marked as exported first, so that a withdrawal from
then on is listed by `list_withdrawn`. A run over a directory of an earlier one goes on where that stopped, and removes
what may no longer be there: of pictures that an export wrote, and of nothing else.
"""

import asyncio
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ConsentRow
from edge.domain.training import counts_under, stands
from policies.schema import TrainingMode
from serve_app.storage.store import ObjectGone, ObjectStore
from serve_app.training import CopyBroken, TrainingCopy, open_copy

MANIFEST = "manifest.jsonl"
PICTURES = "pictures"
BATCH = 16  # pictures in memory at once
_OURS = re.compile(r"[0-9a-f]{32}\.(png|webp|jpeg)(\.partial)?")


class ForeignDirectory(Exception):
    """Something lies there that no export wrote."""


class Entry(Struct, frozen=True, kw_only=True):
    """A line of the manifest. `drop_by`: until when the picture may be used at the longest."""

    id: str
    file: str
    caption: str
    model: str
    width: int
    height: int
    ground: str
    given_at: datetime
    drop_by: datetime


class Exported(Struct, frozen=True):
    """`unopened` copies were sealed to another key; `dropped` were here and may not be any more."""

    written: int
    kept: int
    dropped: int
    unopened: int


class Withdrawal(Struct, frozen=True):
    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where copies come from, and the mode in force."""

    store: ObjectStore
    database: Database
    mode: TrainingMode
    clock: Callable[[], float]

    @property
    def allowed(self) -> ColumnElement[bool]:
        return stands(self.clock()) & counts_under(self.mode)


async def export(
    directory: Path, key: X25519PrivateKey, source: Source, told: Callable[[int], None] = lambda _: None
) -> Exported:
    """`told` hears how many are written, after each few.

    Raises ForeignDirectory, OSError, StoreUnavailable, DatabaseUnavailable.
    """
    shelf = Shelf(directory)
    allowed = await _allowed_of(shelf.entries.keys(), source)
    dropped = shelf.keep_only(allowed)
    kept, written, unopened, last = len(shelf.entries), 0, 0, ""
    while page := await source.database.read(partial(_page, which=source.allowed, after=last)):
        last = page[-1].id
        wanted = [row for row in page if row.id not in shelf.entries]
        opened = await asyncio.gather(*(_open(row, key, source.store) for row in wanted))
        copies = {row.id: copy for row, copy in zip(wanted, opened, strict=True) if isinstance(copy, TrainingCopy)}
        unopened += sum(isinstance(copy, CopyBroken) for copy in opened)
        for row in await source.database.write(partial(_claim, ids=list(copies), source=source)):
            shelf.add(row, copies[row.id])
            written += 1
        told(written)
    return Exported(written, kept, dropped, unopened)


async def list_withdrawn(database: Database, since: datetime | None = None) -> list[Withdrawal]:
    """Exported once and taken back since, oldest first: what every earlier export must drop."""
    return await database.read(partial(_withdrawn, since=since))


class Shelf:
    """The directory, made where it is missing: `entries` are those of the manifest whose picture is there.

    Raises ForeignDirectory, and has changed nothing then.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pictures = directory / PICTURES
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / MANIFEST).exists() and self._pictures.exists() and any(self._pictures.iterdir()):
            raise ForeignDirectory(f"{self._pictures} holds files of no export (no {MANIFEST}): name another directory")
        self.entries = {entry.id: entry for entry in self._read() if (directory / entry.file).is_file()}
        self._pictures.mkdir(mode=0o700, exist_ok=True)

    def keep_only(self, ids: Collection[str]) -> int:
        """Removes the other pictures, their lines, and whatever a run that was cut off left. How many pictures."""
        dropped = [entry for entry in self.entries.values() if entry.id not in ids]
        self.entries = {entry.id: entry for entry in self.entries.values() if entry.id in ids}
        named = {self._directory / entry.file for entry in self.entries.values()}
        for file in self._pictures.iterdir():
            if _OURS.fullmatch(file.name) and file not in named:
                file.unlink()
        lines = b"".join(map(_line, self.entries.values()))
        _write(self._directory / MANIFEST, lines)
        return len(dropped)

    def add(self, row: ConsentRow, copy: TrainingCopy) -> None:
        entry = Entry(
            id=row.id,
            file=f"{PICTURES}/{row.id}.{copy.output_format}",
            caption=copy.caption,
            model=copy.model,
            width=copy.width_px,
            height=copy.height_px,
            ground=row.ground,
            given_at=_time(row.given_at),
            drop_by=_time(row.delete_at),
        )
        _write(self._directory / entry.file, copy.file)
        with (self._directory / MANIFEST).open("ab") as manifest:
            manifest.write(_line(entry))
        self.entries[entry.id] = entry

    def _read(self) -> Iterator[Entry]:
        """A last line that a run cut off in the middle is no line."""
        manifest = self._directory / MANIFEST
        for line in manifest.read_bytes().splitlines(keepends=True) if manifest.exists() else []:
            try:
                yield msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError as error:
                if line.endswith(b"\n"):
                    raise ForeignDirectory(f"{manifest} was written by no export: name another directory") from error


async def _open(row: ConsentRow, key: X25519PrivateKey, store: ObjectStore) -> TrainingCopy | CopyBroken | None:
    """None where it went meanwhile."""
    try:
        return await asyncio.to_thread(open_copy, key, row.key, await store.get(row.key))
    except ObjectGone:
        return None
    except CopyBroken as error:
        return error


async def _allowed_of(ids: Collection[str], source: Source) -> set[str]:
    wanted, allowed = sorted(ids), set[str]()
    for start in range(0, len(wanted), 500):
        which = ConsentRow.id.in_(wanted[start : start + 500]) & source.allowed
        allowed |= await source.database.read(
            lambda db, which=which: set(db.scalars(select(ConsentRow.id).where(which)))
        )
    return allowed


def _page(db: Session, which: ColumnElement[bool], after: str) -> list[ConsentRow]:
    return list(db.scalars(select(ConsentRow).where(which, ConsentRow.id > after).order_by(ConsentRow.id).limit(BATCH)))


def _claim(db: Session, ids: Sequence[str], source: Source) -> list[ConsentRow]:
    """Those that may still be written, marked as exported."""
    now = int(source.clock())
    mark = update(ConsentRow).where(ConsentRow.id.in_(ids), source.allowed).values(exported_at=now)
    marked = db.scalars(mark.returning(ConsentRow.id).execution_options(synchronize_session=False)).all()
    return list(db.scalars(select(ConsentRow).where(ConsentRow.id.in_(marked)).order_by(ConsentRow.id)))


def _withdrawn(db: Session, since: datetime | None) -> list[Withdrawal]:
    query = select(ConsentRow.id, ConsentRow.withdrawn_at).where(
        ConsentRow.withdrawn_at >= (int(since.timestamp()) if since else 0), ConsentRow.exported_at.is_not(None)
    )
    return [
        Withdrawal(image_id, _time(at or 0)) for image_id, at in db.execute(query.order_by(ConsentRow.withdrawn_at))
    ]


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, for the owner only."""
    partial_file = file.with_name(f"{file.name}.partial")
    with os.fdopen(os.open(partial_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
    partial_file.replace(file)


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
