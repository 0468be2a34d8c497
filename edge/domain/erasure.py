"""Deleting pictures: the one way, for the owner, for whoever holds an address, and for the sweeper.

First the row says that it is gone, so that its address answers 410 at once; then the object goes; then the row. A store
that does not answer leaves the first word standing, and the sweeper finishes. Doing it twice does no harm.
"""

import logging
from collections.abc import Collection
from functools import partial

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ImageRow, JobRow
from serve_app.errors import StoreUnavailable
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

BATCH = 500


async def erase_images(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float,
    limit: int = BATCH,
) -> int:  # fmt: skip
    """Erase up to `limit` of the images that `which` names: how many. Raises DatabaseUnavailable, StoreUnavailable.

    `forget_after_s`: how long a job's bare state outlives its last picture.
    """
    rows = await database.write(partial(_mark, which=which, now=now, limit=limit))
    if rows:
        await store.delete([row.key for row in rows])
        await database.write(partial(_delete_rows, rows=rows, forget_at=int(now + forget_after_s)))
    return len(rows)


async def erase_for_caller(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> None:
    """The same for a person who waits: nobody sees the picture again from here on, and a slow store follows later."""
    try:
        await erase_images(which, store=store, database=database, now=now, forget_after_s=forget_after_s)
    except StoreUnavailable:
        log.warning("the store does not answer: the sweeper will finish a deletion")


def due(now: float) -> ColumnElement[bool]:
    """Images whose time has come, and those whose deletion was begun."""
    return or_(ImageRow.delete_at <= int(now), ImageRow.erased_at.is_not(None))


def _mark(db: Session, which: ColumnElement[bool], now: float, limit: int) -> list[ImageRow]:
    rows = list(db.scalars(select(ImageRow).where(which).limit(limit)))
    fresh = [row.id for row in rows if row.erased_at is None]
    db.execute(update(ImageRow).where(ImageRow.id.in_(fresh)).values(erased_at=int(now)))
    return rows


def _delete_rows(db: Session, rows: Collection[ImageRow], forget_at: int) -> None:
    db.execute(delete(ImageRow).where(ImageRow.id.in_([row.id for row in rows])))
    emptied = {row.job_id for row in rows} - set(
        db.scalars(select(ImageRow.job_id).where(ImageRow.job_id.in_({row.job_id for row in rows})))
    )
    db.execute(
        update(JobRow)
        .where(JobRow.id.in_(emptied), JobRow.forget_at > forget_at)
        .values(forget_at=forget_at)
        .execution_options(synchronize_session=False)
    )
