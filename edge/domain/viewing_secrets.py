"""What opens an account's pictures: 256 random bits, in the database only wrapped, under a key that is not in there.

The wrapping is AES-256-GCM and bound to account and secret, so that no row can be passed off as another's.
"""

import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from edge.db.rows import ViewingSecretRow
from edge.domain.keyring import Keyring

SECRET_BYTES = 32
NONCE_BYTES = 12


def add_own_secret(db: Session, account_id: str, keyring: Keyring) -> None:
    secret = secrets.token_bytes(SECRET_BYTES)
    db.add(ViewingSecretRow(id=account_id, account_id=account_id, wrapped=_wrap(secret, account_id, keyring)))


def unwrap(row: ViewingSecretRow, keyring: Keyring) -> bytes:
    """Raises InvalidTag where the row was not written under this keyring, or belongs elsewhere."""
    nonce, sealed = row.wrapped[:NONCE_BYTES], row.wrapped[NONCE_BYTES:]
    return AESGCM(keyring.wrapping_key).decrypt(nonce, sealed, _bound_to(row.account_id, row.id))


def _wrap(secret: bytes, account_id: str, keyring: Keyring) -> bytes:
    """Of the account's own, whose id is the account's."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(keyring.wrapping_key).encrypt(nonce, secret, _bound_to(account_id, account_id))


def _bound_to(account_id: str, secret_id: str) -> bytes:
    return f"{account_id}:{secret_id}".encode()
