"""Small objects that only the store's own rules may remove: the proof that the backstop works while nobody needs it.

One a day for each short lifecycle class, under `<class>/canary/`, which the deleter skips. Its bytes are random. One
that is missed before its class has passed proves nothing, and is an alarm of its own.
"""

import secrets
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import CanaryRow
from edge.db.statements import changed
from policies.publish import LifecycleRule, lifecycle_rules
from policies.schema import Policies
from serve_app.storage.store import ObjectStore, StoreSettings

DAY_S = 86_400
HOUR_S = 3_600
CONTENT_BYTES = 32
PLACE = "canary/"


class Watched(Struct, frozen=True):
    """A canary that was there at the last look. Times in Unix seconds."""

    id: str
    class_days: int
    key: str
    due_at: int


async def plant_canaries(now: float, store: ObjectStore, database: Database, policies: Policies) -> int:
    """In each class that has had none for a day: how many. Raises DatabaseUnavailable, StoreUnavailable.

    The object comes first: a row without one would pass for a canary that the store removed.
    """
    planted = 0
    recent = await database.read(partial(_planted_since, since=int(now) - DAY_S))
    for rule in canary_rules(policies):
        place = f"{rule.prefix}{PLACE}"
        if not any(key.startswith(place) for key in recent):
            canary_id = secrets.token_hex(16)
            key = place + canary_id
            await store.put(key, secrets.token_bytes(CONTENT_BYTES))
            await database.write(partial(_add, canary_id=canary_id, key=key, rule=rule, now=now, policies=policies))
            planted += 1
    return planted


async def look_for_canaries(now: float, store: ObjectStore, database: Database) -> list[Watched]:
    """Notes which have gone since the last look. Returns those that should have, and are still there."""
    watched = await database.read(_watched)
    there: set[str] = set()
    for directory in sorted({canary.key.rpartition("/")[0] for canary in watched}):
        there |= {f"{directory}/{name}" for name in await store.children(f"{directory}/")}
    gone = [canary.id for canary in watched if canary.key not in there]
    if gone:
        await database.write(partial(_note_gone, ids=gone, now=now))
    return [canary for canary in watched if canary.key in there and canary.due_at < now]


def canary_rules(policies: Policies) -> Iterator[LifecycleRule]:
    """Those that are short enough to wait for."""
    return (rule for rule in lifecycle_rules(policies) if rule.days <= policies.retention.canaries.up_to_days)


def watched_prefixes(policies: Policies, store: StoreSettings) -> list[str]:
    """Where canaries are planted; a directory has no rule to prove."""
    return [] if store.s3_url is None else [rule.prefix for rule in canary_rules(policies)]


def forget_canaries(db: Session, now: float) -> int:
    return changed(db, delete(CanaryRow).where(CanaryRow.forget_at <= int(now)))


def _planted_since(db: Session, since: int) -> Sequence[str]:
    return db.scalars(select(CanaryRow.key).where(CanaryRow.planted_at > since)).all()


def _add(db: Session, canary_id: str, key: str, rule: LifecycleRule, now: float, policies: Policies) -> None:
    late_s = policies.retention.canaries.late_after_hours * HOUR_S
    kept_for_s = policies.retention.classes.canary.duration_s
    db.add(
        CanaryRow(
            id=canary_id,
            class_days=rule.days,
            key=key,
            planted_at=int(now),
            due_at=int(now) + rule.days * DAY_S + late_s,
            forget_at=int(now + kept_for_s),
        )
    )


def _watched(db: Session) -> Sequence[Watched]:
    columns = (CanaryRow.id, CanaryRow.class_days, CanaryRow.key, CanaryRow.due_at)
    return [Watched(*row) for row in db.execute(select(*columns).where(CanaryRow.gone_at.is_(None)))]


def _note_gone(db: Session, ids: Collection[str], now: float) -> None:
    db.execute(update(CanaryRow).where(CanaryRow.id.in_(ids)).values(gone_at=int(now)))
