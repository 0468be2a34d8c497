"""Which store it is: S3 where an address is set, else the directory."""

from serve_app.storage.directory import DirectoryStore
from serve_app.storage.s3 import S3Store
from serve_app.storage.store import ObjectStore, StoreSettings


def open_store(settings: StoreSettings) -> ObjectStore:
    return S3Store(settings) if settings.s3_url else DirectoryStore(settings.directory)
