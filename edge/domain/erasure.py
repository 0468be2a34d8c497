"""Deleting pictures: the one way, for the owner, for whoever holds an address, and for the sweeper.

First the row says that it is gone, so that its address answers 410 at once; then the object goes; then the row. A store
that does not answer leaves the first word standing, and the sweeper finishes. Doing it twice does no harm, and whoever
marked a row first is the one who counts it: what all deletions say they removed adds up to what was there.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ImageRow, JobRow
from serve_app.contract import StoreOrder
from serve_app.errors import StoreUnavailable
from serve_app.storage.keys import ImageKey, delete_minute
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

BATCH = 500
CLOCKS_DIFFER_S = 60.0  # of a replica and an edge, at most


class ErasedImage(Struct, frozen=True):
    """Where it lay, and since when: what must be looked for again."""

    id: str
    job_id: str
    key: str
    created_at: int


class Erased(Struct, frozen=True):
    """`images`: those that this deletion was the first to name. `touched`: those and the ones it only finished.

    `is_complete` is False where the store did not answer: nobody sees them again, and the sweeper removes the objects.
    """

    images: list[ErasedImage]
    touched: int
    is_complete: bool = True


async def erase_images(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float,
    limit: int = BATCH,
) -> Erased:  # fmt: skip
    """Erase up to `limit` of the images that `which` names. Raises DatabaseUnavailable, StoreUnavailable.

    `forget_after_s`: how long a job's bare state outlives its last picture.
    """
    named, begun = await database.write(partial(_mark, which=which, now=now, limit=limit))
    await _finish([*named, *begun], store, database, now, forget_after_s)
    return Erased(named, len(named) + len(begun))


async def erase_for_caller(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> Erased:
    """All of them, for a person who waits: nobody sees a picture again from here on, and a slow store follows later."""
    images: list[ErasedImage] = []
    touched, is_complete = 0, True
    while True:
        named, begun = await database.write(partial(_mark, which=which, now=now, limit=BATCH))
        if not named and not begun:
            return Erased(images, touched, is_complete)
        images += named
        touched += len(named) + len(begun)
        try:
            await _finish([*named, *begun], store, database, now, forget_after_s)
        except StoreUnavailable:
            log.warning("the store does not answer: the sweeper will finish a deletion")
            is_complete = False
            which = which & ImageRow.erased_at.is_(None)


async def erase_strays(
    order: StoreOrder, job_id: str, *, store: ObjectStore, database: Database, since: float, now: float
) -> None:
    """Images of an ended job that no row names: stored by a run that was lost, or that ended before it could say so.

    Of their keys only the minute is not known, and it follows from when the job ran. Raises DatabaseUnavailable.
    """
    named = await database.read(lambda db: set(db.scalars(select(ImageRow.key).where(ImageRow.job_id == job_id))))
    try:
        await store.delete(sorted(set(_possible_keys(order, since, now)) - named))
    except StoreUnavailable:
        log.warning("the store does not answer: copies that nobody knows of go at their minute")


def due(now: float) -> ColumnElement[bool]:
    """Images whose time has come, and those whose deletion was begun. SQLite looks up no `IS NOT NULL` in an index."""
    return or_(ImageRow.delete_at <= int(now), ImageRow.erased_at >= 0)


def forget_passed(db: Session, keys: Sequence[str], now: float, forget_after_s: float) -> int:
    """The rows, where there are any, of objects that went because their minute has passed: how many.

    An image that was stored twice has two keys, and its row names the later.
    """
    named, ids = set(keys), [key.rpartition("/")[2] for key in keys]
    columns = (ImageRow.id, ImageRow.job_id, ImageRow.key, ImageRow.created_at)
    found = [ErasedImage(*row) for row in db.execute(select(*columns).where(ImageRow.id.in_(ids)))]
    images = [image for image in found if image.key in named]
    if images:
        _delete_rows(db, images, int(now + forget_after_s))
    return len(images)


def oldest_due(db: Session, now: float) -> int | None:
    """Since when the longest overdue of them is; None where nothing is due."""
    times = (
        db.scalar(select(func.min(ImageRow.delete_at)).where(ImageRow.delete_at <= int(now))),
        db.scalar(select(func.min(ImageRow.erased_at))),
    )
    return min((at for at in times if at is not None), default=None)


async def _finish(
    images: Collection[ErasedImage], store: ObjectStore, database: Database, now: float, forget_after_s: float
) -> None:
    if images:
        await store.delete([image.key for image in images])
        await database.write(partial(_delete_rows, images=images, forget_at=int(now + forget_after_s)))


def _possible_keys(order: StoreOrder, since: float, until: float) -> Iterator[str]:
    minute = delete_minute(since - CLOCKS_DIFFER_S, order.kept_for_s)
    while minute <= delete_minute(until + CLOCKS_DIFFER_S, order.kept_for_s):
        for slot in order.slots:
            yield str(ImageKey(order.prefix, order.class_days, minute, slot.image_id))
        minute += timedelta(minutes=1)


def _mark(
    db: Session, which: ColumnElement[bool], now: float, limit: int
) -> tuple[list[ErasedImage], list[ErasedImage]]:
    """Those that nobody had marked before, and those whose deletion is to be finished."""
    columns = (ImageRow.id, ImageRow.job_id, ImageRow.key, ImageRow.created_at)
    images = [ErasedImage(*row) for row in db.execute(select(*columns).where(which).limit(limit))]
    ids = [image.id for image in images]
    db.execute(select(ImageRow.id).where(ImageRow.id.in_(ids)).order_by(ImageRow.id).with_for_update())  # no deadlock
    mark = update(ImageRow).where(ImageRow.id.in_(ids), ImageRow.erased_at.is_(None)).values(erased_at=int(now))
    marked = set(db.scalars(mark.returning(ImageRow.id).execution_options(synchronize_session=False)))
    return [image for image in images if image.id in marked], [image for image in images if image.id not in marked]


def _delete_rows(db: Session, images: Collection[ErasedImage], forget_at: int) -> None:
    db.execute(delete(ImageRow).where(ImageRow.id.in_([image.id for image in images])))
    emptied = {image.job_id for image in images} - set(
        db.scalars(select(ImageRow.job_id).where(ImageRow.job_id.in_({image.job_id for image in images})))
    )
    db.execute(
        update(JobRow)
        .where(JobRow.id.in_(emptied), JobRow.forget_at > forget_at)
        .values(forget_at=forget_at)
        .execution_options(synchronize_session=False)
    )
