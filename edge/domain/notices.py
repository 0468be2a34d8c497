"""Reports of pictures: abuse, imagery without consent, rights. Whoever knows an address may report it.

The address is what lets the operator see a picture and remove it, since nobody can open other people's pictures; so it
is sealed with the statement. A report keeps no picture longer than its owner chose. (`reports.py` is the deleter's.)
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow, NoticeRow
from edge.domain.addresses import digest, read_address
from edge.domain.complaints import MOST_SAID, require_words
from edge.domain.day_seal import DayKey, seal_to_day
from edge.domain.jobs import visible
from edge.domain.keyring import Keyring
from edge.errors import BadInput

ANSWER_WITHIN_S = 48 * 3600  # TAKE IT DOWN Act, and everybody's wish
PURPOSE, CONTACT_PURPOSE = "report", "report contact"
MOST_ADDRESSES = 20
MOST_ADDRESS_CHARACTERS = 500
MOST_CONTACT_CHARACTERS = 200

Kind = Literal["abuse", "non_consensual_imagery", "rights"]
Found = Literal["here", "gone"]


class Report(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What anybody sends. `addresses`: of pictures here, as in `/i/…`, each of which is looked at alike. `contact`: how
    to reach you, if you want to be asked; the answer is read at this report's own address."""

    kind: Kind
    addresses: Annotated[
        list[Annotated[str, Meta(max_length=MOST_ADDRESS_CHARACTERS)]], Meta(min_length=1, max_length=MOST_ADDRESSES)
    ]
    statement: Annotated[str, Meta(min_length=1, max_length=MOST_SAID)]
    contact: Annotated[str, Meta(max_length=MOST_CONTACT_CHARACTERS)] | None = None

    def __repr__(self) -> str:
        return f"<report: {self.kind}>"


class NamedPicture(Struct, frozen=True):
    """What shows, finds and opens it."""

    token: str
    image_id: str
    key: str
    secret: bytes

    def __repr__(self) -> str:
        return f"<named picture: {self.image_id}>"


class ReportWords(Struct, frozen=True):
    """What is sealed of a report."""

    statement: str
    pictures: list[NamedPicture]

    def __repr__(self) -> str:
        return f"<words of a report: {len(self.pictures)} pictures>"


def new_notice(report: Report, named: Sequence[NamedPicture], subject: str, key: DayKey, now: float) -> NoticeRow:
    """`named`: of its addresses, by `named_pictures`. Whether they are here is still to be found."""
    notice_id = secrets.token_hex(16)
    words = msgspec.msgpack.encode(ReportWords(report.statement, list(named)))
    contact = (report.contact or "").strip()
    return NoticeRow(
        id=notice_id,
        subject=subject,
        made_on=key.day,
        kind=report.kind,
        found="",
        sealed=seal_to_day(words, key, PURPOSE, notice_id),
        sealed_contact=seal_to_day(contact.encode(), key, CONTACT_PURPOSE, notice_id) if contact else None,
        created_at=int(now),
        due_at=int(now) + ANSWER_WITHIN_S,
    )


def add_notice(db: Session, new: NoticeRow, named: Sequence[NamedPicture], now: float) -> NoticeRow:
    """What is gone already is said to be, and stays reported: others may still be looked at."""
    ids = {picture.image_id for picture in named}
    columns = (ImageRow.id, ImageRow.token_digest)
    here = {
        (row.id, row.token_digest) for row in db.execute(select(*columns).where(ImageRow.id.in_(ids), *visible(now)))
    }
    new.found = ",".join("here" if (each.image_id, digest(each.token)) in here else "gone" for each in named)
    db.add(new)
    return new


def found_of(row: NoticeRow) -> list[Found]:
    return row.found.split(",")  # pyright: ignore[reportReturnType]  nothing else is ever written


def named_pictures(report: Report, is_own_host: Callable[[str], bool], keyring: Keyring) -> list[NamedPicture]:
    """Of its addresses, whether they are still here or not. Raises BadInput, also for a statement of nothing."""
    require_words(report.statement, "statement")
    return [_named(number, text, is_own_host, keyring) for number, text in enumerate(report.addresses, start=1)]


def _named(number: int, text: str, is_own_host: Callable[[str], bool], keyring: Keyring) -> NamedPicture:
    token = _token(text.strip(), is_own_host)
    address = read_address(token, keyring) if token else None
    if token is None or address is None:
        raise BadInput(f"number {number} is not the address of a picture of this server", param="addresses")
    return NamedPicture(token, address.image_id, address.key, address.secret)


def _token(text: str, is_own_host: Callable[[str], bool]) -> str | None:
    """Of a whole address under one of our names, or of its path alone."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_whole = parts.scheme in ("http", "https") and is_own_host(parts.netloc)
    prefix, _, token = parts.path.rpartition("/")
    return token if prefix == "/i" and (is_whole or not (parts.scheme or parts.netloc)) else None
