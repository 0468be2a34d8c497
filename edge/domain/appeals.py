"""Appeals: whoever had something refused objects to that, by the reference that they were told; a person looks again.

Nobody learns of another's decision: a reference that is somebody else's is as unknown as one that never was.
"""

import secrets
from typing import Annotated

from msgspec import Meta, Struct
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from edge.db.rows import AppealRow, ModerationDecisionRow
from edge.domain.complaints import MOST_SAID, Outcome, close
from edge.domain.day_seal import DayKey, seal_to_day
from edge.errors import NotFound

ANSWER_WITHIN_S = 30 * 86_400  # GDPR art. 12(3): one month, as for every request for a person to look again
PURPOSE = "appeal"
UNKNOWN = "nothing of yours was refused under this reference, or its time is over"


class Appeal(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a caller sends. `reference`: of the refusal. `statement`: why it was wrong, where there is more to say."""

    reference: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    statement: Annotated[str, Meta(max_length=MOST_SAID)] | None = None

    def __repr__(self) -> str:
        return "<appeal>"


def new_appeal(appeal: Appeal, subject: str, key: DayKey, now: float) -> AppealRow:
    """`subject` is `Keyring.subject`'s."""
    appeal_id = secrets.token_hex(16)
    said = (appeal.statement or "").strip()
    return AppealRow(
        id=appeal_id,
        subject=subject,
        made_on=key.day,
        decision_id=appeal.reference,
        sealed=seal_to_day(said.encode(), key, PURPOSE, appeal_id) if said else None,
        created_at=int(now),
        due_at=int(now) + ANSWER_WITHIN_S,
    )


def add_appeal(db: Session, new: AppealRow) -> AppealRow:
    """The one that stands: `new`, or one that waits already or was upheld. Raises NotFound where the decision is not
    the subject's own."""
    own = (ModerationDecisionRow.id == new.decision_id, ModerationDecisionRow.subject == new.subject)
    if db.scalar(select(ModerationDecisionRow.id).where(*own).with_for_update()) is None:
        raise NotFound(UNKNOWN)
    stands = or_(AppealRow.closed_at.is_(None), AppealRow.outcome == "upheld")
    first = db.scalar(select(AppealRow).where(AppealRow.decision_id == new.decision_id, stands))
    if first is None:
        db.add(new)
    return first or new


def decide_appeal(
    db: Session, row: AppealRow, outcome: Outcome, answer: str | None, now: float, forget_after_s: float
) -> None:
    """Upheld, the decision was wrong and says so from here on."""
    close(row, outcome, answer, now, forget_after_s)
    if outcome == "upheld" and (decision := db.get(ModerationDecisionRow, row.decision_id)):
        decision.overturned_at = int(now)
