"""Insert or update in one statement, in the dialects that we speak."""

from collections.abc import Mapping
from typing import TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from edge.db.rows import Base

RowT = TypeVar("RowT", bound=Base)


def upsert(db: Session, row: type[RowT], *, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Insert `key` with `values`; where the key exists, set those values instead."""
    insert = sqlite.insert if db.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(row).values({**key, **values})
    db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
