"""Minutes that have passed are emptied by prefix, rows or no rows: keys are the truth, and rows an index.

Memory does not grow with what is due: names come in batches, and few batches are under way at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.sweep import Sweep
from edge.db.rows import ConsentRow
from edge.domain.canaries import PLACE
from edge.domain.erasure import forget_passed
from edge.errors import DatabaseUnavailable
from policies.publish import IMAGES, TRAINING
from serve_app.storage.keys import minute_name, parse_key, parse_minute

log = logging.getLogger(__name__)

Forget = Callable[[Sequence[str]], Awaitable[None]]  # what the database knew of objects that are gone

BATCH = 1000  # as many names as S3 deletes in one call
LANES = 4
DAY_S = 86_400
ORPHAN_S = 3_600  # how long a training copy may wait for its row


class Minute(NamedTuple):
    """`due_at` in Unix seconds."""

    prefix: str
    due_at: float


async def empty_images(sweep: Sweep) -> None:
    """Pictures whose minute has passed, so that their addresses answer 410 already; and their rows right after them."""

    async def forget(keys: Sequence[str]) -> None:
        rows = partial(forget_passed, keys=keys, now=sweep.now, forget_after_s=sweep.forget_after_s)
        await sweep.parts.database.write(rows)

    await _empty(sweep, IMAGES, "objects", forget)


async def empty_training(sweep: Sweep) -> None:
    """Training copies whose minute has passed. Their rows end at the same time by themselves."""

    async def forget(_: Sequence[str]) -> None: ...

    await _empty(sweep, TRAINING, "copies", forget)


async def delete_orphans(sweep: Sweep) -> None:
    """Training copies that no consent names: their edge died before it wrote one, or they were withdrawn."""
    async for keys in sweep.parts.store.batches(f"{TRAINING}/", BATCH):
        copies = [key for key in keys if f"/{PLACE}" not in key]
        settled = [key for key in copies if _copied_at(key) <= sweep.now - ORPHAN_S]
        named = await sweep.parts.database.read(partial(_consented, keys=settled))
        orphans = [key for key in settled if key not in named]
        if orphans:
            await sweep.parts.store.delete(orphans)
            sweep.note("copies", len(orphans))


async def _empty(sweep: Sweep, prefix: str, kind: str, forget: Forget) -> None:
    lanes = _Lanes(sweep, kind, forget)
    try:
        for days in await sweep.parts.store.children(f"{prefix}/"):
            await sweep.item(kind, lanes.empty_class(f"{prefix}/{days}/"))
        await lanes.finish()
    finally:
        lanes.leave()


class _Lanes:
    """Batches on their way out. One that fails holds up no other, and a database that does not answer holds up one:
    the rows are due by themselves."""

    def __init__(self, sweep: Sweep, kind: str, forget: Forget) -> None:
        self._sweep = sweep
        self._kind = kind
        self._forget = forget
        self._is_answered = True
        self._room = asyncio.Semaphore(LANES)
        self._busy: set[asyncio.Task[None]] = set()

    async def empty_class(self, prefix: str) -> None:
        async for minute in _passed_minutes(self._sweep, prefix):
            await self._sweep.item(self._kind, self._empty(minute), due_at=minute.due_at)

    async def finish(self) -> None:
        if self._busy:
            await asyncio.wait(self._busy)

    def leave(self) -> None:
        """What is still under way is for the next sweep."""
        for task in self._busy:
            task.cancel()

    async def _empty(self, minute: Minute) -> None:
        async for keys in self._sweep.parts.store.batches(minute.prefix, BATCH):
            await self._room.acquire()
            task = asyncio.create_task(self._lane(keys, minute))
            self._busy.add(task)
            task.add_done_callback(self._done)

    async def _lane(self, keys: Sequence[str], minute: Minute) -> None:
        await self._sweep.item(self._kind, self._delete(keys, minute), due_at=minute.due_at)

    async def _delete(self, keys: Sequence[str], minute: Minute) -> None:
        await self._sweep.parts.store.delete(keys)
        self._sweep.note(self._kind, len(keys), due_at=minute.due_at)
        if self._is_answered:
            try:
                await self._forget(keys)
            except DatabaseUnavailable:
                self._is_answered = False
                raise

    def _done(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        self._room.release()


async def _passed_minutes(sweep: Sweep, prefix: str) -> AsyncIterator[Minute]:
    """Names of minutes sort like time, and canaries after all of them."""
    now = minute_name(datetime.fromtimestamp(sweep.now, UTC))
    for name in await sweep.parts.store.children(prefix, until=now):
        try:
            yield Minute(f"{prefix}{name}/", parse_minute(name).timestamp())
        except ValueError:
            log.warning("an object lies where only minutes should be")


def _copied_at(key: str) -> float:
    """The class of a copy is its whole days and one more. What has another shape is too new to be judged."""
    try:
        place = parse_key(key)
    except ValueError:
        log.warning("an object lies where only copies should be")
        return float("inf")
    return place.delete_at.timestamp() - (place.class_days - 1) * DAY_S


def _consented(db: Session, keys: Sequence[str]) -> set[str]:
    ids = [parse_key(key).image_id for key in keys]
    return set(db.scalars(select(ConsentRow.key).where(ConsentRow.id.in_(ids), ConsentRow.withdrawn_at.is_(None))))
