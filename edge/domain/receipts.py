"""Receipts of deletions: a signed statement of what went, when, from where, and what stays, why and until when.

A receipt is a compact JWS (RFC 7515, Ed25519 by RFC 9864) that anybody can check with the key at
`/.well-known/jwks.json`. It names no person, no owner and no object. Our own row keeps it as it was signed, and the
object keys until two days after the store's rules would have removed each: they are looked for again, so that what a
receipt says is gone is gone.
"""

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey
from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import ReceiptRow
from edge.db.statements import changed
from edge.domain.keyring import Keyring
from policies.schema import Ground
from serve_app.storage.keys import parse_key
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

TYPE = "deletion-receipt+jwt"
ALGORITHM = "Ed25519"
DAY_S = 86_400
LOOKED_FOR_AFTER_BACKSTOP_S = 2 * DAY_S
LOOK_EVERY_S = 3_600
BATCH = 500

Scope = Literal["image", "generation", "training", "session", "account"]


class Counts(Struct, frozen=True, kw_only=True):
    """How many of each this deletion removed; `rights_requests`, `moderation_decisions` and `notices`, which are
    reports and appeals, lost whose they were, and stay."""

    images: int = 0
    generations: int = 0
    prompts: int = 0
    training_copies: int = 0
    sessions: int = 0
    rights_requests: int = 0
    accounts: int = 0
    api_keys: int = 0
    moderation_decisions: int = 0
    notices: int = 0


class StoreErased(Struct, frozen=True):
    """`is_done` False: not when this was signed; nobody sees it from here on, and the deleter goes on trying."""

    name: str
    method: str
    is_done: bool


class Retained(Struct, frozen=True, kw_only=True):
    """What stays. `until` in Unix seconds; None where that depends on a person's answer."""

    class_: str = msgspec.field(name="class")
    what: str
    why: str
    law: Ground
    until: int | None


class Claims(Struct, frozen=True, kw_only=True):
    """What a receipt says. Times in Unix seconds."""

    iss: str
    jti: str
    iat: int
    scope: Scope
    requested_at: int
    completed_at: int
    counts: Counts
    classes: list[str]
    stores: list[StoreErased]
    retained: list[Retained]
    backups_gone_by: int
    undisclosed: str


class WatchedKey(Struct, frozen=True):
    """An object that must not be there, and until when it is worth looking."""

    key: str
    until_at: int


class Receipt(Struct, frozen=True):
    """A receipt as its holder gets it, and what the looks for its objects found since."""

    id: str
    claims: Claims
    jws: str
    checked_at: int | None
    found: int | None
    checked_until: int | None


class Look(Struct, frozen=True):
    """When the objects were last looked for, and how many were there; None before the first time."""

    checked_at: int | None
    found: int | None


class Rechecked(Struct, frozen=True):
    """How many receipts were looked after, and how many of their objects were there again and are deleted now."""

    receipts: int
    found: int


class ReceiptBroken(Exception):
    """Says in plain words why this is no receipt of ours."""


class Signer:
    """Signs receipts and publishes the key. Raises nothing."""

    def __init__(self, keyring: Keyring) -> None:
        private = Ed25519PrivateKey.from_private_bytes(keyring.receipt_seed)
        self._key = OKPKey(private, private)
        self._key_id = self._key.thumbprint()

    @property
    def key_set(self) -> dict[str, list[dict[str, str]]]:
        """A JWK Set (RFC 7517) of public halves."""
        public = {name: str(value) for name, value in self._key.as_dict(private=False).items()}
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": ALGORITHM}]}

    def sign(self, claims: Claims) -> str:
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self._key_id}
        return jws.serialize_compact(header, msgspec.json.encode(claims), self._key, algorithms=[ALGORITHM])


def new_receipt_id() -> str:
    return secrets.token_hex(16)


