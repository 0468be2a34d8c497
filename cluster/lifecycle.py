"""Expiry that works: at every minute, delete what was promised to go.

Keys are the truth and rows an index: minutes that have passed are emptied by prefix, rows or no rows. Every step may be
cut off and done again. The store's own lifecycle rules are the backstop for when nobody runs this.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

from msgspec import Struct

from edge.db.database import Database
from edge.domain import jobs
from edge.domain.addresses import PREFIX
from edge.domain.erasure import BATCH, due, erase_images
from edge.domain.sessions import forget_idle_sessions
from edge.errors import EdgeError
from policies.schema import KeptClasses, Policies
from serve_app.errors import ServeError
from serve_app.storage.keys import parse_minute
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

CANARY = "canary"
MINUTE_S = 60.0


class Swept(Struct, frozen=True):
    """What one sweep removed, by kind. `left`: the kinds that met an error; the next sweep tries them again."""

    removed: dict[str, int]
    left: list[str]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in self.removed.items())
        return f"{counts}; left: {', '.join(self.left)}" if self.left else counts


async def sweep_once(
    now: float, store: ObjectStore, database: Database, policies: Policies, batch: int = BATCH
) -> Swept:
    """Never raises: one kind, or one minute of objects, keeps no other from going."""
    sweep = _Sweep(now, store, database, policies.retention.classes, batch)
    await sweep.item("objects", sweep.empty_classes())
    await sweep.item("rows", sweep.erase_due_images())
    await sweep.item("lost jobs", sweep.fail_lost_jobs())
    await sweep.item("jobs", sweep.forget_jobs())
    await sweep.item("sessions", sweep.forget_sessions())
    await sweep.item("traces in the database", database.compact())
    return Swept(sweep.removed, sorted(sweep.left))


async def run_sweeper(clock: Callable[[], float], store: ObjectStore, database: Database, policies: Policies) -> None:
    """Until cancelled. Wakes at each whole minute, which is when keys fall due."""
    while True:
        began = perf_counter()
        swept = await sweep_once(clock(), store, database, policies)
        log.info("swept %s in %.2f s", swept, perf_counter() - began)
        await asyncio.sleep(MINUTE_S - clock() % MINUTE_S)


class _Sweep:
    """One pass over everything that may be due. `batch` bounds what one statement or one call to the store takes."""

    def __init__(self, now: float, store: ObjectStore, database: Database, kept: KeptClasses, batch: int) -> None:
        self.removed = {"objects": 0, "rows": 0, "jobs": 0, "sessions": 0}
        self.left: set[str] = set()
        self._now = now
        self._store = store
        self._database = database
        self._kept = kept
        self._batch = batch

    async def item(self, kind: str, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  deleting must go on whatever one item met
            is_ours = isinstance(error, ServeError | EdgeError)  # whose texts are safe to log
            log.error("%s are left for the next sweep: %s", kind, error if is_ours else type(error).__name__)
            self.left.add(kind)

    async def empty_classes(self) -> None:
        """Minutes that have passed, in every backstop class."""
        for days in await self._store.children(f"{PREFIX}/"):
            await self.item("objects", self._empty_minutes(f"{PREFIX}/{days}/"))

    async def _empty_minutes(self, prefix: str) -> None:
        for name in await self._store.children(prefix):
            if name != CANARY and _is_over(name, self._now):
                await self.item("objects", self._empty(f"{prefix}{name}/"))

    async def _empty(self, prefix: str) -> None:
        keys = await self._store.keys(prefix)
        for start in range(0, len(keys), self._batch):
            await self._store.delete(part := keys[start : start + self._batch])
            self.removed["objects"] += len(part)

    async def erase_due_images(self) -> None:
        erase = partial(
            erase_images,
            due(self._now),
            store=self._store,
            database=self._database,
            now=self._now,
            forget_after_s=self._forget_after_s,
            limit=self._batch,
        )
        while touched := (await erase()).touched:
            self.removed["rows"] += touched

    async def fail_lost_jobs(self) -> None:
        await self._database.write(partial(jobs.fail_lost_jobs, now=self._now, forget_after_s=self._forget_after_s))

    async def forget_jobs(self) -> None:
        while forgotten := await self._database.write(partial(jobs.forget_jobs, now=self._now, limit=self._batch)):
            self.removed["jobs"] += forgotten

    async def forget_sessions(self) -> None:
        idle_s = self._kept.session.duration.total_seconds()
        forget = partial(forget_idle_sessions, now=self._now, idle_s=idle_s)
        self.removed["sessions"] += await self._database.write(forget)

    @property
    def _forget_after_s(self) -> float:
        return self._kept.job_state.duration.total_seconds()


def _is_over(minute: str, now: float) -> bool:
    try:
        return parse_minute(minute).timestamp() <= now
    except ValueError:
        log.warning("an object lies where only minutes should be")
        return False
