"""Deciding an appeal or a report. Where a report is upheld, each picture that it names goes at once, its copy for
training too, and its hash joins the operator's list, so that it is not shown again.

A picture is opened with the secret in its reported address, in memory alone, and only for its hash. Whatever is cut off
can be done again: a report is closed last.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from cluster.complaint_reader import ReadReport, opened
from cluster.day_keys import DayKeys
from cluster.prompt_reader import Reading, check_reading, write_down
from edge.db.database import Database
from edge.db.rows import AppealRow, ConsentRow, ImageRow, NoticeRow
from edge.domain.appeals import decide_appeal
from edge.domain.complaints import Complaint, Outcome, close, find_waiting
from edge.domain.erasure import erase_images
from edge.domain.notices import NamedPicture
from edge.domain.training import withdraw
from policies.schema import KeptClasses
from serve_app.hash_list import add_hashes
from serve_app.pdq import pdq_hash
from serve_app.storage.sealing import SealBroken, unseal
from serve_app.storage.store import ObjectGone, ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`keys`: those of notices. `image_hashes`: the operator's list."""

    database: Database
    store: ObjectStore
    keys: DayKeys
    image_hashes: Path
    kept: KeptClasses


class Removed(Struct, frozen=True):
    """How many pictures went now, and how many hashes were told to the list."""

    pictures: int = 0
    hashes: int = 0


async def decide(complaint_id: str, outcome: Outcome, answer: str | None, reading: Reading, desk: Desk) -> Removed:
    """Raises CannotRead, NotFound, KeyGone, DaySealBroken, DatabaseUnavailable, StoreUnavailable,
    ModerationUnavailable, OSError: then it still waits."""
    check_reading(reading)
    row = await desk.database.write(partial(_taken_up, complaint_id=complaint_id, reading=reading))
    removed = Removed()
    if isinstance(row, NoticeRow) and outcome == "upheld":
        report = opened(row, None, desk.keys)
        assert isinstance(report, ReadReport)
        removed = await remove(report.pictures, f"report {row.id}", reading.read_at, desk)
    await desk.database.write(
        partial(
            _close,
            complaint_id=complaint_id,
            outcome=outcome,
            answer=answer,
            now=reading.read_at,
            forget_after_s=desk.kept.notice.duration_s,
        )
    )
    return removed


async def remove(pictures: Sequence[NamedPicture], remark: str, now: float, desk: Desk) -> Removed:
    """The hashes are kept first: nobody could make them from what has gone."""
    by_id = {picture.image_id: picture for picture in pictures}
    hashes = [each for picture in by_id.values() if (each := await _hash(picture, desk.store)) is not None]
    if hashes:
        await asyncio.to_thread(add_hashes, desk.image_hashes, hashes, remark)
    erased = await erase_images(
        ImageRow.id.in_(by_id),
        store=desk.store,
        database=desk.database,
        now=now,
        forget_after_s=desk.kept.job_state.duration_s,
    )
    await withdraw(
        ConsentRow.id.in_(by_id),
        store=desk.store,
        database=desk.database,
        now=now,
        forget_after_s=desk.kept.proofs.duration_s,
    )
    return Removed(len(erased.images), len(hashes))


async def _hash(picture: NamedPicture, store: ObjectStore) -> NDArray[np.uint8] | None:
    """None for one that has gone, or whose stored bytes were damaged."""
    with suppress(ObjectGone, SealBroken):
        data = unseal(picture.secret, picture.key, await store.get(picture.key))
        return pdq_hash(np.asarray(Image.open(BytesIO(data)).convert("RGB")))
    return None


def _taken_up(db: Session, complaint_id: str, reading: Reading) -> Complaint:
    row = find_waiting(db, complaint_id)
    write_down(db, row.id, reading)
    return row


def _close(
    db: Session, complaint_id: str, outcome: Outcome, answer: str | None, now: float, forget_after_s: float
) -> None:
    match find_waiting(db, complaint_id):
        case AppealRow() as appeal:
            decide_appeal(db, appeal, outcome, answer, now, forget_after_s)
        case NoticeRow() as report:
            close(report, outcome, answer, now, forget_after_s)
