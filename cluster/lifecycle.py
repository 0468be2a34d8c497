"""Expiry that works: at every minute, delete what was promised to go.

Keys are the truth and rows an index: minutes that have passed are emptied by prefix, rows or no rows. Every step may be
cut off and done again. The store's own lifecycle rules are the backstop for when nobody runs this.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter

from msgspec import Struct

from edge.db.database import Database
from edge.domain import jobs
from edge.domain.addresses import PREFIX
from edge.domain.erasure import BATCH, due, erase_images
from edge.domain.sessions import forget_idle_sessions
from policies.schema import Policies
from serve_app.errors import StoreUnavailable
from serve_app.storage.keys import parse_minute
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

CANARY = "canary"
MINUTE_S = 60.0


class Swept(Struct, frozen=True):
    """What one sweep removed. `is_complete` is False where the store did not answer; the next sweep goes on."""

    objects: int
    rows: int
    jobs: int
    sessions: int
    is_complete: bool


async def sweep_once(now: float, store: ObjectStore, database: Database, policies: Policies) -> Swept:
    """Raises DatabaseUnavailable. What the store refuses is left for the next sweep."""
    kept = policies.retention.classes
    forget_after_s = kept.job_state.duration.total_seconds()
    objects, rows, is_complete = 0, 0, True
    try:
        objects, is_complete = await _empty_minutes(now, store)
        while touched := (
            await erase_images(due(now), store=store, database=database, now=now, forget_after_s=forget_after_s)
        ).touched:
            rows += touched
    except StoreUnavailable:
        is_complete = False
    await database.write(partial(jobs.fail_lost_jobs, now=now, forget_after_s=forget_after_s))
    forgotten = 0
    while batch := await database.write(partial(jobs.forget_jobs, now=now, limit=BATCH)):
        forgotten += batch
    idle_s = kept.session.duration.total_seconds()
    sessions = await database.write(partial(forget_idle_sessions, now=now, idle_s=idle_s))
    await database.compact()
    return Swept(objects, rows, forgotten, sessions, is_complete)


async def run_sweeper(clock: Callable[[], float], store: ObjectStore, database: Database, policies: Policies) -> None:
    """Until cancelled. Wakes at each whole minute, which is when keys fall due."""
    while True:
        began = perf_counter()
        try:
            swept = await sweep_once(clock(), store, database, policies)
        except Exception as error:  # noqa: BLE001  deleting must go on whatever one sweep met
            log.error("sweep failed: %s", type(error).__name__)
        else:
            log.info("swept %s in %.2f s", _counts(swept), perf_counter() - began)
        await asyncio.sleep(MINUTE_S - clock() % MINUTE_S)


async def _empty_minutes(now: float, store: ObjectStore) -> tuple[int, bool]:
    """Objects deleted, and whether every minute that has passed is empty now."""
    deleted, is_complete = 0, True
    for prefix in await _passed_minutes(now, store):
        try:
            keys = await store.keys(prefix)
            for start in range(0, len(keys), BATCH):
                await store.delete(keys[start : start + BATCH])
        except StoreUnavailable as error:
            log.warning("a minute is not empty yet: %s", error)
            is_complete = False
        else:
            deleted += len(keys)
    return deleted, is_complete


async def _passed_minutes(now: float, store: ObjectStore) -> list[str]:
    """Prefixes of the minutes that are over, in every backstop class."""
    passed: list[str] = []
    for days in await store.children(f"{PREFIX}/"):
        for name in await store.children(f"{PREFIX}/{days}/"):
            if name != CANARY and _is_over(name, now):
                passed.append(f"{PREFIX}/{days}/{name}/")
    return passed


def _is_over(minute: str, now: float) -> bool:
    try:
        return parse_minute(minute).timestamp() <= now
    except ValueError:
        log.warning("an object lies where only minutes should be")
        return False


def _counts(swept: Swept) -> str:
    state = "" if swept.is_complete else ", not all"
    return f"{swept.objects} objects, {swept.rows} rows, {swept.jobs} jobs, {swept.sessions} sessions{state}"
