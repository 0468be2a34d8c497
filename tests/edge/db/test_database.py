import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Table, bindparam, event, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import SessionRow
from edge.db.statements import Share
from edge.domain.owner import Owner, OwnerId
from edge.domain.sessions import touch_session
from edge.errors import DatabaseUnavailable

NOW = 1_800_000_000.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/db"))
    await migrate(database.engine)
    yield database
    await database.close()


def touch(name: str) -> Callable[[Session], None]:
    return partial(touch_session, owner=Owner("session", OwnerId(name)), now=NOW)


async def ids(database: Database) -> list[str]:
    return await database.read(lambda db: list(db.scalars(select(SessionRow.id).order_by(SessionRow.id))))


async def test_writes_that_arrive_together_share_a_commit(database: Database) -> None:
    commits: list[object] = []
    event.listen(database.engine.sync_engine, "commit", commits.append)
    await asyncio.gather(*(database.write(touch(f"{number:032}")) for number in range(100)))
    assert len(await ids(database)) == 100
    assert len(commits) <= 2


async def test_one_failing_write_undoes_no_other(database: Database) -> None:
    def broken(db: Session) -> None:
        db.add(SessionRow(id="broken"))
        db.flush()

    results = await asyncio.gather(
        database.write(touch("a")), database.write(broken), database.write(touch("b")), return_exceptions=True
    )
    assert isinstance(results[1], IntegrityError)
    assert await ids(database) == ["a", "b"]


async def test_touching_twice_is_one_row(database: Database) -> None:
    await asyncio.gather(database.write(touch("a")), database.write(touch("a")))
    await database.write(touch("a"))
    assert await ids(database) == ["a"]


async def test_a_database_that_cannot_answer_says_so(tmp_path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/without-tables"))
    with pytest.raises(DatabaseUnavailable):
        await database.read(lambda db: db.scalar(select(SessionRow.id)))
    with pytest.raises(DatabaseUnavailable):
        await database.write(touch("a"))
    await database.close()


async def test_a_database_that_cannot_be_opened_cannot_be_compacted(tmp_path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/nowhere/db"))
    with pytest.raises(DatabaseUnavailable):
        await database.compact()
    await database.close()


async def test_shares_that_arrive_together_are_one_statement_and_each_gets_its_answer(database: Database) -> None:
    table = cast("Table", SessionRow.__table__)
    move = update(table).where(table.c.id == bindparam("of")).values(last_used_on=date(2030, 1, 1))

    def move_all(db: Session, names: Sequence[str]) -> list[str]:
        db.connection().execute(move, [{"of": name} for name in names])
        return [f"moved {name}" for name in names]

    await asyncio.gather(*(database.write(touch(name)) for name in "abc"))
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    answers = await asyncio.gather(*(database.write(Share(move_all, name)) for name in "abc"))
    assert answers == ["moved a", "moved b", "moved c"]
    assert len(statements) == 1
    days = await database.read(lambda db: set(db.scalars(select(SessionRow.last_used_on))))
    assert days == {date(2030, 1, 1)}


async def test_work_sees_what_its_neighbour_added(database: Database) -> None:
    def add(db: Session) -> None:
        db.add(SessionRow(id="a", last_used_on=date(2030, 1, 1)))

    def look(db: Session) -> str | None:
        return db.scalar(select(SessionRow.id))

    _, seen = await asyncio.gather(database.write(add), database.write(look))
    assert seen == "a"
