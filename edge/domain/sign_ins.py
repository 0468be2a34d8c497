"""Browsers that are signed in to an account: a random token with a MAC in a cookie of its own kind, and a row that has
a digest.

It ends thirty days after signing in, by signing out, and with its account.
"""

import hmac
import secrets
from functools import partial
from struct import Struct as Layout

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import AccountRow, SignInRow, ViewingSecretRow
from edge.db.statements import changed
from edge.domain.conduct import Clock
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId
from edge.domain.remembered import Remembered
from edge.domain.sessions import day_of
from edge.domain.tokens import open_token, seal_token
from edge.domain.viewing_secrets import unwrap

PREFIX = "sfa_"
LASTS_S = 30 * 86_400
MOST_SIGN_INS = 50
"""Of an account. The oldest ends where one more begins."""
_SECRET = Layout("33s")
_NOBODY = bytes(32)


class SignIn(Struct, frozen=True, kw_only=True):
    """What a good cookie says of its browser. `other_secrets`: as in `Caller`."""

    id: str
    owner: Owner
    plan: str
    ends_at: int
    viewing_secret: bytes
    other_secrets: dict[str, bytes]

    def __repr__(self) -> str:
        return f"<sign-in:{self.id}>"


def add_sign_in(db: Session, account: Owner, keyring: Keyring, now: float) -> str:
    """Answers the token, which is known this once."""
    token = PREFIX + seal_token(secrets.token_bytes(_SECRET.size), keyring.sign_in_mac)
    mine = select(SignInRow.id).where(SignInRow.account_id == account.id)
    newest_first = mine.order_by(SignInRow.ends_at.desc(), SignInRow.id)
    oldest = db.scalars(newest_first.offset(MOST_SIGN_INS - 1)).all()
    db.execute(delete(SignInRow).where(SignInRow.id.in_(oldest)))
    row = SignInRow(
        id=secrets.token_hex(16),
        account_id=account.id,
        digest=keyring.sign_in_digest(token),
        created_on=day_of(now),
        last_used_on=day_of(now),
        ends_at=int(now + LASTS_S),
    )
    db.add(row)
    return token


def end_sign_in(db: Session, sign_in_id: str) -> None:
    db.execute(delete(SignInRow).where(SignInRow.id == sign_in_id))


def end_other_sign_ins(db: Session, account: Owner, kept_id: str | None) -> None:
    """Of all browsers of an account but this one: the way in by which they came is no longer trusted."""
    mine = SignInRow.account_id == account.id
    db.execute(delete(SignInRow).where(mine, SignInRow.id != (kept_id or "")))


def forget_sign_ins(db: Session, now: float, limit: int) -> int:
    """Those that have ended by themselves."""
    ended = select(SignInRow.id).where(SignInRow.ends_at <= int(now)).limit(limit)
    return changed(db, delete(SignInRow).where(SignInRow.id.in_(ended)))


class KnownSignIns:
    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._remembered = Remembered(database, partial(_find, keyring=keyring), _note_use, clock)

    async def find(self, token: str) -> SignIn | None:
        """None for every cookie that is not good, whatever ails it. Raises DatabaseUnavailable."""
        if not _is_ours(token, self._keyring):
            return None
        sign_in = await self._remembered.find(self._keyring.sign_in_digest(token))
        return sign_in if sign_in is not None and sign_in.ends_at > self._clock() else None

    def is_strange(self, token: str) -> bool:
        """Only the database can say whether it is good, and it has not said so here."""
        return _is_ours(token, self._keyring) and self._remembered.is_strange(self._keyring.sign_in_digest(token))

    def forget(self, sign_in_id: str) -> None:
        """It was ended here."""
        self._remembered.forget(lambda sign_in: sign_in.id == sign_in_id)

    def forget_all_of(self, owner: Owner) -> None:
        self._remembered.forget(lambda sign_in: sign_in.owner == owner)


def _is_ours(token: str, keyring: Keyring) -> bool:
    """Told without a look at the database, so that nobody makes it work by making tokens up."""
    sealed = token.removeprefix(PREFIX)
    return sealed != token and open_token(sealed, _SECRET, keyring.sign_in_mac) is not None


def _find(db: Session, digest: bytes, now: float, keyring: Keyring) -> tuple[SignIn, bool] | None:
    """One statement, whatever it finds. And whether the use of today is noted already."""
    query = (
        select(SignInRow, AccountRow.plan, ViewingSecretRow)
        .join(AccountRow, AccountRow.id == SignInRow.account_id)
        .join(ViewingSecretRow, ViewingSecretRow.account_id == SignInRow.account_id)
        .where(SignInRow.digest == digest)
    )
    rows = db.execute(query).all()
    row, plan = (rows[0][0], rows[0][1]) if rows else (None, "")
    is_it = hmac.compare_digest(row.digest if row else _NOBODY, digest)
    if row is None or not is_it:
        return None
    opened = {secret.id: unwrap(secret, keyring) for _, _, secret in rows}
    sign_in = SignIn(
        id=row.id,
        owner=Owner("account", OwnerId(row.account_id)),
        plan=plan,
        ends_at=row.ends_at,
        viewing_secret=opened.pop(row.account_id),
        other_secrets=opened,
    )
    return sign_in, row.last_used_on == day_of(now)


def _note_use(db: Session, sign_in: SignIn, now: float) -> None:
    db.execute(update(SignInRow).where(SignInRow.id == sign_in.id).values(last_used_on=day_of(now)))
