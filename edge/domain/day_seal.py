"""Records sealed by HPKE to the key of their UTC day: an edge can write them, and only the private half reads them.

The private halves are files that only the sweeper and the audited readers open (`cluster.day_keys`); destroying one
ends the records of that day, in copies of the database too. Prompts have keys of their own, since they go sooner than
what else is sealed.
"""

import asyncio
from datetime import UTC, date, datetime
from functools import partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import DayKeyRow, NoticeKeyRow
from edge.errors import NoDayKey

VERSION = b"\x01"
FRESH_S = 60.0  # how long an edge trusts the public key that it has read
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class DaySealBroken(Exception):
    """The record is not what was sealed to this key under this day and id."""


class DayKey(Struct, frozen=True):
    """The public half, and until when it need not be read again."""

    day: date
    public_key: X25519PublicKey
    fresh_until_at: float


class DayKeysRead:
    """The public halves of one kind, as this edge has read them."""

    def __init__(self, database: Database, table: type[DayKeyRow | NoticeKeyRow]) -> None:
        self._database = database
        self._table = table
        self._key: DayKey | None = None
        self._reading = asyncio.Lock()

    async def today(self, now: float) -> DayKey:
        """Raises NoDayKey, DatabaseUnavailable."""
        async with self._reading:
            if self._key is None or self._key.day != day_of(now) or self._key.fresh_until_at <= now:
                self._key = await self._database.read(partial(_find_key, table=self._table, now=now))
            return self._key


def seal_to_day(plain: bytes, key: DayKey, purpose: str, record_id: str) -> bytes:
    return VERSION + _SUITE.encrypt(plain, key.public_key, info=_info(purpose, key.day, record_id))


def open_of_day(sealed: bytes, private_key: X25519PrivateKey, purpose: str, day: date, record_id: str) -> bytes:
    """Raises DaySealBroken."""
    if sealed[:1] != VERSION:
        raise DaySealBroken("unknown version of the seal")
    try:
        return _SUITE.decrypt(sealed[1:], private_key, info=_info(purpose, day, record_id))
    except (InvalidTag, ValueError) as error:
        raise DaySealBroken("this key does not open it") from error


def day_of(now: float) -> date:
    """In UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def _find_key(db: Session, table: type[DayKeyRow | NoticeKeyRow], now: float) -> DayKey:
    day = day_of(now)
    public_key = db.scalar(select(table.public_key).where(table.day == day))
    if public_key is None:
        raise NoDayKey
    return DayKey(day, X25519PublicKey.from_public_bytes(public_key), now + FRESH_S)


def _info(purpose: str, day: date, record_id: str) -> bytes:
    return f"sfumato {purpose} {day.isoformat()} {record_id}".encode()
