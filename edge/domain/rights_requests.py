"""Requests about personal data that need a person: kept with the law's clock, answered, forgotten later.

Seeing, exporting and erasing need nobody and are done at once; this is for what they do not cover.
"""

import secrets
from collections.abc import Sequence
from struct import Struct as Layout
from typing import Annotated, Literal

from msgspec import Meta, Struct
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from edge.db.rows import RightsRequestRow
from edge.db.statements import changed
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, owned
from edge.domain.tokens import open_token, seal_token
from edge.errors import BadInput, NotFound

DAY_S = 86_400
ANSWER_WITHIN_S = {"gdpr": 30 * DAY_S, "ccpa": 45 * DAY_S}  # GDPR art. 12(3): one month; CCPA: 45 calendar days
MOST_OPEN = 10
_CLAIMS = Layout(">16s")  # the id
MOST_SAID = 4000

Kind = Literal["access", "rectification", "erasure", "restriction", "portability", "objection", "review", "other"]
Law = Literal["gdpr", "ccpa"]


class RightsRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a caller sends. `review`: a person shall look at what was decided automatically."""

    kind: Kind
    law: Law
    message: Annotated[str, Meta(min_length=1, max_length=MOST_SAID)]

    def __repr__(self) -> str:
        return f"<rights request: {self.kind}>"


def add_request(db: Session, owner: Owner, request: RightsRequest, now: float) -> RightsRequestRow:
    """Raises BadInput where that many of this owner's wait already: a clock runs for each."""
    open_ids = select(RightsRequestRow.id).where(owned(RightsRequestRow, owner), RightsRequestRow.closed_at.is_(None))
    if len(db.scalars(open_ids.limit(MOST_OPEN)).all()) == MOST_OPEN:
        raise BadInput(f"{MOST_OPEN} of your requests wait for an answer already")
    row = RightsRequestRow(
        id=secrets.token_hex(16),
        owner_kind=owner.kind,
        owner_id=owner.id,
        kind=request.kind,
        law=request.law,
        message=request.message,
        created_at=int(now),
        due_at=int(now) + ANSWER_WITHIN_S[request.law],
        answer=None,
        closed_at=None,
        forget_at=None,
    )
    db.add(row)
    return row


def requests_of(db: Session, owner: Owner) -> list[RightsRequestRow]:
    """Newest first."""
    mine = select(RightsRequestRow).where(owned(RightsRequestRow, owner))
    return list(db.scalars(mine.order_by(RightsRequestRow.created_at.desc(), RightsRequestRow.id)))


def request_token(request_id: str, keyring: Keyring) -> str:
    """Under which its sender reads the answer: also when the session is over, or erased."""
    return seal_token(bytes.fromhex(request_id), keyring.request_mac)


def find_request(db: Session, token: str, keyring: Keyring) -> RightsRequestRow | None:
    """None for a token that is not ours, and once it is forgotten."""
    claims = open_token(token, _CLAIMS, keyring.request_mac)
    return None if claims is None else db.get(RightsRequestRow, claims.hex())


def waiting_requests(db: Session) -> Sequence[RightsRequestRow]:
    """For the operator: everybody's that nobody answered, the most urgent first."""
    waiting = select(RightsRequestRow).where(RightsRequestRow.closed_at.is_(None))
    return list(db.scalars(waiting.order_by(RightsRequestRow.due_at)))


def answer_request(db: Session, request_id: str, answer: str, now: float, forget_after_s: float) -> None:
    """Closes it. Raises BadInput where it says nothing, NotFound for one that is not there or was answered."""
    if not answer.strip():
        raise BadInput("an answer must say something")
    row = db.get(RightsRequestRow, request_id)
    if row is None or row.closed_at is not None:
        raise NotFound("no such request waits for an answer")
    row.answer = answer
    row.closed_at = int(now)
    row.forget_at = int(now + forget_after_s)


def forget_requests(db: Session, now: float) -> int:
    return changed(db, delete(RightsRequestRow).where(RightsRequestRow.forget_at <= int(now)))
