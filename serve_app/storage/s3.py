"""Objects in any S3, by the minio SDK. The SDK blocks, so every call runs in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from serve_app.errors import StoreUnavailable
from serve_app.storage.store import ObjectGone, StoreSettings

T = TypeVar("T")

CONNECT_S = 3.0
READ_S = 20.0
POOL = 32
ATTEMPTS = 3
FIRST_PAUSE_S = 0.2
GONE = {"NoSuchKey", "NoSuchObject"}
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "SignatureDoesNotMatch"}  # for good: not repeated


def open_client(settings: StoreSettings, *, is_anonymous: bool = False) -> Minio:
    """`is_anonymous`: without credentials, as a stranger would ask. Raises ValueError without an address."""
    if settings.s3_url is None:
        raise ValueError("an S3 store needs a URL")
    url = urlsplit(settings.s3_url)
    return Minio(
        url.netloc,
        access_key=None if is_anonymous else settings.access_key,
        secret_key=None if is_anonymous else settings.secret_key,
        secure=url.scheme == "https",
        region=settings.region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S), maxsize=POOL, retries=False
        ),
    )


class S3Store:
    """A bucket that the operator made; it is never created here."""

    def __init__(self, settings: StoreSettings) -> None:
        self._bucket = settings.bucket
        self._client = open_client(settings)

    async def put(self, key: str, data: bytes) -> None:
        await self._retried(lambda: self._client.put_object(self._bucket, key, BytesIO(data), len(data)))

    async def get(self, key: str) -> bytes:
        return await self._retried(lambda: self._read(key))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._retried(lambda: self._remove(keys))

    async def children(self, prefix: str, *, until: str | None = None) -> list[str]:
        return await self._retried(lambda: self._names(prefix, until))

    async def keys(self, prefix: str) -> list[str]:
        listed = await self._retried(lambda: list(self._client.list_objects(self._bucket, prefix, recursive=True)))
        return sorted(str(entry.object_name) for entry in listed)

    async def batches(self, prefix: str, size: int) -> AsyncIterator[list[str]]:
        after: str | None = None
        while batch := await self._retried(partial(self._after, prefix, after, size)):
            yield batch
            after = batch[-1]

    async def check(self) -> None:
        if not await self._retried(lambda: self._client.bucket_exists(self._bucket)):
            raise StoreUnavailable(f"the bucket {self._bucket} does not exist")

    def _names(self, prefix: str, until: str | None) -> list[str]:
        """Pages come in order, and are not asked for after `until`. Within a page the SDK hands out objects before
        prefixes, so that a loose object says nothing about what is still to come."""
        names: set[str] = set()
        for entry in self._client.list_objects(self._bucket, prefix):
            name = str(entry.object_name)[len(prefix) :].rstrip("/")
            if until is None or name <= until:
                names.add(name)
            elif entry.is_dir:
                break
        return sorted(names)

    def _after(self, prefix: str, after: str | None, size: int) -> list[str]:
        listed = self._client.list_objects(self._bucket, prefix, recursive=True, start_after=after)
        return [str(entry.object_name) for entry in islice(listed, size)]

    def _read(self, key: str) -> bytes:
        reply = self._client.get_object(self._bucket, key)
        try:
            return reply.read()
        finally:
            reply.close()
            reply.release_conn()

    def _remove(self, keys: Sequence[str]) -> None:
        errors = list(self._client.remove_objects(self._bucket, [DeleteObject(key) for key in keys]))
        failed = [error.code for error in errors if error.code not in GONE]
        if failed:
            raise StoreUnavailable(f"{len(failed)} objects were not deleted: {failed[0]}")

    async def _retried(self, call: Callable[[], T]) -> T:
        """Three attempts with growing pauses; what the server refuses for good is not repeated."""
        pause_s, reason = FIRST_PAUSE_S, ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await asyncio.to_thread(call)
            except S3Error as error:
                if error.code in GONE:
                    raise ObjectGone("no such object") from error
                if error.code in REFUSED:
                    raise StoreUnavailable(f"the object store refused bucket {self._bucket}: {error.code}") from error
                reason = str(error.code)
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                reason = type(error).__name__
            if attempt < ATTEMPTS:
                await asyncio.sleep(pause_s)
                pause_s *= 3
        raise StoreUnavailable(f"the object store does not answer: {reason}")
