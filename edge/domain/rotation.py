"""A session's token is replaced half-way through its time. An old one that comes back later ends the session.

Two hold it then, and nobody can tell which of them is the thief. The number in a token says how often it was replaced,
the row of the session which number is the newest: a token of a higher number moves the row on, the one before is good
for a minute more. A session without a row has nothing to steal, and nothing is noted for it.

A token of number 0 in the first half of its time needs no look: nothing can have replaced it yet, and there is no
older one. Every other one is looked up, and what was seen is remembered for half a second. A session may also have
become an account: whoever makes something for it learns that as it is written down, and pages look.
"""

from functools import partial
from typing import Protocol

from msgspec import Struct
from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session as DbSession

from edge.db.database import Database
from edge.db.rows import SessionRow
from edge.domain.conduct import Clock
from edge.domain.sessions import Session, day_of

GRACE_S = 60
REMEMBERED_S = 0.5
MOST_REMEMBERED = 10_000


class Noted(Struct, frozen=True):
    """What the row says."""

    rotation: int
    rotated_at: int | None
    is_ended: bool

    def allows(self, session: Session, now: float) -> bool:
        return not self.is_ended and (session.rotation >= self.rotation or self._is_in_grace(session, now))

    def _is_in_grace(self, session: Session, now: float) -> bool:
        is_former = session.rotation == self.rotation - 1
        return is_former and self.rotated_at is not None and now <= self.rotated_at + GRACE_S


class Change(Protocol):
    """Of the row, unless somebody else was first. Answers what the row then says."""

    def __call__(self, db: DbSession, /, session: Session, now: float) -> Noted | None: ...


class Rotation:
    """Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database, idle_s: float, clock: Clock) -> None:
        self._database = database
        self._idle_s = idle_s
        self._clock = clock
        self._seen: dict[bytes, tuple[Noted | None, float]] = {}

    async def allows(self, session: Session, *, looks: bool = False) -> bool:
        """False where the session has ended, be it by this very token. `looks`: also where that could only be because
        it has become an account."""
        now = self._clock()
        if not looks and not self._needs_look(session, now):
            return True
        noted = await self._noted(session, now)
        if noted is None:
            return True
        if not noted.allows(session, now):
            if not noted.is_ended:
                await self._write(session, _end, now)
            return False
        if session.rotation > noted.rotation:
            await self._write(session, _move_on, now)
        return True

    async def successor(self, session: Session) -> Session | None:
        """The token that follows, once it is time for one; None before. For a session that is allowed."""
        now = self._clock()
        if not self._needs_look(session, now):
            return None
        noted = await self._noted(session, now)
        if noted is not None and noted.rotation == session.rotation and self._is_past_half(session, now):
            noted = await self._write(session, _replace, now)
        if noted is not None and noted.rotation > session.rotation:
            return self._next(session, noted.rotated_at or now)  # said again to whoever did not hear it
        return self._next(session, now) if noted is None and self._is_past_half(session, now) else None

    def _needs_look(self, session: Session, now: float) -> bool:
        return session.rotation > 0 or self._is_past_half(session, now)

    def _is_past_half(self, session: Session, now: float) -> bool:
        return session.expires_at - now < self._idle_s / 2

    def _next(self, session: Session, since: float) -> Session:
        return Session(session.id, session.viewing_secret, session.rotation + 1, int(since + self._idle_s))

    async def _noted(self, session: Session, now: float) -> Noted | None:
        noted, since = self._seen.get(session.id, (None, -REMEMBERED_S))
        if 0 <= now - since < REMEMBERED_S:
            return noted
        return self._remember(session, await self._database.read(partial(_read, session=session)), now)

    async def _write(self, session: Session, change: Change, now: float) -> Noted | None:
        work = partial(change, session=session, now=now)
        return self._remember(session, await self._database.write(work), now)

    def _remember(self, session: Session, noted: Noted | None, now: float) -> Noted | None:
        self._seen.pop(session.id, None)
        while len(self._seen) >= MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[session.id] = noted, now
        return noted


# the row --------------------------------------------------------------------------------------------------------------


def _read(db: DbSession, session: Session) -> Noted | None:
    columns = SessionRow.rotation, SessionRow.rotated_at, SessionRow.ended_at
    row = db.execute(select(*columns).where(SessionRow.id == session.owner.id)).one_or_none()
    return Noted(row.rotation, row.rotated_at, row.ended_at is not None) if row else None


def _replace(db: DbSession, /, session: Session, now: float) -> Noted | None:
    is_newest = SessionRow.rotation == session.rotation
    return _changed(db, session, now, is_newest, rotation=session.rotation + 1, rotated_at=int(now))


def _move_on(db: DbSession, /, session: Session, now: float) -> Noted | None:
    is_newer = SessionRow.rotation < session.rotation
    return _changed(db, session, now, is_newer, rotation=session.rotation, rotated_at=int(now))


def _end(db: DbSession, /, session: Session, now: float) -> Noted | None:
    return _changed(db, session, now, SessionRow.rotation > session.rotation, ended_at=int(now))


def _changed(db: DbSession, session: Session, now: float, which: ColumnElement[bool], **values: int) -> Noted | None:
    """It was used today, so that the row outlives every token there is of it."""
    row = SessionRow.id == session.owner.id, SessionRow.ended_at.is_(None), which
    db.execute(update(SessionRow).where(*row).values(last_used_on=day_of(now), **values))
    return _read(db, session)
