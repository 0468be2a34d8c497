"""A store and a database that kill whoever makes their n-th call, right after it had its effect."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edge.db.database import Database, Work
from serve_app.storage.store import ObjectStore

T = TypeVar("T")


class Killed(BaseException):
    """No `except Exception` outlives it, as none outlives a power cut."""


@dataclass
class Life:
    """How many calls are left; None: it does not end."""

    calls: int | None = None

    def spend(self) -> None:
        if self.calls is None:
            return
        self.calls -= 1
        if self.calls <= 0:
            raise Killed

    def require(self) -> None:
        """The dead do nothing more, in none of their tasks."""
        if self.calls is not None and self.calls <= 0:
            raise Killed


class MortalStore:
    """Implements `ObjectStore`."""

    def __init__(self, store: ObjectStore, life: Life) -> None:
        self._store = store
        self._life = life

    async def put(self, key: str, data: bytes) -> None:
        self._life.require()
        await self._store.put(key, data)
        self._life.spend()

    async def get(self, key: str) -> bytes:
        return await self._store.get(key)

    async def delete(self, keys: Sequence[str]) -> None:
        self._life.require()
        await self._store.delete(keys)
        self._life.spend()

    async def children(self, prefix: str, *, until: str | None = None) -> list[str]:
        self._life.require()
        names = await self._store.children(prefix, until=until)
        self._life.spend()
        return names

    async def keys(self, prefix: str) -> list[str]:
        return await self._store.keys(prefix)

    async def batches(self, prefix: str, size: int) -> AsyncIterator[list[str]]:
        async for batch in self._store.batches(prefix, size):
            self._life.require()
            yield batch
            self._life.spend()

    async def check(self) -> None:
        await self._store.check()


class MortalDatabase(Database):
    def __init__(self, database: Database, life: Life) -> None:
        super().__init__(database.engine)
        self._life = life

    async def read(self, work: Work[T]) -> T:
        self._life.require()
        result = await super().read(work)
        self._life.spend()
        return result

    async def write(self, work: Work[T]) -> T:
        self._life.require()
        result = await super().write(work)
        self._life.spend()
        return result
