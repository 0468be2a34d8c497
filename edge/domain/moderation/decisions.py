"""What is remembered of a refusal: category, rule and day under a reference. Neither the prompt, nor whose it was in a
form that leads back to them."""

import secrets

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge.db.rows import ModerationDecisionRow
from edge.db.statements import changed
from edge.domain.moderation.judge import Finding
from edge.domain.prompts import day_of

PROMPT = "prompt"  # the stage


def new_decision(
    finding: Finding, subject: str, policy_version: int, now: float, kept_for_s: float
) -> ModerationDecisionRow:
    """Of a prompt; `subject` is `Keyring.subject`'s."""
    return ModerationDecisionRow(
        id=secrets.token_hex(16),
        subject=subject,
        stage=PROMPT,
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
