"""All that is held of an owner: counted by class with its end dates, and in full for an export.

Works for every kind of owner: whatever has `owner_kind` and `owner_id` is found here. What the law may make the
operator set aside is not, whether there is any or not: everyone reads the policy's one sentence about that.
"""

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import get_args

from msgspec import Struct
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session

from edge.db.database import Database
from edge.db.rows import (
    AccountRow,
    ApiKeyRow,
    AppealRow,
    Base,
    ConsentRow,
    ImageRow,
    JobRow,
    ModerationDecisionRow,
    NoticeRow,
    OwnedRow,
    PasskeyRow,
    PromptReadRow,
    PromptRow,
    RecoveryCodeRow,
    RightsRequestRow,
    SessionRow,
    SignInRow,
    SubjectRow,
    ViewingSecretRow,
)
from edge.domain.events import EventHub
from edge.domain.jobs import OPEN_STATES, visible
from edge.domain.owner import JobId, Owner, owned
from edge.domain.training import Choice, choice_of
from policies.publish import kept_in_words
from policies.schema import Kept, Policies

Readable = str | int | float | bool | None
UNREADABLE = {
    "owner_kind",
    "owner_id",
    "subject",
    "key",
    "erased_at",
    "epoch",
    "lease_until_at",
}  # of no use outside, or above


class HeldClass(Struct, frozen=True, kw_only=True):
    """One class of the policy. Ends in Unix seconds: of the first and the last of them to go, where that is known."""

    name: str
    what: str
    count: int
    kept: str
    counted_from: str
    first_ends_at: int | None = None
    last_ends_at: int | None = None


class Ends(Struct, frozen=True):
    count: int = 0
    first_at: int | None = None
    last_at: int | None = None


class Holdings(Struct, frozen=True):
    """`images`: those that can still be seen, newest first. `training`: the session's own choice, if it made one.

    `prompts_read_at`: when a person read one of the prompts.
    """

    classes: list[HeldClass]
    images: list[ImageRow]
    training: Choice | None
    prompts_read_at: list[int]

    def count(self, name: str) -> int:
        return sum(each.count for each in self.classes if each.name == name)


async def streams_of(owner: Owner, database: Database, policies: Policies, hub: EventHub, now: float) -> int:
    """Generations of whose events some edge can still tell. A store that does not answer tells of none but our own.

    Raises DatabaseUnavailable.
    """
    recent = partial(_recent_jobs, owner=owner, since=now - policies.retention.classes.job_events.duration_s)
    return len(await hub.last_states(await database.read(recent)))


def holdings(db: Session, owner: Owner, policies: Policies, streams: int, now: float, subject: str) -> Holdings:
    """`subject`: the owner's, in decisions. `streams`: as `streams_of` counts them."""
    images = images_of_owner(db, owner, now)
    session = db.get(SessionRow, owner.id) if owner.kind == "session" else None
    ends = _all_ends(db, owner, images, session, policies)
    ends["job_events"] = Ends(streams)
    ends["moderation_decision"] = ends_of(db, ModerationDecisionRow.delete_at, ModerationDecisionRow.subject == subject)
    ends["notice"] = complaints_end(db, subject)
    classes = policies.retention.classes.by_name()
    return Holdings(
        [_held(name, classes[name], ends[name]) for name in classes if name in ends],
        images,
        choice_of(db, owner),
        [row.read_at for row in readings_of(db, owner)],
    )


def images_of_owner(db: Session, owner: Owner, now: float) -> list[ImageRow]:
    """Those that can still be seen, newest first."""
    mine = select(ImageRow).where(owned(ImageRow, owner), *visible(now)).order_by(ImageRow.created_at.desc())
    return list(db.scalars(mine))


def readings_of(db: Session, owner: Owner) -> list[PromptReadRow]:
    """Each time that a person read one of the owner's kept prompts. Who and why stays with the operator: a reason might
    say what nobody is to learn."""
    mine = select(PromptRow.id).where(owned(PromptRow, owner))
    read = select(PromptReadRow).where(PromptReadRow.prompt_id.in_(mine))
    return list(db.scalars(read.order_by(PromptReadRow.read_at, PromptReadRow.id)))


def own_rows(db: Session, owner: Owner, subject: str) -> dict[str, list[dict[str, Readable]]]:
    """Every row of the owner by table, in readable form: no secrets, no sealed bytes, times as ISO 8601."""
    which: dict[type[Base], ColumnElement[bool]] = {row: owned(row, owner) for row in get_args(OwnedRow)}
    which |= {row: row.subject == subject for row in get_args(SubjectRow)}
    which |= {SessionRow: SessionRow.id == owner.id} if owner.kind == "session" else _of_account(owner)
    tables: dict[str, list[dict[str, Readable]]] = {
        str(row.__tablename__): [_readable(each) for each in db.scalars(select(row).where(mine))]
        for row, mine in which.items()
    }
    readings = [
        {"prompt_id": row.prompt_id, "read_at": _value("read_at", row.read_at)} for row in readings_of(db, owner)
    ]
    return {**tables, "prompt_read": readings}


