"""Prompts kept for moderation: sealed records that the edge can write, count and erase, and cannot read."""

from msgspec import Struct
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from edge.db.rows import PromptRow
from edge.db.statements import changed
from edge.domain.owner import Owner, owned


class PromptCount(Struct, frozen=True):
    """How many records, and when the first and the last of them go; None where there are none."""

    count: int
    first_end_at: int | None
    last_end_at: int | None


def count_prompts(db: Session, owner: Owner) -> PromptCount:
    ends = PromptRow.delete_at
    return PromptCount(
        *db.execute(select(func.count(), func.min(ends), func.max(ends)).where(owned(PromptRow, owner))).one()
    )


def erase_prompts(db: Session, owner: Owner) -> int:
    return changed(db, delete(PromptRow).where(owned(PromptRow, owner)))
