"""The rows of generations: accepted, leased, ended once, forgotten. Work on a database session, no HTTP, no tasks."""

import secrets
from collections.abc import Collection, Sequence
from typing import cast

from msgspec import Struct
from sqlalchemy import BigInteger, ColumnElement, Table, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow, JobRow
from edge.db.statements import Share, changed
from edge.domain.events import Ended, Outcome
from edge.domain.orders import Order
from edge.domain.owner import ImageId, JobId, Owner, owned

LEASE_S = 30
BATCH = 500  # rows in one statement
OPEN_STATES = ("queued", "running")

_jobs = cast("Table", JobRow.__table__)
_images = cast("Table", ImageRow.__table__)
_AT = bindparam("at", type_=BigInteger)
_LAST_PICTURE_AT = (
    select(func.max(_images.c.delete_at))
    .where(_images.c.job_id == _jobs.c.id, _images.c.erased_at.is_(None), _images.c.delete_at > _AT)
    .correlate(_jobs)
    .scalar_subquery()
)
_FORGET_AT = func.coalesce(_LAST_PICTURE_AT, _AT) + bindparam("forget_after_s", type_=BigInteger)
_STILL_OURS = and_(
    _jobs.c.id == bindparam("of_job"),
    _jobs.c.epoch == bindparam("of_epoch"),
    or_(*(_jobs.c.status == state for state in OPEN_STATES)),
)
_BEGIN = update(_jobs).where(_STILL_OURS).values(status="running")
_END = (
    update(_jobs)
    .where(_STILL_OURS)
    .values(
        status=bindparam("new_status"),
        ended_at=_AT,
        forget_at=_FORGET_AT,
        error_code=bindparam("code"),
        truncated=bindparam("cut"),
    )
)
_LOSE = (
    update(_jobs)
    .where(or_(*(_jobs.c.status == state for state in OPEN_STATES)), _jobs.c.lease_until_at < _AT)
    .values(status="failed", error_code="edge_lost", epoch=_jobs.c.epoch + 1, ended_at=_AT, forget_at=_FORGET_AT)
)


class Ending(Struct, frozen=True):
    """`forget_after_s`: how long the bare state of the job outlives its last picture."""

    job_id: JobId
    epoch: int
    ended: Ended
    now: float
    forget_after_s: float


def new_job_id() -> JobId:
    return JobId(secrets.token_hex(16))


def create_job(db: Session, job_id: JobId, owner: Owner, order: Order, now: float) -> JobRow:
    job = JobRow(
        id=job_id,
        owner_kind=owner.kind,
        owner_id=owner.id,
        model=order.model,
        images_asked=order.n,
        status="queued",
        epoch=1,
        lease_until_at=int(now) + LEASE_S,
        created_at=int(now),
        truncated=False,
    )
    db.add(job)
    return job


def running(job: JobRow) -> Share[JobRow, None]:
    return Share(_begin_all, job)


def ended(ending: Ending) -> Share[Ending, Ended]:
    """Answers how the job stands ended: changes nothing when somebody else was first."""
    return Share(_end_all, ending)


def open_among(db: Session, job_ids: Collection[str]) -> set[str]:
    """Until this transaction is over: nobody ends them meanwhile."""
    query = select(_jobs.c.id).where(_jobs.c.id.in_(job_ids), _jobs.c.status.in_(OPEN_STATES)).order_by(_jobs.c.id)
    return set(db.scalars(query.with_for_update(read=True)))


def renew_leases(db: Session, job_ids: Collection[JobId], now: float) -> None:
    db.execute(
        update(JobRow)
        .where(JobRow.id.in_(job_ids), JobRow.status.in_(OPEN_STATES))
        .values(lease_until_at=int(now) + LEASE_S)
    )


def fail_lost_jobs(db: Session, now: float, forget_after_s: float) -> int:
    """End every job whose edge no longer renews its lease. Nothing runs it again."""
    return db.connection().execute(_LOSE, {"at": int(now), "forget_after_s": int(forget_after_s)}).rowcount


def find_job(db: Session, owner: Owner, job_id: str) -> JobRow | None:
    return db.scalar(select(JobRow).where(JobRow.id == job_id, owned(JobRow, owner)))


def is_open(db: Session, job_id: JobId) -> bool:
    return db.scalar(select(JobRow.status).where(JobRow.id == job_id)) in OPEN_STATES


