"""Reading a sealed prompt, which only a person of the operator's does: first it is written down who reads and why.

Needs the database and the directory of day keys, and no secret of the edge.
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from time import time

from msgspec import Struct
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from cluster.day_keys import DayKeys
from cluster.opened_database import opened_database
from cluster.terminal import harmless
from edge.db.database import Database
from edge.db.rows import PromptReadRow, PromptRow
from edge.domain.prompts import open_prompt
from serve_app.contract import Prompt

MAX_READER_CHARACTERS = 64
MAX_REASON_CHARACTERS = 200


class CannotRead(Exception):
    """The message says what is missing."""


class Reading(Struct, frozen=True):
    """Who reads and why, for the record; `forget_at`: how long that stays."""

    reader: str
    reason: str
    read_at: float
    forget_at: float


class ReadPrompt(Struct, frozen=True):
    record: PromptRow
    prompt: Prompt

    def __str__(self) -> str:
        times = f"made {self.record.made_on}, goes {_time(self.record.delete_at)}"
        lines = [
            f"record {self.record.id} of job {self.record.job_id}, {times}",
            f"prompt: {harmless(self.prompt.text)}",
        ]
        if self.prompt.negative:
            lines.append(f"negative prompt: {harmless(self.prompt.negative)}")
        return "\n".join(lines)


async def read_prompt(wanted_id: str, reading: Reading, database: Database, keys: DayKeys) -> ReadPrompt:
    """`wanted_id`: of a job or of a record. Raises CannotRead, KeyGone, DaySealBroken, DatabaseUnavailable."""
    check_reading(reading)
    record = await database.read(partial(_find, wanted_id=wanted_id))
    if record is None:
        raise CannotRead("there is no such record: its time has passed, it was erased, or it never was")
    await database.write(partial(write_down, record_id=record.id, reading=reading))
    return ReadPrompt(record, open_prompt(record, keys.private(record.made_on)))


async def run_read(env: Mapping[str, str], wanted_id: str, reader: str, reason: str, kept_for: timedelta) -> ReadPrompt:
    """`kept_for` is how long the reading stays on record. Raises SettingsError, and what `read_prompt` raises."""
    now = time()
    reading = Reading(reader, reason, now, now + kept_for.total_seconds())
    async with opened_database(env) as database:
        return await read_prompt(wanted_id, reading, database, DayKeys.from_env(env))


async def run_reads(env: Mapping[str, str]) -> list[str]:
    """Raises SettingsError, DatabaseUnavailable."""
    async with opened_database(env) as database:
        return await list_reads(database)


async def list_reads(database: Database) -> list[str]:
    """Newest first, a line each."""
    return [_read_line(row) for row in await database.read(_find_reads)]


def check_reading(reading: Reading) -> None:
    """Raises CannotRead."""
    for name, text, most in (
        ("reader", reading.reader, MAX_READER_CHARACTERS),
        ("reason", reading.reason, MAX_REASON_CHARACTERS),
    ):
        if not text.strip():
            raise CannotRead(f"say the {name}: every reading is written down")
        if len(text) > most:
            raise CannotRead(f"the {name} is longer than {most} characters")


def _find(db: Session, wanted_id: str) -> PromptRow | None:
    return db.scalar(select(PromptRow).where(or_(PromptRow.id == wanted_id, PromptRow.job_id == wanted_id)))


def write_down(db: Session, record_id: str, reading: Reading) -> None:
    """Before it is shown. The record: of a prompt, or an appeal or a report."""
    row = PromptReadRow(
        id=secrets.token_hex(16),
        prompt_id=record_id,
        reader=reading.reader,
        reason=reading.reason,
        read_at=int(reading.read_at),
        forget_at=int(reading.forget_at),
    )
    db.add(row)


def _find_reads(db: Session) -> list[PromptReadRow]:
    return list(db.scalars(select(PromptReadRow).order_by(PromptReadRow.read_at.desc(), PromptReadRow.id)))


def _read_line(row: PromptReadRow) -> str:
    return f"{_time(row.read_at)}  {row.prompt_id}  {harmless(row.reader)}: {harmless(row.reason)}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
