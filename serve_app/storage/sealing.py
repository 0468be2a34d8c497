"""Images are stored sealed: AES-256-GCM under a key that only the image's address carries.

Stored bytes = version ‖ fresh 96-bit nonce ‖ ciphertext with tag; the object's key is the associated data, so that
bytes moved to another key do not open. Neither a stolen database nor a stolen bucket shows a picture.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"\x01"
NONCE_BYTES = 12
SECRET_BYTES = 32


class SealBroken(Exception):
    """The bytes are not what was sealed under this secret and key."""


def image_secret(viewing_secret: bytes, image_id: str) -> bytes:
    """The 32-byte secret of one image, from its owner's 32-byte viewing secret."""
    return _derive(viewing_secret, b"sfumato image secret " + image_id.encode())


def seal(secret: bytes, key: str, data: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + _cipher(secret).encrypt(nonce, data, key.encode())


def unseal(secret: bytes, key: str, sealed: bytes) -> bytes:
    """Raises SealBroken."""
    if sealed[:1] != VERSION:
        raise SealBroken("unknown version of the seal")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        return _cipher(secret).decrypt(nonce, ciphertext, key.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBroken("the seal does not open") from error


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(_derive(secret, b"sfumato image encryption"))


def _derive(secret: bytes, info: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")  # an empty one would seal nothing
    return HKDF(SHA256(), SECRET_BYTES, salt=None, info=info).derive(secret)
