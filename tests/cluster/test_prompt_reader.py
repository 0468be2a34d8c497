"""`sfumato prompts`: one may read, with a name and a reason, and never without a trace."""

import asyncio
from pathlib import Path

import pytest

from cluster.day_keys import DayKeys, KeyGone, make_day_keys
from cluster.prompt_reader import CannotRead, Reading, list_reads, read_prompt
from edge.db.database import Database
from edge.db.rows import PromptRow
from edge.domain.day_seal import DaySealBroken
from edge.domain.owner import JobId, Owner, OwnerId
from edge.domain.prompts import PromptSealer
from serve_app.contract import Prompt
from tests.cluster.test_cli import sfumato
from tests.edge.edges import START, Clock, make_edge

OWNER = Owner("session", OwnerId("a" * 32))
JOB = JobId("b" * 32)
WHY = Reading("ada", "report 17", START, START + 1000)


@pytest.fixture
async def keys(database: Database, tmp_path: Path) -> DayKeys:
    keys = DayKeys(tmp_path / "keys")
    await make_day_keys(keys, database, START)
    return keys


async def kept(database: Database, prompt: Prompt) -> PromptRow:
    row = await PromptSealer(database, 1000).seal(prompt, OWNER, JOB, START)
    await database.write(lambda db: db.add(row))
    return row


async def test_a_prompt_is_shown_by_the_id_of_its_job_or_record_once_it_is_written_down(
    database: Database, keys: DayKeys
) -> None:
    row = await kept(database, Prompt("a red apple", "worms"))
    for wanted in (JOB, row.id):
        shown = str(await read_prompt(wanted, WHY, database, keys))
        assert "prompt: a red apple\nnegative prompt: worms" in shown
    assert await list_reads(database) == [f"2027-01-15 08:00 UTC  {row.id}  ada: report 17"] * 2


async def test_what_cannot_be_written_down_is_not_shown(
    database: Database, keys: DayKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(database, Prompt("a red apple"))

    async def broken(work: object) -> None:
        raise OSError

    monkeypatch.setattr(database, "write", broken)
    opened: list[object] = []
    monkeypatch.setattr(keys, "private", opened.append)
    with pytest.raises(OSError):  # noqa: PT011  ours, from above
        await read_prompt(JOB, WHY, database, keys)
    assert opened == []


@pytest.mark.parametrize(
    ("reader", "reason", "said"),
    [
        ("", "report 17", "say the reader"),
        ("ada", "  ", "say the reason"),
        ("a" * 65, "report 17", "the reader is longer than 64"),
        ("ada", "r" * 201, "the reason is longer than 200"),
    ],
)
async def test_a_reading_without_name_or_reason_is_refused(
    database: Database, keys: DayKeys, reader: str, reason: str, said: str
) -> None:
    await kept(database, Prompt("a red apple"))
    with pytest.raises(CannotRead, match=said):
        await read_prompt(JOB, Reading(reader, reason, START, START), database, keys)
    assert await list_reads(database) == []


async def test_a_record_whose_key_was_destroyed_says_so(database: Database, keys: DayKeys) -> None:
    row = await kept(database, Prompt("a red apple"))
    keys.destroy(row.made_on)
    with pytest.raises(KeyGone, match=str(row.made_on)):
        await read_prompt(JOB, WHY, database, keys)


async def test_another_key_or_another_record_does_not_open(database: Database, keys: DayKeys) -> None:
    row = await kept(database, Prompt("a red apple"))
    keys.destroy(row.made_on)
    keys.make(row.made_on)
    with pytest.raises(DaySealBroken):
        await read_prompt(JOB, WHY, database, keys)


async def test_no_record_is_one_line(database: Database, keys: DayKeys) -> None:
    with pytest.raises(CannotRead, match="no such record"):
        await read_prompt("f" * 32, WHY, database, keys)


async def test_a_prompt_cannot_steer_the_terminal(database: Database, keys: DayKeys) -> None:
    await kept(database, Prompt("a \x1b[2Jred\napple 🍎"))
    shown = str(await read_prompt(JOB, WHY, database, keys))
    assert r"prompt: a \x1b[2Jred\napple 🍎" in shown


async def test_the_command_needs_database_and_keys_only(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        job = (await edge.submit(prompt="a red apple")).json()["id"]
    missing = await asyncio.to_thread(sfumato, "prompts", "read", job, "--reader", "ada", cwd=tmp_path)
    assert (missing.returncode, "reason" in missing.stderr + missing.stdout) == (2, True)
    asked = ("prompts", "read", job, "--reader", "ada", "--reason", "report 17")
    shown = await asyncio.to_thread(sfumato, *asked, cwd=tmp_path, SFUMATO_HOME=str(tmp_path))
    assert (shown.returncode, "prompt: a red apple\n" in shown.stdout) == (0, True), shown.stderr
    listed = await asyncio.to_thread(sfumato, "prompts", "reads", cwd=tmp_path, SFUMATO_HOME=str(tmp_path))
    assert listed.stdout.endswith("ada: report 17\n")
    elsewhere = await asyncio.to_thread(sfumato, *asked, cwd=tmp_path, SFUMATO_HOME=str(tmp_path / "elsewhere"))
    assert (elsewhere.returncode, "there is no database" in elsewhere.stderr) == (2, True)
    assert not (tmp_path / "elsewhere").exists()
