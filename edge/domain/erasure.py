"""Deleting pictures: the one way, for the owner, for whoever holds an address, and for the sweeper.

First the row says that it is gone, so that its address answers 410 at once, and loses its owner and its seed, as its
siblings lose theirs; then the object goes; then the row. A store that does not answer leaves the first word standing,
and the sweeper finishes. Doing it twice does no harm, and whoever marked a row first is the one who counts it: what all
deletions say they removed adds up to what was there.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
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
    """`images`: those that this deletion was the first to name. `touched`: those and the ones it only finished."""

    images: list[ErasedImage]
    touched: int


async def erase_images(
    which: ColumnElement[bool], *, store: ObjectStore, database: Database, now: float, forget_after_s: float,
    limit: int = BATCH,
) -> Erased:  # fmt: skip
    """Erase up to `limit` of the images that `which` names. Raises DatabaseUnavailable, StoreUnavailable.

    `forget_after_s`: how long a job's bare state outlives its last picture.
    """
    forget_at = int(now + forget_after_s)
    named, begun = await database.write(partial(_mark, which=which, now=now, forget_at=forget_at, limit=limit))
    await _finish([*named, *begun], store, database)
    return Erased(named, len(named) + len(begun))


def mark_erased(db: Session, which: ColumnElement[bool], now: float, forget_after_s: float) -> list[ErasedImage]:
    """All of them that nobody had marked before: nobody sees them from here on. The objects go next."""
    images: list[ErasedImage] = []
    unmarked = and_(which, ImageRow.erased_at.is_(None))
    while True:
        named, begun = _mark(db, unmarked, now, int(now + forget_after_s), BATCH)
        images += named
        if not named and not begun:
            return images


async def finish_erasing(images: Sequence[ErasedImage], *, store: ObjectStore, database: Database) -> bool:
    """For a person who waits: False where the store did not answer, and the sweeper finishes.

    Raises DatabaseUnavailable.
    """
    for start in range(0, len(images), BATCH):
        try:
            await _finish(images[start : start + BATCH], store, database)
        except StoreUnavailable:
            log.warning("the store does not answer: the sweeper will finish a deletion")
            return False
    return True


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
        job_ids = {image.job_id for image in images}
        _hold(db, job_ids)
        _delete_rows(db, images)
        _let_go(db, job_ids, int(now + forget_after_s))
    return len(images)


def oldest_due(db: Session, now: float) -> int | None:
    """Since when the longest overdue of them is; None where nothing is due."""
    times = (
        db.scalar(select(func.min(ImageRow.delete_at)).where(ImageRow.delete_at <= int(now))),
        db.scalar(select(func.min(ImageRow.erased_at))),
    )
    return min((at for at in times if at is not None), default=None)


async def _finish(images: Collection[ErasedImage], store: ObjectStore, database: Database) -> None:
    if images:
        await store.delete([image.key for image in images])
        await database.write(partial(_delete_rows, images=images))


def _possible_keys(order: StoreOrder, since: float, until: float) -> Iterator[str]:
    minute = delete_minute(since - CLOCKS_DIFFER_S, order.kept_for_s)
    while minute <= delete_minute(until + CLOCKS_DIFFER_S, order.kept_for_s):
        for slot in order.slots:
            yield str(ImageKey(order.prefix, order.class_days, minute, slot.image_id))
        minute += timedelta(minutes=1)


def _mark(
    db: Session, which: ColumnElement[bool], now: float, forget_at: int, limit: int
) -> tuple[list[ErasedImage], list[ErasedImage]]:
    """Those that nobody had marked before, and those whose deletion is to be finished."""
    columns = (ImageRow.id, ImageRow.job_id, ImageRow.key, ImageRow.created_at)
    images = [ErasedImage(*row) for row in db.execute(select(*columns).where(which).limit(limit))]
    job_ids = {image.job_id for image in images}
    _hold(db, job_ids)
    mark = (
        update(ImageRow)
        .where(ImageRow.id.in_([image.id for image in images]), ImageRow.erased_at.is_(None))
        .values(erased_at=int(now), owner_kind=None, owner_id=None)
    )
    marked = set(db.scalars(mark.returning(ImageRow.id).execution_options(synchronize_session=False)))
    if marked:
        _let_go(db, job_ids, forget_at)
    return [image for image in images if image.id in marked], [image for image in images if image.id not in marked]


def _hold(db: Session, job_ids: Collection[str]) -> None:
    """Until this transaction is over, always in the same order: those who delete siblings at once wait in line."""
    db.execute(select(ImageRow.id).where(ImageRow.job_id.in_(job_ids)).order_by(ImageRow.id).with_for_update())


def _let_go(db: Session, job_ids: Collection[str], forget_at: int) -> None:
    """What pictures leave behind that have gone: siblings without a seed, or a job that ends sooner."""
    _lose_seeds(db, job_ids)
    remain = select(ImageRow.job_id).where(ImageRow.job_id.in_(job_ids), ImageRow.erased_at.is_(None))
    emptied = set(job_ids) - set(db.scalars(remain))
    db.execute(
        update(JobRow)
        .where(JobRow.id.in_(emptied), JobRow.forget_at > forget_at)
        .values(forget_at=forget_at)
        .execution_options(synchronize_session=False)
    )


def _lose_seeds(db: Session, job_ids: Collection[str]) -> None:
    """Each picture of a job has the seed of its sibling and one more: from any of them follow all."""
    seeded = (ImageRow.job_id.in_(job_ids), ImageRow.seed.is_not(None))
    db.execute(update(ImageRow).where(*seeded).values(seed=None).execution_options(synchronize_session=False))


def _delete_rows(db: Session, images: Collection[ErasedImage]) -> None:
    """And the seed of a sibling that was written down while they were being erased."""
    db.execute(delete(ImageRow).where(ImageRow.id.in_([image.id for image in images])))
    _lose_seeds(db, {image.job_id for image in images})