def watched(key: str, stored_at: int) -> WatchedKey:
    """The store's rules work at UTC midnights: the first after the object's class of whole days has passed."""
    backstop = stored_at + parse_key(key).class_days * DAY_S
    return WatchedKey(key, -(-backstop // DAY_S) * DAY_S + LOOKED_FOR_AFTER_BACKSTOP_S)


def add_receipt(db: Session, claims: Claims, signed: str, keys: Sequence[WatchedKey], forget_at: int) -> None:
    """Also the end of looking, where the store's own rule is slower than a receipt is kept."""
    db.add(
        ReceiptRow(
            id=claims.jti,
            signed=signed,
            keys=msgspec.json.encode(keys).decode() if keys else None,
            keys_until_at=max((key.until_at for key in keys), default=claims.iat),
            look_at=claims.iat if keys else None,
            issued_at=claims.iat,
            forget_at=forget_at,
        )
    )


def complete_receipt(db: Session, claims: Claims, signed: str) -> None:
    """What it says now that all is done."""
    db.execute(update(ReceiptRow).where(ReceiptRow.id == claims.jti).values(signed=signed))


def find_receipt(db: Session, receipt_id: str, signer: Signer) -> Receipt | None:
    """Raises ReceiptBroken where the row is not what was signed with the key that is published now."""
    row = db.get(ReceiptRow, receipt_id)
    if row is None:
        return None
    claims = read_receipt(row.signed, signer.key_set)
    if claims.jti != row.id:
        raise ReceiptBroken("it is another receipt's")
    watched_until = row.keys_until_at if row.keys else None
    return Receipt(row.id, claims, row.signed, row.checked_at, row.found, watched_until)


def find_look(db: Session, receipt_id: str) -> Look | None:
    """None where there is no such receipt, or it was kept long enough."""
    row = db.get(ReceiptRow, receipt_id)
    return None if row is None else Look(row.checked_at, row.found)


def read_receipt(text: str, key_set: Mapping[str, object]) -> Claims:
    """Raises ReceiptBroken. `key_set` is what `/.well-known/jwks.json` answers."""
    try:
        keys = KeySet.import_key_set(key_set)  # pyright: ignore[reportArgumentType]  checked there
        signed = jws.deserialize_compact(text.strip(), keys, algorithms=[ALGORITHM])
        if signed.headers().get("typ") != TYPE:
            raise ReceiptBroken("it is signed, and is not a receipt of a deletion")
        return msgspec.json.decode(signed.payload or b"", type=Claims)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise ReceiptBroken(_why(error)) from None


async def recheck_receipts(now: float, store: ObjectStore, database: Database) -> Rechecked:
    """Look again for every object that a receipt calls gone, hourly; what is found is deleted and counted.

    Raises DatabaseUnavailable, StoreUnavailable: then some wait for the next time.
    """
    receipts, found = 0, 0
    listed: dict[str, set[str]] = {}
    while rows := await database.read(partial(_due_for_a_look, now=now)):
        kept = {row.id: _still_watched(row, now) for row in rows}
        there = await _found(kept.values(), store, listed)
        await store.delete(sorted(there))
        await database.write(partial(_note_look, kept=kept, there=there, now=now))
        receipts += len(rows)
        found += len(there)
    if found:
        log.error("%d objects that receipts call gone were there, and are deleted now", found)
    return Rechecked(receipts, found)


def forget_receipts(db: Session, now: float, limit: int = BATCH) -> int:
    due = select(ReceiptRow.id).where(ReceiptRow.forget_at <= int(now)).limit(limit)
    return changed(db, delete(ReceiptRow).where(ReceiptRow.id.in_(due)))


def _due_for_a_look(db: Session, now: float) -> list[ReceiptRow]:
    due = select(ReceiptRow).where(ReceiptRow.look_at <= int(now)).order_by(ReceiptRow.look_at)
    return list(db.scalars(due.limit(BATCH)))


def _still_watched(row: ReceiptRow, now: float) -> list[WatchedKey]:
    keys = msgspec.json.decode(row.keys or "[]", type=list[WatchedKey])
    return [key for key in keys if key.until_at > now]


async def _found(watched: Iterable[Sequence[WatchedKey]], store: ObjectStore, listed: dict[str, set[str]]) -> set[str]:
    """One listing for each minute, however many receipts share it: `listed` holds those that were made before."""
    wanted = {each.key for keys in watched for each in keys}
    there: set[str] = set()
    for minute in sorted({key.rpartition("/")[0] for key in wanted}):
        if minute not in listed:
            listed[minute] = set(await store.keys(f"{minute}/"))
        there |= wanted & listed[minute]
        listed[minute] -= wanted
    return there


def _note_look(db: Session, kept: Mapping[str, Sequence[WatchedKey]], there: set[str], now: float) -> None:
    for receipt_id, keys in kept.items():
        db.execute(
            update(ReceiptRow)
            .where(ReceiptRow.id == receipt_id)
            .values(
                keys=msgspec.json.encode(keys).decode() if keys else None,
                look_at=int(now) + LOOK_EVERY_S if keys else None,
                checked_at=int(now),
                found=len(there.intersection(each.key for each in keys)),
            )
            .execution_options(synchronize_session=False)
        )


def _why(error: Exception) -> str:
    match error:
        case msgspec.ValidationError():
            return "it is signed, and says nothing that we would say"
        case JoseError(error="bad_signature"):
            return "the signature does not fit: it was changed, or another service signed it"
        case JoseError(error="invalid_key_id"):
            return "it is signed with a key that this service does not have"
        case _:
            return "it is not a signed receipt at all"
