"""What opens an account's pictures: 256 random bits, in the database only wrapped, under a key that is not in there.

The wrapping is AES-256-GCM and bound to account and secret, so that no row can be passed off as another's.
"""

import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, exists
from sqlalchemy.orm import Session

from edge.db.rows import ImageRow, ViewingSecretRow
from edge.domain.keyring import Keyring
from edge.domain.owner import Owner, owned

SECRET_BYTES = 32
NONCE_BYTES = 12


def add_own_secret(db: Session, account_id: str, keyring: Keyring) -> None:
    _add(db, account_id, account_id, secrets.token_bytes(SECRET_BYTES), keyring)


def add_brought_secret(db: Session, account_id: str, secret: bytes, keyring: Keyring) -> str:
    """Of a session whose pictures are the account's from here on. Answers its id, which does not name the session."""
    secret_id = secrets.token_hex(16)
    _add(db, secret_id, account_id, secret, keyring)
    return secret_id


def forget_unused_secrets(db: Session, account: Owner) -> None:
    """Those that were brought along with pictures of which none is left."""
    opens_some = exists().where(owned(ImageRow, account), ImageRow.viewing_secret_id == ViewingSecretRow.id)
    brought = ViewingSecretRow.account_id == account.id, ViewingSecretRow.id != account.id
    db.execute(delete(ViewingSecretRow).where(*brought, ~opens_some))


def unwrap(row: ViewingSecretRow, keyring: Keyring) -> bytes:
    """Raises InvalidTag where the row was not written under this keyring, or belongs elsewhere."""
    nonce, sealed = row.wrapped[:NONCE_BYTES], row.wrapped[NONCE_BYTES:]
    return AESGCM(keyring.wrapping_key).decrypt(nonce, sealed, _bound_to(row.account_id, row.id))


def _add(db: Session, secret_id: str, account_id: str, secret: bytes, keyring: Keyring) -> None:
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(keyring.wrapping_key).encrypt(nonce, secret, _bound_to(account_id, secret_id))
    db.add(ViewingSecretRow(id=secret_id, account_id=account_id, wrapped=nonce + sealed))


def _bound_to(account_id: str, secret_id: str) -> bytes:
    return f"{account_id}:{secret_id}".encode()
