"""Bring the database to the newest schema. Processes that start together do it one after the other."""

import asyncio
import fcntl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from edge.db.database import or_unavailable

ADVISORY_LOCK = 0x5F_0A_70  # a number of ours among those of the database
MIGRATIONS = Path(__file__).parent / "migrations"


async def migrate(engine: AsyncEngine) -> None:
    """Raises DatabaseUnavailable."""
    with or_unavailable():
        await _migrate(engine)


async def _migrate(engine: AsyncEngine) -> None:
    async with _alone(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("SET LOCAL lock_timeout = 0"))  # a big table may take another start long
            await connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        await connection.run_sync(_upgrade)


def migrations_config(connection: Connection) -> Config:
    """For our own upgrade, and for `alembic revision` by hand."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(migrations_config(connection), "head")


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncGenerator[None]:
    """SQLite changes its journal mode, and the driver its tables, without waiting for others: a lock file does."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        yield
        return
    path = Path(engine.url.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield
