"""API keys: `sf_live_`, 256 random bits, a checksum. Shown once; the database has a digest under a key that it lacks.

A key acts for its account. Whoever tries keys learns nothing from how they are refused: one without a right checksum is
refused without a look, and every other costs one statement whether it is unknown, revoked, expired or good.
"""

import hmac
import re
import secrets
import string
import zlib
from collections.abc import Collection, Sequence
from functools import partial
from typing import cast

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import AccountRow, ApiKeyRow, ViewingSecretRow
from edge.db.statements import changed
from edge.domain.accounts import hold_account
from edge.domain.conduct import Clock
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, OwnerId, Scope
from edge.domain.remembered import Remembered
from edge.domain.sessions import day_of
from edge.domain.viewing_secrets import unwrap

PREFIX = "sf_live_"
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET_CHARACTERS = 43  # 62^43 > 2^256
CHECKSUM_CHARACTERS = 6  # 62^6 > 2^32
_SHAPE = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET_CHARACTERS + CHECKSUM_CHARACTERS}}}")

MOST_KEYS = 50
"""Of an account, that work."""
_NOBODY = bytes(32)


class NewKey(Struct, frozen=True, kw_only=True):
    """What a key is to be. `expires_at` None: until it is revoked."""

    name: str
    scopes: frozenset[Scope]
    expires_at: int | None = None


class MadeKey(Struct, frozen=True):
    """The one moment in which the text of a key is known here."""

    row: ApiKeyRow
    text: str

    def __repr__(self) -> str:
        return f"<key:{self.row.id}>"


class Credential(Struct, frozen=True, kw_only=True):
    """What a good key says of its bearer. `other_secrets`: as in `Caller`."""

    key_id: str
    owner: Owner
    plan: str
    scopes: frozenset[Scope]
    expires_at: int | None
    viewing_secret: bytes
    other_secrets: dict[str, bytes]

    def __repr__(self) -> str:
        return f"<credential:{self.key_id}>"


class TooManyKeys(Exception):
    """An account has as many as it may."""


class KeyEnded(Exception):
    """It was revoked or has expired, and nothing replaces it."""


# the text -------------------------------------------------------------------------------------------------------------


def new_key_text() -> str:
    secret = _in_base_62(int.from_bytes(secrets.token_bytes(32)), SECRET_CHARACTERS)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def is_well_formed(text: str) -> bool:
    """A mistyped key is told from an unknown one without a look at the database."""
    if not _SHAPE.fullmatch(text):
        return False
    return text[-CHECKSUM_CHARACTERS:] == _checksum(text[len(PREFIX) : -CHECKSUM_CHARACTERS])


def _checksum(secret: str) -> str:
    return _in_base_62(zlib.crc32(secret.encode()), CHECKSUM_CHARACTERS)


def _in_base_62(number: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))


# the rows -------------------------------------------------------------------------------------------------------------


def add_key(db: Session, account: Owner, wanted: NewKey, keyring: Keyring, now: float) -> MadeKey:
    """Raises TooManyKeys, AccountGone."""
    hold_account(db, account)
    working = select(func.count()).where(ApiKeyRow.account_id == account.id, ~_is_dead(now))
    if (db.scalar(working) or 0) >= MOST_KEYS:
        raise TooManyKeys
    _forget_the_dead(db, account, now)
    text = new_key_text()
    row = ApiKeyRow(
        id=secrets.token_hex(16),
        account_id=account.id,
        digest=keyring.api_key_digest(text),
        hint=f"{text[:12]}…{text[-4:]}",
        name=wanted.name,
        scopes=" ".join(sorted(wanted.scopes)),
        created_on=day_of(now),
        expires_at=wanted.expires_at,
    )
    db.add(row)
    return MadeKey(row, text)


def keys_of(db: Session, account: Owner) -> Sequence[ApiKeyRow]:
    """Newest first."""
    mine = select(ApiKeyRow).where(ApiKeyRow.account_id == account.id)
    return db.scalars(mine.order_by(ApiKeyRow.created_on.desc(), ApiKeyRow.id)).all()


def find_key(db: Session, account: Owner, key_id: str) -> ApiKeyRow | None:
    return db.scalar(select(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.account_id == account.id))


def revoke_key(db: Session, key_id: str, now: float) -> bool:
    """False where there is none that was not revoked before."""
    live = ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None)
    return bool(changed(db, update(ApiKeyRow).where(*live).values(revoked_at=int(now))))


def replace_key(db: Session, old: ApiKeyRow, wanted: NewKey, keyring: Keyring, now: float, grace_s: float) -> MadeKey:
    """A new key for an old one, which works for so long yet. Raises TooManyKeys, KeyEnded, AccountGone."""
    account = Owner("account", OwnerId(old.account_id))
    hold_account(db, account)
    current = db.get(ApiKeyRow, old.id, with_for_update=True, populate_existing=True)
    if current is None or _ended(current, now):
        raise KeyEnded
    if grace_s > 0:
        ends_at = int(now + grace_s)
        sooner = or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > ends_at)
        db.execute(update(ApiKeyRow).where(ApiKeyRow.id == old.id, sooner).values(expires_at=ends_at))
    else:
        revoke_key(db, old.id, now)
    return add_key(db, account, wanted, keyring, now)


def scopes_of(row: ApiKeyRow) -> frozenset[Scope]:
    return frozenset(cast("Collection[Scope]", row.scopes.split()))


def _is_dead(now: float) -> ColumnElement[bool]:
    """Never null: the opposite is asked for too."""
    is_expired = and_(ApiKeyRow.expires_at.is_not(None), ApiKeyRow.expires_at <= int(now))
    return or_(ApiKeyRow.revoked_at.is_not(None), is_expired)


def _forget_the_dead(db: Session, account: Owner, now: float) -> None:
    """All but the latest that do not work any more: nobody fills the database by turning keys over."""
    dead = select(ApiKeyRow.id).where(ApiKeyRow.account_id == account.id, _is_dead(now))
    ended_at = func.coalesce(ApiKeyRow.revoked_at, ApiKeyRow.expires_at)
    too_old = db.scalars(dead.order_by(ended_at.desc(), ApiKeyRow.id).offset(MOST_KEYS)).all()
    db.execute(delete(ApiKeyRow).where(ApiKeyRow.id.in_(too_old)))


# who bears it ---------------------------------------------------------------------------------------------------------


class KnownKeys:
    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._keyring = keyring
        self._clock = clock
        self._remembered = Remembered(database, partial(_find, keyring=keyring), _note_use, clock)

    async def find(self, text: str) -> Credential | None:
        """None for every key that is not good, whatever ails it. Raises DatabaseUnavailable."""
        if not is_well_formed(text):
            return None
        credential = await self._remembered.find(self._keyring.api_key_digest(text))
        is_expired = credential is None or (
            credential.expires_at is not None and credential.expires_at <= self._clock()
        )
        return None if is_expired else credential

    def is_strange(self, text: str) -> bool:
        """Only the database can say whether it is good, and it has not said so here."""
        return is_well_formed(text) and self._remembered.is_strange(self._keyring.api_key_digest(text))

    def forget(self, key_id: str) -> None:
        """It was revoked here."""
        self._remembered.forget(lambda credential: credential.key_id == key_id)

    def forget_all_of(self, owner: Owner) -> None:
        self._remembered.forget(lambda credential: credential.owner == owner)


def _find(db: Session, digest: bytes, now: float, keyring: Keyring) -> tuple[Credential, bool] | None:
    """One statement, whatever it finds. And whether the use of today is noted already."""
    query = (
        select(ApiKeyRow, AccountRow.plan, ViewingSecretRow)
        .join(AccountRow, AccountRow.id == ApiKeyRow.account_id)
        .join(ViewingSecretRow, ViewingSecretRow.account_id == ApiKeyRow.account_id)
        .where(ApiKeyRow.digest == digest)
    )
    rows = db.execute(query).all()
    key, plan = (rows[0][0], rows[0][1]) if rows else (None, "")
    is_it = hmac.compare_digest(key.digest if key else _NOBODY, digest)
    if key is None or not is_it or _ended(key, now):
        return None
    opened = {secret.id: unwrap(secret, keyring) for _, _, secret in rows}
    credential = Credential(
        key_id=key.id,
        owner=Owner("account", OwnerId(key.account_id)),
        plan=plan,
        scopes=scopes_of(key),
        expires_at=key.expires_at,
        viewing_secret=opened.pop(key.account_id),
        other_secrets=opened,
    )
    return credential, key.last_used_on == day_of(now)


def _ended(key: ApiKeyRow, now: float) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def _note_use(db: Session, credential: Credential, now: float) -> None:
    db.execute(update(ApiKeyRow).where(ApiKeyRow.id == credential.key_id).values(last_used_on=day_of(now)))
