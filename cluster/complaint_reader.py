"""Reading a sealed appeal or report, as `prompt_reader.py` reads prompts: first it is written down who reads and why.

Needs the database and the directory of day keys, and no secret of the edge.
"""

from functools import partial

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct
from sqlalchemy.orm import Session

from cluster.day_keys import DayKeys
from cluster.prompt_reader import Reading, check_reading, write_down
from cluster.terminal import harmless
from edge.db.database import Database
from edge.db.rows import AppealRow, ModerationDecisionRow, NoticeRow
from edge.domain import appeals, notices
from edge.domain.complaints import Complaint, find_by_id, status_of
from edge.domain.day_seal import open_of_day
from edge.domain.notices import NamedPicture, ReportWords, found_of
from edge.domain.standing import utc_minute


class ReadAppeal(Struct, frozen=True):
    """`decision` is None once its time is over."""

    row: AppealRow
    decision: ModerationDecisionRow | None
    statement: str

    def __str__(self) -> str:
        lines = [_head(self.row), f"against {refusal_in_words(self.decision)}"]
        if self.decision:
            made = f"rule {self.decision.rule} of version {self.decision.policy_version}, {self.decision.decided_on}"
            lines.append(made)
        return "\n".join([*lines, f"said: {harmless(self.statement) or 'nothing'}"])


class ReadReport(Struct, frozen=True):
    row: NoticeRow
    statement: str
    pictures: list[NamedPicture]
    contact: str

    def __str__(self) -> str:
        found = found_of(self.row)
        lines = [_head(self.row), f"said: {harmless(self.statement)}"]
        if self.contact:
            lines.append(f"contact: {harmless(self.contact)}")
        named = zip(self.pictures, found, strict=True)
        return "\n".join([*lines, *(f"picture, {state} when reported: /i/{each.token}" for each, state in named)])


ReadComplaint = ReadAppeal | ReadReport


async def read_complaint(complaint_id: str, reading: Reading, database: Database, keys: DayKeys) -> ReadComplaint:
    """Raises CannotRead, NotFound, KeyGone, DaySealBroken, DatabaseUnavailable. `keys`: those of notices."""
    check_reading(reading)
    row, decision = await database.write(partial(_found_and_written_down, complaint_id=complaint_id, reading=reading))
    return opened(row, decision, keys)


def opened(row: Complaint, decision: ModerationDecisionRow | None, keys: DayKeys) -> ReadComplaint:
    """To be shown once it is written down. Raises KeyGone, DaySealBroken."""
    match row:
        case AppealRow():
            said = b"" if row.sealed is None else _open(row.sealed, keys.private(row.made_on), appeals.PURPOSE, row)
            return ReadAppeal(row, decision, said.decode())
        case NoticeRow():
            key = keys.private(row.made_on)
            words = msgspec.msgpack.decode(_open(row.sealed, key, notices.PURPOSE, row), type=ReportWords)
            contact = (
                b"" if row.sealed_contact is None else _open(row.sealed_contact, key, notices.CONTACT_PURPOSE, row)
            )
            return ReadReport(row, words.statement, words.pictures, contact.decode())


def refusal_in_words(decision: ModerationDecisionRow | None) -> str:
    return f"a {decision.stage} refused as {decision.category}" if decision else "a refusal that is forgotten"


def kind_in_words(row: Complaint) -> str:
    return "appeal" if isinstance(row, AppealRow) else f"report of {row.kind}"


def _found_and_written_down(
    db: Session, complaint_id: str, reading: Reading
) -> tuple[Complaint, ModerationDecisionRow | None]:
    row = find_by_id(db, complaint_id)
    write_down(db, row.id, reading)
    decision = db.get(ModerationDecisionRow, row.decision_id) if isinstance(row, AppealRow) else None
    return row, decision


def _open(sealed: bytes, key: X25519PrivateKey, purpose: str, row: Complaint) -> bytes:
    return open_of_day(sealed, key, purpose, row.made_on, row.id)


def _head(row: Complaint) -> str:
    times = f"made {utc_minute(row.created_at)} UTC, due {utc_minute(row.due_at)} UTC"
    return f"{kind_in_words(row)} {row.id}, {times}, {status_of(row)}"
