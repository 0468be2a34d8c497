import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, suppress
from datetime import date
from functools import partial
from pathlib import Path
from threading import enumerate as enumerate_threads
from time import monotonic
from types import NoneType
from typing import cast

import pytest
from sqlalchemy import Table, bindparam, delete, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import PasskeyRow, SessionRow
from edge.db.statements import Share
from edge.domain.owner import Owner, OwnerId
from edge.domain.sessions import touch_session
from edge.errors import DatabaseUnavailable
from tests.servers import free_ports

NOW = 1_800_000_000.0


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


async def test_closing_waits_for_what_is_under_way_and_lets_nothing_begin(tmp_path: Path) -> None:
    """A connection that came back after the pool was disposed of would stay open for ever."""
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/closing.db"))
    opened: list[object] = []
    closed: list[object] = []
    event.listen(database.engine.sync_engine, "connect", lambda connection, _: opened.append(connection))
    event.listen(database.engine.sync_engine, "close", lambda connection, _: closed.append(connection))
    await migrate(database.engine)
    reads = [asyncio.create_task(ids(database)) for _ in range(3)]
    write = asyncio.create_task(database.write(touch("a")))
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*reads, write)
    assert len(opened) == len(closed) > 1
    with pytest.raises(DatabaseUnavailable):
        await ids(database)
    with pytest.raises(DatabaseUnavailable):
        await database.write(touch("b"))
    with pytest.raises(DatabaseUnavailable):
        await database.compact()


async def test_one_failing_write_undoes_no_other(database: Database) -> None:
    def broken(db: Session) -> None:
        db.add(SessionRow(id="broken"))
        db.flush()

    results = await asyncio.gather(
        database.write(touch("a")), database.write(broken), database.write(touch("b")), return_exceptions=True
    )
    assert isinstance(results[1], IntegrityError)
    assert await ids(database) == ["a", "b"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "too_much", [{"label": "a" * 101}, {"credential_id": secrets.token_bytes(5_000)}], ids=["class 22", "class 54"]
)
async def test_what_postgresql_could_never_write_fails_alone(database: Database, too_much: dict[str, object]) -> None:
    """Over the length of its column, and over what an index holds."""
    row = {"id": "a", "account_id": "a", "credential_id": bytes(16), "public_key": b"", "sign_count": 0, "label": ""}
    unwritable = insert(PasskeyRow).values({**row, "created_on": date(2030, 1, 1), **too_much})
    results = await asyncio.gather(
        database.write(touch("a")),
        database.write(lambda db: db.execute(unwritable)),
        database.write(touch("b")),
        return_exceptions=True,
    )
    assert type(results[1]) is DBAPIError
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


async def test_a_postgresql_that_is_down_says_so() -> None:
    database = Database(open_engine(f"postgresql+asyncpg://nobody@127.0.0.1:{free_ports(1)[0]}/none"))
    for call in (database.read(lambda db: db.scalar(select(SessionRow.id))), database.write(touch("a"))):
        with pytest.raises(DatabaseUnavailable):
            await call
    await database.close()


async def test_connections_that_postgresql_ended_are_unavailable_and_then_replaced(postgresql_url: str) -> None:
    def end_all(db: Session) -> None:
        db.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))

    def one(db: Session) -> int | None:
        return db.scalar(text("SELECT 1"))

    database, other = (Database(open_engine(f"{postgresql_url}/postgres")) for _ in range(2))
    assert await database.read(one) == 1
    await other.read(end_all)
    with pytest.raises(DatabaseUnavailable):
        await database.read(one)
    with suppress(DatabaseUnavailable):  # once more where the end has not been noticed yet
        await database.read(one)
    assert await database.read(one) == 1
    await database.close()
    await other.close()


async def test_a_database_that_cannot_be_opened_cannot_be_compacted(tmp_path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/nowhere/db"))
    with pytest.raises(DatabaseUnavailable):
        await database.compact()
    await database.close()
    for thread in enumerate_threads():  # the driver's still has a word for this loop
        if "_connection_worker" in thread.name:
            await asyncio.to_thread(thread.join)


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


async def test_who_still_reads_keeps_old_rows_in_the_log_and_compacting_says_so_at_once(tmp_path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/home.db"))
    await migrate(database.engine)
    await database.write(touch("a"))
    with closing(sqlite3.connect(tmp_path / "home.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM session").fetchone()
        await database.write(touch("b"))
        began_at = monotonic()
        with pytest.raises(DatabaseUnavailable):
            await database.compact()
        assert monotonic() - began_at < 2
    await database.compact()
    assert (tmp_path / "home.db-wal").stat().st_size == 0
    await database.close()


async def test_compacting_lets_the_space_of_deleted_rows_be_used_again(database: Database) -> None:
    await database.write(touch("a"))
    await database.write(lambda db: db.execute(delete(SessionRow)))
    await database.compact()
    if not database.overwrites:
        dead = text("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'session'")
        assert await database.read(lambda db: db.scalar(dead)) == 0


async def test_a_cancelled_compact_is_cancelled_and_nothing_else(tmp_path: Path) -> None:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path}/sfumato.db"))
    await database.compact()
    ended = [await _cut_off(database.compact(), turns) for turns in range(60)]
    assert {type(error) for error in ended} == {asyncio.CancelledError, NoneType}
    await database.close()


async def _cut_off(work: Coroutine[None, None, None], turns: int) -> BaseException | None:
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0.0001)
    task.cancel()
    [ended] = await asyncio.gather(task, return_exceptions=True)
    return ended
