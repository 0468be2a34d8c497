"""`sfumato moderation queue`, `show` and `decide`: the operator's desk for appeals and reports, with their clocks."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from time import time
from typing import Literal

from sqlalchemy.orm import Session

from cluster.complaint_desk import Desk, Removed
from cluster.complaint_desk import decide as decide_complaint
from cluster.complaint_reader import ReadComplaint, kind_in_words, read_complaint, refusal_in_words
from cluster.day_keys import DayKeys, KeyGone
from cluster.opened_database import opened_database
from cluster.prompt_reader import CannotRead, Reading
from cluster.terminal import one_line
from edge.db.rows import AppealRow, ModerationDecisionRow
from edge.domain.complaints import Complaint, Outcome, waiting_complaints
from edge.domain.day_seal import DaySealBroken
from edge.domain.notices import found_of
from edge.domain.standing import utc_minute
from edge.errors import DatabaseUnavailable, NotFound, SettingsError
from policies.load import PolicyError, load_policies
from policies.publish import in_one_unit
from serve_app.errors import ModerationUnavailable, StoreUnavailable
from serve_app.settings import Settings
from serve_app.settings import SettingsError as EngineSettingsError
from serve_app.storage.opening import open_store

OUTCOMES: dict[str, Outcome] = {"uphold": "upheld", "reject": "rejected"}
MISTAKES = (
    SettingsError, EngineSettingsError, PolicyError, DatabaseUnavailable, StoreUnavailable, ModerationUnavailable,
    CannotRead, NotFound, KeyGone, DaySealBroken, OSError,
)  # fmt: skip


def queue() -> None:
    """List the appeals and reports that wait for a person, the most urgent first, and until when."""
    with one_line(*MISTAKES):
        lines = asyncio.run(_queue(os.environ, time()))
    print("\n".join(lines) or "nothing waits for a person")  # noqa: T201  its answer


def show(complaint_id: str, /, *, reader: str, reason: str) -> None:
    """Write down who reads and why, then show what an appeal or a report says. Needs the database and SFUMATO_KEYS.

    Parameters
    ----------
    complaint_id
        As `queue` shows it.
    reader
        Who reads.
    reason
        Why.
    """
    with one_line(*MISTAKES):
        print(asyncio.run(_show(os.environ, complaint_id, reader, reason)))  # noqa: T201  its answer


def decide(
    complaint_id: str, verdict: Literal["uphold", "reject"], /, *, reader: str, reason: str, answer: str | None = None
) -> None:
    """Decide an appeal or a report; its sender reads how.

    A report upheld removes the pictures that it names, and puts their hashes on the list of SFUMATO_IMAGE_HASHES. An
    appeal upheld marks the refusal as overturned.

    Parameters
    ----------
    complaint_id
        As `queue` shows it.
    verdict
        `uphold`: its sender is right.
    reader
        Who decides, written down as a reading is.
    reason
        Why, for the record; the sender does not read it.
    answer
        What its sender reads besides the outcome.
    """
    with one_line(*MISTAKES):
        removed = asyncio.run(_decide(os.environ, complaint_id, OUTCOMES[verdict], answer, reader, reason))
    print(OUTCOMES[verdict] + _removal(removed))  # noqa: T201  its answer


async def _queue(env: Mapping[str, str], now: float) -> list[str]:
    def lines(db: Session) -> list[str]:
        return [_line(db, row, now) for row in waiting_complaints(db)]

    async with opened_database(env) as database:
        return await database.read(lines)


async def _show(env: Mapping[str, str], complaint_id: str, reader: str, reason: str) -> ReadComplaint:
    async with _opened_desk(env) as desk:
        return await read_complaint(complaint_id, _reading(reader, reason, desk), desk.database, desk.keys)


async def _decide(
    env: Mapping[str, str], complaint_id: str, outcome: Outcome, answer: str | None, reader: str, reason: str
) -> Removed:
    async with _opened_desk(env) as desk:
        return await decide_complaint(complaint_id, outcome, answer, _reading(reader, reason, desk), desk)


@asynccontextmanager
async def _opened_desk(env: Mapping[str, str]) -> AsyncGenerator[Desk]:
    settings = Settings.from_env(env)
    kept = load_policies(settings.policies).retention.classes
    async with opened_database(env) as database:
        yield Desk(
            database=database,
            store=open_store(settings.store),
            keys=DayKeys.from_env(env).of_notices,
            image_hashes=settings.image_hashes,
            kept=kept,
        )


def _reading(reader: str, reason: str, desk: Desk) -> Reading:
    now = time()
    return Reading(reader, reason, now, now + desk.kept.proofs.duration_s)


def _line(db: Session, row: Complaint, now: float) -> str:
    if isinstance(row, AppealRow):
        what = f"against {refusal_in_words(db.get(ModerationDecisionRow, row.decision_id))}"
    else:
        found = found_of(row)
        what = f"{len(found)} {'picture' if len(found) == 1 else 'pictures'}, {found.count('gone')} gone when reported"
    left_s = row.due_at - now
    clock = f"{in_one_unit(left_s)} left" if left_s > 0 else f"{in_one_unit(-left_s)} late"
    return f"{row.id}  {kind_in_words(row)}, {what}, due {utc_minute(row.due_at)} UTC, {clock}"


def _removal(removed: Removed) -> str:
    return f": pictures removed {removed.pictures}, hashes listed {removed.hashes}" if removed.pictures else ""
