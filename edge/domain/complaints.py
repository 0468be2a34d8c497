"""What appeals and reports have in common: an address for their sender, a clock, a person's decision, an end.

Their words are sealed (`day_seal.py`); `appeals.py` and `notices.py` say what each of them is about.
"""

from collections.abc import Iterator
from struct import Struct as Layout
from typing import Literal, TypeVar

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from edge.db.rows import AppealRow, NoticeRow
from edge.db.statements import changed
from edge.domain.keyring import Keyring
from edge.domain.tokens import open_token, seal_token
from edge.errors import BadInput, NotFound

Outcome = Literal["upheld", "rejected"]
Status = Literal["waiting", "upheld", "rejected"]
Complaint = AppealRow | NoticeRow
ComplaintT = TypeVar("ComplaintT", AppealRow, NoticeRow)

TABLES: tuple[type[AppealRow], type[NoticeRow]] = (AppealRow, NoticeRow)
MOST_SAID = 4000
_CLAIMS = Layout(">2s16s")  # which table, id; of another length than a rights request's, which has the same key
_MARKS: dict[type[Complaint], bytes] = {AppealRow: b"ap", NoticeRow: b"no"}


def complaint_token(row: Complaint, keyring: Keyring) -> str:
    """Under which its sender reads what became of it: also when the session is over, or erased."""
    return seal_token(_CLAIMS.pack(_MARKS[type(row)], bytes.fromhex(row.id)), keyring.request_mac)


def find_complaint(db: Session, token: str, table: type[ComplaintT], keyring: Keyring) -> ComplaintT:
    """Raises NotFound for a token that is not ours, and once it is forgotten."""
    claims = open_token(token, _CLAIMS, keyring.request_mac)
    mark, row_id = _CLAIMS.unpack(claims) if claims else (b"", b"")
    row = db.get(table, row_id.hex()) if mark == _MARKS[table] else None
    if row is None:
        raise NotFound("there is no such appeal or report, or its time is over")
    return row


def status_of(row: Complaint) -> Status:
    return row.outcome or "waiting"  # pyright: ignore[reportReturnType]  nothing else is ever written


def waiting_complaints(db: Session) -> list[Complaint]:
    """For the operator: everybody's that nobody decided, the most urgent first."""
    waiting = [row for table in TABLES for row in db.scalars(select(table).where(table.closed_at.is_(None)))]
    return sorted(waiting, key=lambda row: (row.due_at, row.id))


def longest_wait_s(db: Session, now: float) -> float:
    """Of the reports that nobody decided; 0 where none waits."""
    since = db.scalar(select(func.min(NoticeRow.created_at)).where(NoticeRow.closed_at.is_(None)))
    return 0 if since is None else max(0, now - since)


def find_waiting(db: Session, complaint_id: str) -> Complaint:
    """Raises NotFound for one that is not there or was decided."""
    row = find_by_id(db, complaint_id)
    if row.closed_at is not None:
        raise NotFound("it was decided before")
    return row


def find_by_id(db: Session, complaint_id: str) -> Complaint:
    """Raises NotFound."""
    row = db.get(AppealRow, complaint_id) or db.get(NoticeRow, complaint_id)
    if row is None:
        raise NotFound("there is no such appeal or report: its time has passed, or it never was")
    return row


def close(row: Complaint, outcome: Outcome, answer: str | None, now: float, forget_after_s: float) -> None:
    """`answer`: what its sender reads besides the outcome."""
    row.outcome = outcome
    row.answer = answer
    row.closed_at = int(now)
    row.forget_at = int(now + forget_after_s)


def require_words(text: str, name: str) -> None:
    """Raises BadInput."""
    if not text.strip():
        raise BadInput(f"`{name}` says nothing", param=name)


def take_sender_off(db: Session, subject: str) -> int:
    """Of all that have it: how many. How to reach them goes as well."""
    appeals = update(AppealRow).where(AppealRow.subject == subject).values(subject=None)
    reports = update(NoticeRow).where(NoticeRow.subject == subject).values(subject=None, sealed_contact=None)
    return changed(db, appeals) + changed(db, reports)


def forget_complaints(db: Session, now: float, limit: int) -> int:
    return sum(_forget(db, now, limit))


def _forget(db: Session, now: float, limit: int) -> Iterator[int]:
    for table in TABLES:
        due = select(table.id).where(table.forget_at <= int(now)).limit(limit)
        yield changed(db, delete(table).where(table.id.in_(due)))