def _of_account(owner: Owner) -> dict[type[Base], ColumnElement[bool]]:
    return {
        AccountRow: AccountRow.id == owner.id,
        ApiKeyRow: ApiKeyRow.account_id == owner.id,
        PasskeyRow: PasskeyRow.account_id == owner.id,
        RecoveryCodeRow: RecoveryCodeRow.account_id == owner.id,
        SignInRow: SignInRow.account_id == owner.id,
        ViewingSecretRow: ViewingSecretRow.account_id == owner.id,
    }


def _all_ends(
    db: Session, owner: Owner, images: list[ImageRow], session: SessionRow | None, policies: Policies
) -> dict[str, Ends]:
    kept = policies.retention.classes
    going = [image.delete_at for image in images]
    of_images = Ends(len(images), min(going, default=None), max(going, default=None))
    open_jobs = owned(JobRow, owner) & JobRow.status.in_(OPEN_STATES)
    return {
        "output_image": of_images,
        "job_and_image_rows": of_images,
        "job_state": ends_of(db, JobRow.forget_at, owned(JobRow, owner)),
        "waiting_prompt": Ends(ends_of(db, JobRow.forget_at, open_jobs).count),
        "moderation_prompt": ends_of(db, PromptRow.delete_at, owned(PromptRow, owner)),
        "training_copy": ends_of(db, ConsentRow.delete_at, owned(ConsentRow, owner)),
        "session": _session_ends(session, kept.session.duration),
        "account": Ends(db.scalar(select(func.count()).select_from(AccountRow).where(AccountRow.id == owner.id)) or 0),
        "rights_request": ends_of(db, RightsRequestRow.forget_at, owned(RightsRequestRow, owner)),
    }


def ends_of(
    db: Session, end_at: Mapped[int] | Mapped[int | None] | InstrumentedAttribute[int], which: ColumnElement[bool]
) -> Ends:
    count, first_at, last_at = db.execute(select(func.count(), func.min(end_at), func.max(end_at)).where(which)).one()
    return Ends(count, first_at, last_at)


def complaints_end(db: Session, subject: str) -> Ends:
    """Of all appeals and reports that are a subject's. Nobody knows until when while one of them is not decided."""
    tables = (AppealRow, NoticeRow)
    ends = [ends_of(db, table.forget_at, table.subject == subject) for table in tables]
    waiting = [ends_of(db, table.due_at, (table.subject == subject) & table.forget_at.is_(None)) for table in tables]
    first_at = min((each.first_at for each in ends if each.first_at), default=None)
    last_at = max((each.last_at for each in ends if each.last_at), default=None)
    is_known = not any(each.count for each in waiting)
    return Ends(sum(each.count for each in ends), first_at, last_at if is_known else None)


def _session_ends(session: SessionRow | None, idle: timedelta) -> Ends:
    """The sweeper forgets it after the last whole day."""
    if session is None:
        return Ends()
    day = datetime.combine(session.last_used_on, datetime.min.time(), UTC)
    at = int((day + idle + timedelta(days=1)).timestamp())
    return Ends(1, at, at)


def _recent_jobs(db: Session, owner: Owner, since: float) -> list[JobId]:
    """Those that are under way, or ended no longer ago."""
    is_recent = or_(JobRow.ended_at.is_(None), JobRow.ended_at >= int(since))
    return [JobId(job_id) for job_id in db.scalars(select(JobRow.id).where(owned(JobRow, owner), is_recent))]


def _held(name: str, kept: Kept, ends: Ends) -> HeldClass:
    return HeldClass(
        name=name,
        what=kept.what,
        count=ends.count,
        kept=kept_in_words(kept),
        counted_from=kept.counted_from,
        first_ends_at=ends.first_at,
        last_ends_at=ends.last_at,
    )


def _readable(row: Base) -> dict[str, Readable]:
    values = {name: getattr(row, name) for name in row.__table__.columns.keys() if name not in UNREADABLE}
    return {name: _value(name, value) for name, value in values.items() if not isinstance(value, bytes)}


def _value(name: str, value: object) -> Readable:
    if name.endswith("_at") and isinstance(value, int):
        return datetime.fromtimestamp(value, UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value  # pyright: ignore[reportReturnType]  columns hold nothing else
