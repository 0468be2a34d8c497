"""What the ORM says only in long words: how many rows changed, insert-or-update, and one statement for many rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from edge.db.rows import Base

RowT = TypeVar("RowT", bound=Base)


@dataclass(frozen=True, slots=True)
class Change:
    """One row's share in a statement: changes that arrive together are executed as one. Values go by bind name."""

    statement: Update
    values: Mapping[str, object]

    def __call__(self, db: Session) -> None:
        apply_changes(db, [self])


def apply_changes(db: Session, changes: Sequence[Change]) -> None:
    """In the order in which the statements first appear."""
    db.flush()
    rows: dict[Update, list[Mapping[str, object]]] = {}
    for change in changes:
        rows.setdefault(change.statement, []).append(change.values)
    for statement, values in rows.items():
        db.connection().execute(statement, values)


def changed(db: Session, statement: Update | Delete) -> int:
    """Execute, and count the rows it touched."""
    return cast("CursorResult[Any]", db.execute(statement)).rowcount


def upsert(db: Session, row: type[RowT], *, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Insert `key` with `values`; where the key exists, set those values instead."""
    insert = sqlite.insert if db.get_bind().dialect.name == "sqlite" else postgresql.insert
    statement = insert(row).values({**key, **values})
    db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
