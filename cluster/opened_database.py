"""The database for commands that a person runs beside the service."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from edge.db.database import Database, open_engine
from edge.errors import SettingsError
from edge.settings import database_url


@asynccontextmanager
async def opened_database(env: Mapping[str, str]) -> AsyncGenerator[Database]:
    """Raises SettingsError where there is none: SQLite would make an empty one."""
    url = database_url(env)
    _require_file(url)
    database = Database(open_engine(url))
    try:
        yield database
    finally:
        await database.close()


def _require_file(url: str) -> None:
    file = make_url(url).database if url.startswith("sqlite") else None
    if file and not Path(file).exists():
        raise SettingsError(f"there is no database at {file}: set SFUMATO_HOME or SFUMATO_DATABASE_URL")
