"""Expiry that works: what was promised to go goes, at its minute, by itself.

Three loops of items, each at its own pace: deletions that were asked for within seconds, what is due at each whole
minute, and the checks of every hour. An item may be cut off anywhere and done again, and two sweepers do no harm; one
leads, so that the work is done once. The store's own lifecycle rules are the backstop for when nobody runs this.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from sqlalchemy.orm import Session

from cluster.day_keys import OF_NOTICES, destroy_day_keys, make_day_keys
from cluster.minutes import delete_orphans, empty_images, empty_training
from cluster.store_init import check_store
from cluster.sweep import ITEM_S, Parts, Sweep
from edge.domain.canaries import forget_canaries, look_for_canaries, plant_canaries
from edge.domain.complaints import forget_complaints
from edge.domain.erasure import BATCH, due, erase_images, oldest_due
from edge.domain.jobs import fail_lost_jobs, forget_jobs, shorten_jobs
from edge.domain.leader import candidate
from edge.domain.moderation.decisions import forget_decisions
from edge.domain.prompts import forget_prompt_reads, forget_prompts, shorten_prompts
from edge.domain.receipts import forget_receipts, recheck_receipts
from edge.domain.reports import HourlyReport, Report, RulesReport, SweepReport, put_report
from edge.domain.rights_requests import forget_requests
from edge.domain.sessions import forget_idle_sessions
from edge.domain.sign_ins import forget_sign_ins
from edge.domain.training import finish_withdrawals, forget_consents, shorten_consents, withdraw_orphans

log = logging.getLogger(__name__)

Item = Callable[[Sweep], Awaitable[None]]

LEASE = "sweeper"
MINUTE_S = 60.0
EARLY_S = 5.0
HOUR_S = 3600.0


async def run_sweeper(parts: Parts) -> None:
    """Until cancelled."""
    async with candidate(parts.database, LEASE, parts.clock) as leads, asyncio.TaskGroup() as loops:
        for every_s, items in ((EARLY_S, EARLY), (MINUTE_S, EACH_MINUTE), (HOUR_S, EACH_HOUR)):
            loops.create_task(_repeat(parts, leads, every_s, items))


async def sweep_once(parts: Parts, items: Mapping[str, Item] | None = None, limit_s: float = ITEM_S) -> SweepReport:
    """Never raises: one item keeps no other from its turn."""
    sweep = Sweep(parts, limit_s)
    for kind, item in (EACH_MINUTE if items is None else items).items():
        await sweep.item(kind, item(sweep))
    return sweep.report()


async def _repeat(parts: Parts, leads: asyncio.Event, every_s: float, items: Mapping[str, Item]) -> None:
    """At whole multiples of `every_s`, which is when minutes fall due."""
    while True:
        await leads.wait()
        report = await sweep_once(parts, items, max(ITEM_S, every_s))
        if items is EACH_MINUTE:
            await _say(parts, report)
        elif items is EACH_HOUR:
            await _say(parts, HourlyReport(at=report.at, left=report.left))
        if items is EACH_MINUTE or report.removed:
            log.info("swept %s in %.2f s", _in_words(report), report.took_s)
        await asyncio.sleep(every_s - parts.clock() % every_s)


async def _say(parts: Parts, report: Report) -> None:
    """On /privacy/status."""
    await Sweep(parts).item("the report", parts.database.write(partial(put_report, report=report)))


# pictures and copies --------------------------------------------------------------------------------------------------


async def _erase_due_images(sweep: Sweep) -> None:
    """Deleted by their owners, due sooner than their key says, or left by a turn that was cut off."""
    while (due_at := await sweep.parts.database.read(partial(oldest_due, now=sweep.now))) is not None:
        erased = await erase_images(
            due(sweep.now),
            store=sweep.parts.store,
            database=sweep.parts.database,
            now=sweep.now,
            forget_after_s=sweep.forget_after_s,
            limit=BATCH,
        )
        sweep.note("rows", erased.touched, due_at=due_at)


async def _note_overdue(sweep: Sweep) -> None:
    """What is still there although all were erased just now."""
    if (due_at := await sweep.parts.database.read(partial(oldest_due, now=sweep.now))) is not None:
        sweep.leave(due_at)


async def _finish_withdrawals(sweep: Sweep) -> None:
    """Those that the store did not hear of at once."""
    finished = await finish_withdrawals(store=sweep.parts.store, database=sweep.parts.database)
    sweep.note("withdrawn copies", finished)


async def _withdraw_orphans(sweep: Sweep) -> None:
    """Nobody could say no to these any more, or the policy's mode does not let silence count any more."""
    retention = sweep.parts.policies.retention
    withdrawn = await withdraw_orphans(
        retention.training.mode,
        store=sweep.parts.store,
        database=sweep.parts.database,
        now=sweep.now,
        forget_after_s=retention.classes.proofs.duration_s,
    )
    sweep.note("withdrawn copies", len(withdrawn.copies))


# rows -----------------------------------------------------------------------------------------------------------------


