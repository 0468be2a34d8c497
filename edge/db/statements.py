"""Two things that the ORM says only in long words: how many rows changed, and insert-or-update."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from edge.db.rows import Base

RowT = TypeVar("RowT", bound=Base)


def changed(db: Session, statement: Update | Delete) -> int:
    """Execute, and count the rows it touched."""
    return cast("CursorResult[Any]", db.execute(statement)).rowcount


def upsert(db: Session, row: type[RowT], *, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Insert `key` with `values`; where the key exists, set those values instead."""
    insert = sqlite.insert if db.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(row).values({**key, **values})
    db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
