"""Bring the database to the newest schema. Edges that start together do it one after the other."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

MIGRATIONS = Path(__file__).parent / "migrations"


async def migrate(engine: AsyncEngine) -> None:
    _make_home(engine)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade)


def migrations_config(connection: Connection) -> Config:
    """For our own upgrade, and for `alembic revision` by hand."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            "BEGIN IMMEDIATE"
        )  # the driver would begin at the first row only, too late for a lock
    command.upgrade(migrations_config(connection), "head")


def _make_home(engine: AsyncEngine) -> None:
    url = make_url(str(engine.url))
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