def _forget(kind: str, forget: Callable[[Session, float, int], int]) -> Item:
    """`forget(db, now, limit)` until nothing is left."""

    async def item(sweep: Sweep) -> None:
        def some(db: Session) -> int:
            return forget(db, sweep.now, BATCH)

        while count := await sweep.parts.database.write(some):
            sweep.note(kind, count)

    return item


def _forget_all(kind: str, forget: Callable[[Session, float], int]) -> Item:
    """For tables of few rows."""

    async def item(sweep: Sweep) -> None:
        sweep.note(kind, await sweep.parts.database.write(lambda db: forget(db, sweep.now)))

    return item


async def _fail_lost_jobs(sweep: Sweep) -> None:
    await sweep.parts.database.write(partial(fail_lost_jobs, now=sweep.now, forget_after_s=sweep.forget_after_s))


async def _forget_sessions(sweep: Sweep) -> None:
    idle_s = sweep.parts.policies.retention.classes.session.duration_s
    forget = partial(forget_idle_sessions, now=sweep.now, idle_s=idle_s, limit=BATCH)
    forgotten = 0
    while count := await sweep.parts.database.write(forget):
        forgotten += count
        sweep.note("sessions", count)
    if forgotten:
        await _withdraw_orphans(sweep)


async def _make_day_keys(sweep: Sweep) -> None:
    keys, database = sweep.parts.keys, sweep.parts.database
    await make_day_keys(keys, database, sweep.now)
    await make_day_keys(keys.of_notices, database, sweep.now, OF_NOTICES)


async def _destroy_day_keys(sweep: Sweep) -> None:
    keys, database = sweep.parts.keys, sweep.parts.database
    sweep.note("day keys", await destroy_day_keys(keys, database, sweep.now))
    sweep.note("day keys", await destroy_day_keys(keys.of_notices, database, sweep.now, OF_NOTICES))


async def _shorten(sweep: Sweep) -> None:
    """What was written while the policy allowed more."""
    classes = sweep.parts.policies.retention.classes
    prompt_s, copy_s = (kept.duration_s for kept in (classes.moderation_prompt, classes.training_copy))
    while await sweep.parts.database.write(partial(shorten_prompts, now=sweep.now, kept_for_s=prompt_s, limit=BATCH)):
        pass
    while await sweep.parts.database.write(partial(shorten_consents, kept_for_s=copy_s, limit=BATCH)):
        pass
    jobs = partial(shorten_jobs, now=sweep.now, forget_after_s=sweep.forget_after_s, limit=BATCH)
    while await sweep.parts.database.write(jobs):
        pass


async def _compact(sweep: Sweep) -> None:
    await sweep.parts.database.compact()


# what is looked after each hour ---------------------------------------------------------------------------------------


async def _check_rules(sweep: Sweep) -> None:
    report = await check_store(sweep.parts.store_settings, sweep.parts.policies, sweep.now)
    await sweep.parts.database.write(partial(put_report, report=report))
    _tell(report)


async def _look_after_canaries(sweep: Sweep) -> None:
    parts = sweep.parts
    if parts.store_settings.s3_url is None:
        return
    for canary in await look_for_canaries(sweep.now, parts.store, parts.database):
        late_h = (sweep.now - canary.due_at) / HOUR_S
        log.error("the store's rule of %d d did not remove a canary: %.0f h overdue", canary.class_days, late_h)
    await plant_canaries(sweep.now, parts.store, parts.database, parts.policies)


async def _recheck_receipts(sweep: Sweep) -> None:
    rechecked = await recheck_receipts(sweep.now, sweep.parts.store, sweep.parts.database)
    sweep.note("found again", rechecked.found)


def _tell(report: RulesReport) -> None:
    if not report.is_held:
        log.error("the store's rules are not those of the policy: %s", "; ".join(report.findings))


def _in_words(report: SweepReport) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in report.removed.items() if count) or "nothing"
    return f"{counts}; left: {', '.join(report.left)}" if report.left else counts


EARLY: dict[str, Item] = {
    "day keys to come": _make_day_keys,
    "rows": _erase_due_images,
    "withdrawn copies": _finish_withdrawals,
}
EACH_MINUTE: dict[str, Item] = {
    "objects": empty_images,
    "copies": empty_training,
    **EARLY,
    "lost jobs": _fail_lost_jobs,
    "jobs": _forget("jobs", forget_jobs),
    "sessions": _forget_sessions,
    "sign-ins": _forget("sign-ins", forget_sign_ins),
    "prompts": _forget("prompts", forget_prompts),
    "decisions": _forget("decisions", forget_decisions),
    "reports and appeals": _forget("reports and appeals", forget_complaints),
    "day keys": _destroy_day_keys,
    "readings": _forget("readings", forget_prompt_reads),
    "consents": _forget("consents", forget_consents),
    "receipts": _forget("receipts", forget_receipts),
    "requests": _forget_all("requests", forget_requests),
    "canaries": _forget_all("canaries", forget_canaries),
    "overdue rows": _note_overdue,
    "traces in the database": _compact,
}
EACH_HOUR: dict[str, Item] = {
    "shortened times": _shorten,
    "rules": _check_rules,
    "canaries": _look_after_canaries,
    "copies without a session": _withdraw_orphans,
    "orphans": delete_orphans,
    "receipts": _recheck_receipts,
}
