"""What is remembered of a refusal: category, rule and day under a reference. Neither prompt nor picture, nor whose it
was in a form that leads back to them."""

import secrets

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge.db.rows import ModerationDecisionRow
from edge.db.statements import changed
from edge.domain.day_seal import day_of
from edge.domain.moderation.judge import Finding
from edge.domain.owner import JobId

PROMPT, IMAGE = "prompt", "image"  # the stages
BY_SIGHT = "picture"  # the rule of an image


def new_decision(
    finding: Finding, subject: str, policy_version: int, now: float, kept_for_s: float, *, image_of: JobId | None = None
) -> ModerationDecisionRow:
    """Of a prompt, or of an image of that job, whose id is the reference then. `subject` is `Keyring.subject`'s."""
    return ModerationDecisionRow(
        id=image_of or secrets.token_hex(16),
        subject=subject,
        stage=IMAGE if image_of else PROMPT,
        category=finding.category,
        rule=finding.rule,
        policy_version=policy_version,
        decided_on=day_of(now),
        delete_at=int(now + kept_for_s),
    )


def take_subject_off(db: Session, subject: str) -> int:
    """Of all decisions that have it: how many."""
    mine = update(ModerationDecisionRow).where(ModerationDecisionRow.subject == subject)
    return changed(db, mine.values(subject=None))


def forget_decisions(db: Session, now: float, limit: int) -> int:
    due = select(ModerationDecisionRow.id).where(ModerationDecisionRow.delete_at <= int(now)).limit(limit)
    return changed(db, delete(ModerationDecisionRow).where(ModerationDecisionRow.id.in_(due)))
