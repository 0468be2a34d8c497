"""Prompts kept for moderation: sealed records that the edge can write, count and erase, and cannot read.

A record is sealed by HPKE to the public key of its UTC day. The private halves are files that only the sweeper and the
audited reader open (`cluster.day_keys`); destroying one ends the records of that day, in copies of the database too.
No key, no picture: what cannot be kept as promised is not made.
"""

import asyncio
import secrets
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Struct
from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import DayKeyRow, JobRow, PromptReadRow, PromptRow
from edge.db.statements import changed
from edge.domain.owner import JobId, Owner, owned
from edge.errors import NoDayKey
from serve_app.contract import Prompt

VERSION = b"\x01"
FRESH_S = 60.0  # how long an edge trusts the public key that it has read
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class PromptSealBroken(Exception):
    """The record is not what was sealed to this key under this day and id."""


class DayKey(Struct, frozen=True):
    """The public half, and until when it need not be read again."""

    day: date
    public_key: X25519PublicKey
    fresh_until_at: float


class PromptSealer:
    """Makes the records of one edge. `kept_for_s`: how long a record stays."""

    def __init__(self, database: Database, kept_for_s: float) -> None:
        self._database = database
        self._kept_for_s = kept_for_s
        self._key: DayKey | None = None
        self._reading = asyncio.Lock()

    async def seal(self, prompt: Prompt, owner: Owner, job_id: JobId, now: float) -> PromptRow:
        """The record, to be added with its job. Raises NoDayKey, DatabaseUnavailable."""
        key = await self.key(now)
        record_id = secrets.token_hex(16)
        return PromptRow(
            id=record_id,
            owner_kind=owner.kind,
            owner_id=owner.id,
            job_id=job_id,
            made_on=key.day,
            sealed=seal_prompt(prompt, key.public_key, key.day, record_id),
            delete_at=int(now + self._kept_for_s),
        )

    async def key(self, now: float) -> DayKey:
        """Today's. Raises NoDayKey, DatabaseUnavailable."""
        async with self._reading:
            if self._key is None or self._key.day != day_of(now) or self._key.fresh_until_at <= now:
                self._key = await self._database.read(partial(_find_key, now=now))
            return self._key


def seal_prompt(prompt: Prompt, public_key: X25519PublicKey, day: date, record_id: str) -> bytes:
    return VERSION + _SUITE.encrypt(msgspec.msgpack.encode(prompt), public_key, info=_info(day, record_id))


def open_prompt(record: PromptRow, private_key: X25519PrivateKey) -> Prompt:
    """Raises PromptSealBroken."""
    if record.sealed[:1] != VERSION:
        raise PromptSealBroken("unknown version of the seal")
    try:
        opened = _SUITE.decrypt(record.sealed[1:], private_key, info=_info(record.made_on, record.id))
    except (InvalidTag, ValueError) as error:
        raise PromptSealBroken("this key does not open it") from error
    return msgspec.msgpack.decode(opened, type=Prompt)


def day_of(now: float) -> date:
    """In UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def erase_prompts(db: Session, owner: Owner) -> int:
    """Those whose generation is gone: to be called when it is. One that is being drawn keeps its own."""
    draws = exists().where(JobRow.id == PromptRow.job_id)
    return changed(db, delete(PromptRow).where(owned(PromptRow, owner), ~draws))


def forget_prompts(db: Session, now: float, limit: int) -> int:
    due = select(PromptRow.id).where(PromptRow.delete_at <= int(now)).limit(limit)
    return changed(db, delete(PromptRow).where(PromptRow.id.in_(due)))


def shorten_prompts(db: Session, now: float, kept_for_s: float, limit: int) -> int:
    """Those that were made while the policy kept them for longer: now they go so long after the end of their day, which
    is all that is known of when they were made. How many; nothing is ever kept for longer."""
    for day in db.scalars(select(DayKeyRow.day).where(DayKeyRow.day <= day_of(now))):
        end_at = int(datetime.combine(day + timedelta(days=1), time(), UTC).timestamp() + kept_for_s)
        longer = select(PromptRow.id).where(PromptRow.made_on == day, PromptRow.delete_at > end_at).limit(limit)
        sooner = update(PromptRow).where(PromptRow.id.in_(longer)).values(delete_at=end_at)
        if count := changed(db, sooner.execution_options(synchronize_session=False)):
            return count
    return 0


def forget_prompt_reads(db: Session, now: float, limit: int) -> int:
    due = select(PromptReadRow.id).where(PromptReadRow.forget_at <= int(now)).limit(limit)
    return changed(db, delete(PromptReadRow).where(PromptReadRow.id.in_(due)))


def _find_key(db: Session, now: float) -> DayKey:
    day = day_of(now)
    public_key = db.scalar(select(DayKeyRow.public_key).where(DayKeyRow.day == day))
    if public_key is None:
        raise NoDayKey
    return DayKey(day, X25519PublicKey.from_public_bytes(public_key), now + FRESH_S)


def _info(day: date, record_id: str) -> bytes:
    return f"sfumato moderation prompt {day.isoformat()} {record_id}".encode()
