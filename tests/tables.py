"""Databases that have their tables already: made once in a run and copied, since making them outlasts most tests."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy.engine import make_url

from edge.db.database import Database, open_engine
from edge.db.migrate import migrate

_MADE: list[Path] = []


def make_tables(directory: Path) -> None:
    """Called once, before the first edge is made."""
    path = directory / "tables.db"
    migrated(f"sqlite+aiosqlite:///{path}")
    _MADE.append(path)


def lay_tables(database_url: str) -> None:
    """Where a new SQLite is going to be. The edge's own start finds nothing left to do."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).exists():
        return
    Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(_MADE[0], url.database)


def migrated(database_url: str) -> None:
    """In a thread, since pytest has an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _migrate(database_url)).result()


async def _migrate(database_url: str) -> None:
    database = Database(open_engine(database_url))
    await migrate(database.engine)
    await database.close()
