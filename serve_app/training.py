"""A copy of a picture for training: the file and its prompt, sealed to the operator's training key.

The replica makes it on the edge's word and cannot open it; only who holds the private half can. It holds neither seed
nor settings: the picture itself is there, and a caption and the model's name are all that training needs beside it.
"""

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Struct

from serve_app.contract import GenerateRequest, OutputFormat, TrainingOrder
from serve_app.storage.keys import ImageKey, delete_minute
from serve_app.storage.store import ObjectStore

VERSION = b"\x01"
KEY_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class CopyBroken(Exception):
    """The bytes are not a copy that was sealed to this key under this object's key."""


class TrainingCopy(Struct, frozen=True):
    """What a copy holds. `file` is the picture as its owner got it, mark included."""

    file: bytes
    output_format: OutputFormat
    caption: str
    model: str
    width_px: int
    height_px: int

    def __repr__(self) -> str:
        return f"<training copy:{len(self.file)}>"


class StoredCopy(Struct, frozen=True):
    """Where a copy went; `delete_at` in Unix seconds."""

    key: str
    delete_at: int


async def put_copy(
    store: ObjectStore, order: TrainingOrder, request: GenerateRequest, image_id: str, file: bytes, now_s: float
) -> StoredCopy:
    """Seals and stores the copy of one image. Raises StoreUnavailable; ValueError for a key that is none."""
    due = delete_minute(now_s, order.kept_for_s)
    key = str(ImageKey(order.prefix, order.class_days, due, image_id))
    copy = TrainingCopy(
        file=file,
        output_format=request.output_format,
        caption=request.prompt.text,
        model=request.model,
        width_px=request.width_px,
        height_px=request.height_px,
    )
    await store.put(key, seal_copy(order.public_key, key, copy))
    return StoredCopy(key, int(due.timestamp()))


def seal_copy(public_key: bytes, key: str, copy: TrainingCopy) -> bytes:
    """Version ‖ HPKE ciphertext. The object's key, which says day and id, is bound in: moved bytes do not open."""
    sealed = _SUITE.encrypt(
        msgspec.msgpack.encode(copy), X25519PublicKey.from_public_bytes(public_key), info=_info(key)
    )
    return VERSION + sealed


def open_copy(private_key: X25519PrivateKey, key: str, sealed: bytes) -> TrainingCopy:
    """Raises CopyBroken."""
    if sealed[:1] != VERSION:
        raise CopyBroken("unknown version of the seal")
    try:
        return msgspec.msgpack.decode(_SUITE.decrypt(sealed[1:], private_key, info=_info(key)), type=TrainingCopy)
    except (InvalidTag, ValueError) as error:
        raise CopyBroken("the copy does not open with this key") from error


def _info(key: str) -> bytes:
    return b"sfumato training copy " + key.encode()