def list_jobs(db: Session, owner: Owner, *, limit: int, after: JobRow | None) -> list[JobRow]:
    """Newest first; `limit` + 1 at most, so that the caller sees whether there are more."""
    query = select(JobRow).where(owned(JobRow, owner))
    if after is not None:
        older = and_(JobRow.created_at == after.created_at, JobRow.id < after.id)
        query = query.where((JobRow.created_at < after.created_at) | older)
    return list(db.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)))


def images_of(db: Session, job_ids: Sequence[str], now: float) -> list[ImageRow]:
    """The pictures that can still be seen, in order."""
    query = select(ImageRow).where(ImageRow.job_id.in_(job_ids), *visible(now))
    return list(db.scalars(query.order_by(ImageRow.position)))


def count_images(db: Session, job_id: str) -> int:
    """Those that nobody has deleted."""
    alive = select(func.count()).where(ImageRow.job_id == job_id, ImageRow.erased_at.is_(None))
    return db.scalar(alive) or 0


def find_image(db: Session, owner: Owner, image_id: str, now: float) -> ImageRow | None:
    query = select(ImageRow).where(ImageRow.id == image_id, owned(ImageRow, owner), *visible(now))
    return db.scalar(query)


def find_addressed(db: Session, image_id: ImageId, now: float) -> ImageRow | None:
    """Whoever holds the address may have it."""
    return db.scalar(select(ImageRow).where(ImageRow.id == image_id, *visible(now)))


def visible(now: float) -> tuple[ColumnElement[bool], ...]:
    return ImageRow.erased_at.is_(None), ImageRow.delete_at > int(now)


def delete_ended(db: Session, which: ColumnElement[bool]) -> int:
    return changed(db, delete(JobRow).where(which, JobRow.status.not_in(OPEN_STATES)))


def ended_ids(db: Session, owner: Owner) -> list[str]:
    return list(db.scalars(select(JobRow.id).where(owned(JobRow, owner), JobRow.status.not_in(OPEN_STATES))))


def delete_jobs(db: Session, job_ids: Sequence[str]) -> int:
    """However many."""
    return sum(
        delete_ended(db, JobRow.id.in_(job_ids[start : start + BATCH])) for start in range(0, len(job_ids), BATCH)
    )


def forget_jobs(db: Session, now: float, limit: int) -> int:
    due = select(JobRow.id).where(JobRow.forget_at <= int(now)).limit(limit)
    return changed(db, delete(JobRow).where(JobRow.id.in_(due)))


def shorten_jobs(db: Session, now: float, forget_after_s: float, limit: int) -> int:
    """Those that ended while the policy kept a job's state for longer: how many. When a picture went that is there no
    more, nobody knows: what is left of such a job goes as if that had been now, and nothing goes later than it did."""
    at = {"at": int(now), "forget_after_s": int(forget_after_s)}
    longer = select(_jobs.c.id).where(_jobs.c.forget_at > _FORGET_AT).limit(limit)
    return (
        db.connection().execute(update(_jobs).where(_jobs.c.id.in_(longer)).values(forget_at=_FORGET_AT), at).rowcount
    )


def _begin_all(db: Session, jobs: Sequence[JobRow]) -> list[None]:
    db.connection().execute(_BEGIN, [{"of_job": job.id, "of_epoch": job.epoch} for job in jobs])
    return [None] * len(jobs)


def _end_all(db: Session, endings: Sequence[Ending]) -> list[Ended]:
    db.connection().execute(_END, [_end_values(ending) for ending in endings])
    found = db.execute(
        select(_jobs.c.id, _jobs.c.status, _jobs.c.error_code).where(
            _jobs.c.id.in_([ending.job_id for ending in endings])
        )
    )
    standing = {job_id: (status, code) for job_id, status, code in found}
    return [_standing(ending.ended, standing.get(ending.job_id)) for ending in endings]


def _end_values(ending: Ending) -> dict[str, object]:
    ended = ending.ended
    return {
        "of_job": ending.job_id,
        "of_epoch": ending.epoch,
        "new_status": ended.status,
        "at": int(ending.now),
        "forget_after_s": int(ending.forget_after_s),
        "code": ended.error_code,
        "cut": ended.truncated,
    }


def _standing(ours: Ended, row: tuple[Outcome, str | None] | None) -> Ended:
    """A row that is gone was ended and then deleted by its owner."""
    status, code = row or ("cancelled", "cancelled")
    return ours if (status, code) == (ours.status, ours.error_code) else Ended(status, code)
