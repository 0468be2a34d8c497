"""The rows of generations: accepted, leased, ended once, forgotten. Work on a database session, no HTTP, no tasks."""

import secrets
from collections.abc import Collection, Sequence
from typing import cast

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow, JobRow
from edge.db.statements import Change, changed
from edge.domain.orders import Order
from edge.domain.owner import ImageId, JobId, Owner

LEASE_S = 30
OPEN_STATES = ("queued", "running")

_jobs = cast("Table", JobRow.__table__)
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
        ended_at=bindparam("at"),
        forget_at=bindparam("forget"),
        error_code=bindparam("code"),
        truncated=bindparam("cut"),
    )
)


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


def running(job_id: JobId, epoch: int) -> Change:
    return Change(_BEGIN, {"of_job": job_id, "of_epoch": epoch})


def ended(
    job_id: JobId, epoch: int, *, status: str, now: float, forget_at: float, error_code: str | None = None,
    truncated: bool = False,
) -> Change:  # fmt: skip
    """Changes nothing when somebody else has ended it: that state stands."""
    return Change(
        _END,
        {
            "of_job": job_id,
            "of_epoch": epoch,
            "new_status": status,
            "at": int(now),
            "forget": int(forget_at),
            "code": error_code,
            "cut": truncated,
        },
    )


def renew_leases(db: Session, job_ids: Collection[JobId], now: float) -> None:
    db.execute(
        update(JobRow)
        .where(JobRow.id.in_(job_ids), JobRow.status.in_(OPEN_STATES))
        .values(lease_until_at=int(now) + LEASE_S)
    )


def fail_lost_jobs(db: Session, now: float, forget_after_s: float) -> int:
    """End every job whose edge no longer renews its lease. Nothing runs it again."""
    return changed(
        db,
        update(JobRow)
        .where(JobRow.status.in_(OPEN_STATES), JobRow.lease_until_at < int(now))
        .values(status="failed", error_code="edge_lost", ended_at=int(now), forget_at=int(now + forget_after_s)),
    )


def find_job(db: Session, owner: Owner, job_id: str) -> JobRow | None:
    return db.scalar(select(JobRow).where(JobRow.id == job_id, _owned(JobRow, owner)))


def list_jobs(db: Session, owner: Owner, *, limit: int, after: JobRow | None) -> list[JobRow]:
    """Newest first; `limit` + 1 at most, so that the caller sees whether there are more."""
    query = select(JobRow).where(_owned(JobRow, owner))
    if after is not None:
        older = and_(JobRow.created_at == after.created_at, JobRow.id < after.id)
        query = query.where((JobRow.created_at < after.created_at) | older)
    return list(db.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)))


def images_of(db: Session, job_ids: Sequence[str], now: float) -> list[ImageRow]:
    """The pictures that can still be seen, in order."""
    query = select(ImageRow).where(ImageRow.job_id.in_(job_ids), *_visible(now))
    return list(db.scalars(query.order_by(ImageRow.position)))


def find_image(db: Session, owner: Owner, image_id: str, now: float) -> ImageRow | None:
    query = select(ImageRow).where(ImageRow.id == image_id, _owned(ImageRow, owner), *_visible(now))
    return db.scalar(query)


def find_addressed(db: Session, image_id: ImageId, now: float) -> ImageRow | None:
    """Whoever holds the address may have it."""
    return db.scalar(select(ImageRow).where(ImageRow.id == image_id, *_visible(now)))


def cancelled(job: JobRow, now: float, forget_after_s: float) -> Change:
    """For a job that no edge we can reach looks after."""
    forget_at = now + forget_after_s
    return ended(JobId(job.id), job.epoch, status="cancelled", now=now, forget_at=forget_at, error_code="cancelled")


def delete_ended(db: Session, job_id: JobId) -> None:
    db.execute(delete(JobRow).where(JobRow.id == job_id, JobRow.status.not_in(OPEN_STATES)))


def forget_jobs(db: Session, now: float, limit: int) -> int:
    due = select(JobRow.id).where(JobRow.forget_at <= int(now)).limit(limit)
    return changed(db, delete(JobRow).where(JobRow.id.in_(due)))


def _owned(row: type[JobRow] | type[ImageRow], owner: Owner) -> ColumnElement[bool]:
    return and_(row.owner_kind == owner.kind, row.owner_id == owner.id)


def _visible(now: float) -> tuple[ColumnElement[bool], ...]:
    return ImageRow.erased_at.is_(None), ImageRow.delete_at > int(now)
