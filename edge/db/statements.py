"""What the ORM says only in long words: how many rows changed, insert-or-update, and one statement for many rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import CursorResult, Delete, Table, Update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from edge.db.rows import Base

RowT = TypeVar("RowT", bound=Base)
T = TypeVar("T")
GivenT = TypeVar("GivenT")


@dataclass(frozen=True, slots=True)
class Share(Generic[GivenT, T]):
    """Work that is done for many at once: `for_all` gets what all gave who came together, and answers each in turn."""

    for_all: Callable[[Session, Sequence[GivenT]], Sequence[T]]
    given: GivenT

    def __call__(self, db: Session) -> T:
        [answer] = self.for_all(db, [self.given])
        return answer


def changed(db: Session, statement: Update | Delete) -> int:
    """Execute, and count the rows it touched."""
    return cast("CursorResult[Any]", db.execute(statement)).rowcount


def upsert(db: Session, row: type[RowT], *, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Insert `key` with `values`; where the key exists, set those values instead."""
    statement = _insert(db.get_bind().dialect.name, row).values({**key, **values})
    db.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def add_missing(db: Session, row: type[RowT], rows: Sequence[Mapping[str, object]]) -> None:
    """Insert those whose keys are not there. Asked with each job: the statement is made once."""
    if rows:
        db.connection().execute(_insert_missing(db.get_bind().dialect.name, row), rows)


@cache
def _insert_missing(dialect: str, row: type[Base]) -> sqlite.Insert | postgresql.Insert:
    return _insert(dialect, row).on_conflict_do_nothing()


def _insert(dialect: str, row: type[Base]) -> sqlite.Insert | postgresql.Insert:
    return (sqlite.insert if dialect == "sqlite" else postgresql.insert)(cast("Table", row.__table__))
