"""Day keys: made ahead, never replaced while they are there, destroyed with their day."""

import asyncio
import stat
from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cluster.day_keys import AHEAD_DAYS, DayKeys, KeyGone, destroy_day_keys, make_day_keys
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import DayKeyRow, PromptRow
from edge.domain.day_seal import day_of
from tests.edge.edges import START

TODAY = day_of(START)
DAY_S = 86_400.0


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(open_engine(f"sqlite+aiosqlite:///{tmp_path / 'sfumato.db'}"))
    await migrate(database.engine)
    yield database
    await database.close()


@pytest.fixture
def keys(tmp_path: Path) -> DayKeys:
    return DayKeys(tmp_path / "keys")


async def published(database: Database) -> dict[date, bytes]:
    def read(db: Session) -> dict[date, bytes]:
        return {day: public_key for day, public_key in db.execute(select(DayKeyRow.day, DayKeyRow.public_key))}

    return await database.read(read)


async def keep_a_prompt(database: Database, day: date) -> None:
    row = PromptRow(
        id=day.strftime("%Y%m%d") * 4,
        owner_kind="session",
        owner_id="o" * 32,
        job_id="j" * 32,
        made_on=day,
        sealed=b"sealed",
        delete_at=0,
    )
    await database.write(lambda db: db.add(row))


async def test_an_edge_can_go_on_for_a_week_without_the_sweeper(database: Database, keys: DayKeys) -> None:
    await make_day_keys(keys, database, START)
    assert set(await published(database)) == {TODAY + timedelta(days=ahead) for ahead in range(AHEAD_DAYS + 1)}


async def test_private_halves_are_in_files_that_only_their_owner_reads(database: Database, keys: DayKeys) -> None:
    await make_day_keys(keys, database, START)
    assert stat.S_IMODE(keys.directory.stat().st_mode) == 0o700
    files = list(keys.directory.iterdir())
    assert len(files) == AHEAD_DAYS + 1
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    public = await published(database)
    assert {day: keys.private(day).public_key().public_bytes_raw() for day in public} == public


async def test_a_key_that_is_there_is_never_replaced(database: Database, keys: DayKeys) -> None:
    await make_day_keys(keys, database, START)
    before = await published(database)
    await asyncio.gather(*(make_day_keys(keys, database, START + DAY_S) for _ in range(8)))
    after = await published(database)
    assert {day: after[day] for day in before} == before


async def test_a_lost_file_is_a_new_key_and_is_said(
    database: Database, keys: DayKeys, caplog: pytest.LogCaptureFixture
) -> None:
    await make_day_keys(keys, database, START)
    before = await published(database)
    keys.destroy(TODAY)
    await make_day_keys(keys, database, START)
    assert (await published(database))[TODAY] != before[TODAY]
    assert f"the key of {TODAY} was not here" in caplog.text


async def test_a_day_is_destroyed_once_it_is_over_and_its_last_prompt_has_gone(
    database: Database, keys: DayKeys
) -> None:
    await make_day_keys(keys, database, START)
    await keep_a_prompt(database, TODAY)
    much_later = START + 40 * DAY_S
    await destroy_day_keys(keys, database, much_later)
    assert keys.days() == {TODAY} == set(await published(database))
    await database.write(partial(Session.execute, statement=delete(PromptRow)))
    assert await destroy_day_keys(keys, database, much_later) == 1
    assert keys.days() == set()
    assert await published(database) == {}
    with pytest.raises(KeyGone, match=str(TODAY)):
        keys.private(TODAY)


async def test_today_and_yesterday_stay_since_clocks_differ(database: Database, keys: DayKeys) -> None:
    await make_day_keys(keys, database, START)
    assert await destroy_day_keys(keys, database, START + DAY_S) == 0
    assert await destroy_day_keys(keys, database, START + 2 * DAY_S) == 1


async def test_what_a_kill_left_of_a_destruction_goes_the_next_time(database: Database, keys: DayKeys) -> None:
    """Of one day only the row is left, of another only the file, of a third a draft that was linked already."""
    await make_day_keys(keys, database, START)
    keys.destroy(TODAY)
    tomorrow, third = TODAY + timedelta(days=1), TODAY + timedelta(days=2)
    await database.write(partial(Session.execute, statement=delete(DayKeyRow).where(DayKeyRow.day == tomorrow)))
    (keys.directory / f"{third}.key-0123abcd").hardlink_to(keys.directory / f"{third}.key")
    await destroy_day_keys(keys, database, START + 40 * DAY_S)
    assert list(keys.directory.iterdir()) == []
    assert await published(database) == {}


async def test_a_destroyed_file_was_overwritten_first(keys: DayKeys, tmp_path: Path) -> None:
    held = keys.make(TODAY).private_bytes_raw()
    second_name = tmp_path / "same file"
    second_name.hardlink_to(keys.directory / f"{TODAY}.key")
    keys.destroy(TODAY)
    assert len(second_name.read_bytes()) == len(held)
    assert second_name.read_bytes() != held


async def test_a_file_that_is_named_by_no_day_keeps_no_key_from_being_destroyed(
    database: Database, keys: DayKeys, caplog: pytest.LogCaptureFixture
) -> None:
    keys.make(TODAY - timedelta(days=9))
    for name in ("2026-99-99.key", "9999-12-31.key"):
        (keys.directory / name).write_bytes(b"not made by us")
    assert await destroy_day_keys(keys, database, START) == 1
    assert {file.name for file in keys.directory.iterdir()} == {"2026-99-99.key", "9999-12-31.key"}
    assert "a key file is named by no day: 2026-99-99" in caplog.text


async def test_a_key_that_cannot_be_destroyed_keeps_no_other(database: Database, keys: DayKeys) -> None:
    days = [TODAY - timedelta(days=ago) for ago in (9, 8, 7)]
    for day in (days[0], days[2]):
        keys.make(day)
    (keys.directory / f"{days[1].isoformat()}.key").mkdir()
    with pytest.raises(IsADirectoryError):
        await destroy_day_keys(keys, database, START)
    assert keys.days() == {days[1]}
