"""Several edges that write to one database at the same moment; where only one may be (SQLite), its own writes do."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from edge.db.database import Database, Work, open_engine
from tests.edge.edges import Edge

T = TypeVar("T")


async def at_once(edge: Edge, works: Sequence[Work[T]]) -> list[T | BaseException]:
    """What each answers, or why it does not."""
    services = edge.services
    async with AsyncExitStack() as opened:
        databases = [services.database] * len(works)
        if services.database.engine.dialect.name == "postgresql":
            databases = [Database(open_engine(services.settings.database_url)) for _ in works]
            for database in databases:
                opened.push_async_callback(database.close)
        writes = (database.write(work) for database, work in zip(databases, works, strict=True))
        return await asyncio.gather(*writes, return_exceptions=True)
