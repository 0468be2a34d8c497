"""Prompts kept for moderation: sealed records that the edge can write, count and erase, and cannot read.

A record is sealed by HPKE to the public key of its UTC day. The private halves are files that only the sweeper and the
audited reader open (`cluster.day_keys`); destroying one ends the records of that day, in copies of the database too.
No key, no picture: what cannot be kept as promised is not made.
"""

import secrets
from datetime import UTC, datetime, time, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import DayKeyRow, JobRow, PromptReadRow, PromptRow
from edge.db.statements import changed
from edge.domain.day_seal import DayKey, DayKeysRead, day_of, open_of_day, seal_to_day
from edge.domain.owner import JobId, Owner, owned
from serve_app.contract import Prompt

PURPOSE = "moderation prompt"


class PromptSealer:
    """Makes the records of one edge. `kept_for_s`: how long a record stays."""

    def __init__(self, database: Database, kept_for_s: float) -> None:
        self._keys = DayKeysRead(database, DayKeyRow)
        self._kept_for_s = kept_for_s

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
            sealed=seal_to_day(msgspec.msgpack.encode(prompt), key, PURPOSE, record_id),
            delete_at=int(now + self._kept_for_s),
        )

    async def key(self, now: float) -> DayKey:
        """Today's. Raises NoDayKey, DatabaseUnavailable."""
        return await self._keys.today(now)


def open_prompt(record: PromptRow, private_key: X25519PrivateKey) -> Prompt:
    """Raises DaySealBroken."""
    opened = open_of_day(record.sealed, private_key, PURPOSE, record.made_on, record.id)
    return msgspec.msgpack.decode(opened, type=Prompt)


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
