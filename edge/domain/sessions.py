"""Anonymous sessions: a token that carries everything, and a row that holds only an id and a day.

The viewing secret lies in the token alone. Its rotation number says how often it was replaced: see `rotation.py`.
"""

import secrets
from collections.abc import Iterable
from datetime import UTC, date, datetime
from struct import Struct as Layout

from msgspec import Struct
from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session as DbSession

from edge.db.rows import SessionRow
from edge.db.statements import add_missing, changed, upsert
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId
from edge.domain.tokens import open_token, seal_token

PREFIX = "sfs_"
_CLAIMS = Layout(">16s32sHI")  # id, viewing secret, rotation number, expiry in Unix seconds
_ENDINGS = (  # asked with each job: the statement is made once
    select(SessionRow.id, SessionRow.ended_at)
    .where(SessionRow.id.in_(bindparam("ids", expanding=True)))
    .order_by(SessionRow.id)
    .with_for_update(read=True)
)


class Session(Struct, frozen=True):
    id: bytes
    viewing_secret: bytes
    rotation: int
    expires_at: int

    def __repr__(self) -> str:
        return "<session>"

    @property
    def owner(self) -> Owner:
        return Owner("session", OwnerId(self.id.hex()))


def new_session(now: float, idle_s: float) -> Session:
    return Session(secrets.token_bytes(16), secrets.token_bytes(32), rotation=0, expires_at=int(now + idle_s))


def session_token(session: Session, keyring: Keyring) -> str:
    claims = _CLAIMS.pack(session.id, session.viewing_secret, session.rotation, session.expires_at)
    return PREFIX + seal_token(claims, keyring.session_mac)


def read_session(token: str, keyring: Keyring, now: float) -> Session | None:
    """None for a token that is tampered with, expired or not ours."""
    if not token.startswith(PREFIX):
        return None
    claims = open_token(token.removeprefix(PREFIX), _CLAIMS, keyring.session_mac)
    if claims is None:
        return None
    session = Session(*_CLAIMS.unpack(claims))
    return session if session.expires_at > now else None


class UsedToday:
    """Sessions that this edge has written down today already. Forgets the oldest: strangers are many."""

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._day = date.min
        self._ids: dict[OwnerId, None] = {}

    def has(self, owner: Owner, now: float) -> bool:
        return owner.id in self._ids and self._day == day_of(now)

    def add(self, owner: Owner, now: float) -> None:
        if self._day != day_of(now):
            self._day = day_of(now)
            self._ids.clear()
        while len(self._ids) >= self._capacity:
            del self._ids[next(iter(self._ids))]
        self._ids[owner.id] = None

    def drop(self, owner: Owner) -> None:
        self._ids.pop(owner.id, None)


def add_session(db: DbSession, owner: Owner, now: float) -> None:
    """For one that was made for this very call: its row cannot be there."""
    db.add(SessionRow(id=owner.id, last_used_on=day_of(now)))


def touch_session(db: DbSession, owner: Owner, now: float) -> None:
    """Write down that the session was used today; the first time, that it exists."""
    if owner.kind == "session":
        upsert(db, SessionRow, key={"id": owner.id}, values={"last_used_on": day_of(now)})


def keep_sessions(db: DbSession, owners: Iterable[Owner], now: float) -> None:
    """For those that were written down today, unless they were erased since at another edge."""
    day = day_of(now)
    add_missing(db, SessionRow, [{"id": owner.id, "last_used_on": day} for owner in owners if owner.kind == "session"])


def end_session(db: DbSession, owner: Owner, now: float) -> None:
    """Its row says so, and nothing else any more: what is being accepted for it at this moment is refused."""
    ended = {"ended_at": int(now), "last_used_on": day_of(now), "training": None, "training_at": None}
    upsert(db, SessionRow, key={"id": owner.id}, values=ended)


def ended_among(db: DbSession, owners: Iterable[Owner]) -> set[OwnerId]:
    """Until this transaction is over, nobody ends the others."""
    ids = sorted({owner.id for owner in owners if owner.kind == "session"})
    found = db.connection().execute(_ENDINGS, {"ids": ids}) if ids else ()
    return {OwnerId(session_id) for session_id, ended_at in found if ended_at is not None}


def forget_idle_sessions(db: DbSession, now: float, idle_s: float, limit: int) -> int:
    idle = select(SessionRow.id).where(SessionRow.last_used_on < day_of(now - idle_s)).limit(limit)
    return changed(db, delete(SessionRow).where(SessionRow.id.in_(idle)))


def day_of(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()
