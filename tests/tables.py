"""A database file that has its tables already: made once in a run and copied, since making them outlasts most tests."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy.engine import make_url

from edge.db.database import Database, open_engine
from edge.db.migrate import migrate

_MADE: list[Path] = []


def make_tables(directory: Path) -> None:
    """Called once, before the first edge is made; in a thread, since pytest has an event loop of its own."""
    path = directory / "tables.db"
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _migrate(path)).result()
    _MADE.append(path)


def lay_tables(database_url: str) -> None:
    """Where a new SQLite is going to be. The edge's own start finds nothing left to do."""
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database or Path(url.database).exists():
        return
    Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(_MADE[0], url.database)


async def _migrate(path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{path}"))
    await migrate(database.engine)
    await database.close()
