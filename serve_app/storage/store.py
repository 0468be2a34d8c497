"""The seam to the object store, and what the engine does with it: seal an image and put it under its key."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from serve_app.contract import StoreOrder
from serve_app.storage.keys import ImageKey, delete_minute
from serve_app.storage.sealing import seal

_S3_URL = re.compile(r"https?://[^/@?#\s]+/?")


class ObjectGone(Exception):
    """There is no object under this key (any more)."""


class ObjectStore(Protocol):
    """Every call may raise errors.StoreUnavailable. Keys are `/`-separated; a prefix ends with `/`."""

    async def put(self, key: str, data: bytes) -> None:
        """Whole or not at all, retried with backoff."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises ObjectGone."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Deleting what is gone is no error."""
        ...

    async def children(self, prefix: str, *, until: str | None = None) -> list[str]:
        """Names one level below the prefix that hold something, sorted: of `img/1d/`, its minutes. Up to and including
        `until`, where that is given: what sorts later is not looked at."""
        ...

    async def keys(self, prefix: str) -> list[str]:
        """All keys below the prefix."""
        ...

    def batches(self, prefix: str, size: int) -> AsyncIterator[list[str]]:
        """The same, `size` at most at a time, none of them empty. What was handed out may be deleted meanwhile."""
        ...

    async def check(self) -> None:
        """Reachable and there, the directory writable too; raises StoreUnavailable with what is wrong."""
        ...


class StoreSettings(Struct, frozen=True, kw_only=True):
    """`s3_url` None means a directory."""

    directory: Path
    s3_url: str | None = None
    access_key: str = ""
    secret_key: str = ""
    bucket: str = "sfumato"
    region: str = "us-east-1"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "StoreSettings":
        """Raises ValueError, which names the variable and shows no value: an address may hold a password."""
        home = Path(env.get("SFUMATO_HOME") or ".sfumato").absolute()
        s3_url = env.get("SFUMATO_S3_URL") or None
        if s3_url is None:
            return cls(directory=home / "objects")
        if not _S3_URL.fullmatch(s3_url):
            raise ValueError("SFUMATO_S3_URL must look like https://s3.example.org:8333, without path or password")
        for name in ("SFUMATO_S3_ACCESS_KEY", "SFUMATO_S3_SECRET_KEY"):
            if not env.get(name):
                raise ValueError(f"{name} must be set, as SFUMATO_S3_URL is")
        return cls(
            directory=home / "objects",
            s3_url=s3_url,
            access_key=env["SFUMATO_S3_ACCESS_KEY"],
            secret_key=env["SFUMATO_S3_SECRET_KEY"],
            bucket=env.get("SFUMATO_S3_BUCKET") or "sfumato",
            region=env.get("SFUMATO_S3_REGION") or "us-east-1",
        )

    def __repr__(self) -> str:
        return f"<store:{self.s3_url or self.directory}>"


class StoredImage(Struct, frozen=True):
    """Where an image went: `delete_at` in Unix seconds; size and SHA-256 are the ciphertext's."""

    key: str
    delete_at: int
    size_bytes: int
    digest: bytes


async def put_image(store: ObjectStore, order: StoreOrder, index: int, data: bytes, now_s: float) -> StoredImage:
    """Seals and stores image `index`. The replica forms the key here, so that its time runs from storing."""
    slot = order.slots[index]
    due = delete_minute(now_s, order.kept_for_s)
    key = str(ImageKey(order.prefix, order.class_days, due, slot.image_id))
    sealed = seal(slot.secret, key, data)
    await store.put(key, sealed)
    return StoredImage(key, int(due.timestamp()), len(sealed), hashlib.sha256(sealed).digest())
