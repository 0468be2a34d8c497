"""The rows of generations: accepted, leased, ended once, forgotten. Work on a database session, no HTTP, no tasks."""

import secrets
from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow, JobRow
from edge.db.statements import changed
from edge.domain.orders import Order
from edge.domain.owner import ImageId, JobId, Owner

LEASE_S = 30
OPEN_STATES = ("queued", "running")


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


def mark_running(db: Session, job_id: JobId, epoch: int) -> None:
    db.execute(update(JobRow).where(_still_ours(job_id, epoch)).values(status="running"))


def end_job(
    db: Session, job_id: JobId, epoch: int, *, status: str, now: float, forget_at: float,
    error_code: str | None = None, truncated: bool = False,
) -> bool:  # fmt: skip
    """False when somebody else has ended it: that state stands."""
    updated = changed(
        db,
        update(JobRow)
        .where(_still_ours(job_id, epoch))
        .values(status=status, ended_at=int(now), forget_at=int(forget_at), error_code=error_code, truncated=truncated),
    )
    return updated == 1


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


def cancel_job(db: Session, job: JobRow, now: float, forget_after_s: float) -> None:
    """For a job that no edge we can reach looks after."""
    forget_at = now + forget_after_s
    end_job(db, JobId(job.id), job.epoch, status="cancelled", now=now, forget_at=forget_at, error_code="cancelled")


def delete_ended(db: Session, job_id: JobId) -> None:
    db.execute(delete(JobRow).where(JobRow.id == job_id, JobRow.status.not_in(OPEN_STATES)))


def forget_jobs(db: Session, now: float, limit: int) -> int:
    due = select(JobRow.id).where(JobRow.forget_at <= int(now)).limit(limit)
    return changed(db, delete(JobRow).where(JobRow.id.in_(due)))


def _still_ours(job_id: JobId, epoch: int) -> ColumnElement[bool]:
    return and_(JobRow.id == job_id, JobRow.epoch == epoch, JobRow.status.in_(OPEN_STATES))


def _owned(row: type[JobRow] | type[ImageRow], owner: Owner) -> ColumnElement[bool]:
    return and_(row.owner_kind == owner.kind, row.owner_id == owner.id)


def _visible(now: float) -> tuple[ColumnElement[bool], ...]:
    return ImageRow.erased_at.is_(None), ImageRow.delete_at > int(now)
