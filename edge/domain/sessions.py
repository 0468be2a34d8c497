"""Anonymous sessions: a token that carries everything, and a row that holds only an id and a day.

The viewing secret lies in the token alone. Rotation comes later; its number is in the token already.
"""

import secrets
from datetime import UTC, datetime
from struct import Struct as Layout

from msgspec import Struct
from sqlalchemy import delete
from sqlalchemy.orm import Session as DbSession

from edge.db.rows import SessionRow
from edge.db.statements import changed, upsert
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId
from edge.domain.tokens import open_token, seal_token

PREFIX = "sfs_"
_CLAIMS = Layout(">16s32sHI")  # id, viewing secret, rotation number, expiry in Unix seconds


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


def prolonged(session: Session, now: float, idle_s: float) -> Session:
    return Session(session.id, session.viewing_secret, session.rotation, int(now + idle_s))


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


def touch_session(db: DbSession, owner: Owner, now: float) -> None:
    """Write down that the session was used today; the first time, that it exists."""
    if owner.kind == "session":
        upsert(db, SessionRow, key={"id": owner.id}, values={"last_used_on": datetime.fromtimestamp(now, UTC).date()})


def forget_idle_sessions(db: DbSession, now: float, idle_s: float) -> int:
    oldest = datetime.fromtimestamp(now - idle_s, UTC).date()
    return changed(db, delete(SessionRow).where(SessionRow.last_used_on < oldest))
