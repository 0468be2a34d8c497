"""Prompts are sealed to the key of their day, and that key's end is theirs, in copies of the database too."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from cluster.day_keys import KeyGone, make_day_keys
from cluster.lifecycle import sweep_once
from cluster.prompt_reader import CannotRead, Reading, read_prompt
from edge.db.rows import Base, DayKeyRow, PromptReadRow, PromptRow
from edge.domain.day_seal import DaySealBroken
from edge.domain.prompts import open_prompt
from policies.load import load_policies
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of

CANARY = "xylocanary in a red hat"
KEPT_S = load_policies().retention.classes.moderation_prompt.duration.total_seconds()
DAY_S = 86_400.0
JOBS = Base.metadata.tables["job"]
Dump = dict[Table, list[dict[str, Any]]]


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge


async def sweep(edge: Edge) -> None:
    parts = parts_of(edge.services, edge.keys)
    report = await sweep_once(parts)
    assert report.is_complete


async def dumped(edge: Edge) -> Dump:
    def dump(db: Session) -> Dump:
        tables = Base.metadata.sorted_tables
        return {table: [dict(row) for row in db.execute(select(table)).mappings()] for table in tables}

    return await edge.services.database.read(dump)


async def restore(edge: Edge, dump: Dump) -> None:
    def load(db: Session) -> None:
        for table, rows in dump.items():
            db.execute(table.delete())
            if rows:
                db.execute(table.insert(), rows)

    await edge.services.database.write(load)


async def records(edge: Edge) -> list[PromptRow]:
    return await edge.services.database.read(lambda db: list(db.scalars(select(PromptRow))))


async def read(edge: Edge, wanted_id: str) -> str:
    reading = Reading("ada", "report 17", edge.clock(), edge.clock() + DAY_S)
    return str(await read_prompt(wanted_id, reading, edge.services.database, edge.keys))


async def test_a_dump_of_the_database_cannot_be_read_once_the_days_have_passed(edge: Edge) -> None:
    job = (await edge.submit(prompt=CANARY)).json()["id"]
    inline = await edge.draw(prompt=CANARY, retention="none", response_format="b64_json")
    assert inline.status_code == 200
    dump = await dumped(edge)
    assert CANARY in await read(edge, job)
    assert len(await records(edge)) == 2, "what is not stored is kept for moderation all the same"

    edge.clock.advance(KEPT_S - 1)
    await sweep(edge)
    assert CANARY in await read(edge, job)
    edge.clock.advance(3 * DAY_S)
    await sweep(edge)
    assert await records(edge) == []

    await restore(edge, dump)
    restored = await records(edge)
    assert len(restored) == 2
    for record in restored:
        with pytest.raises(KeyGone):
            await read(edge, record.id)
        for day in edge.keys.days():
            with pytest.raises(DaySealBroken):
                open_prompt(record, edge.keys.private(day))
    await sweep(edge)
    assert await records(edge) == [], "what a restored copy brought back goes again"


async def test_what_the_database_and_the_edge_hold_opens_no_record(edge: Edge) -> None:
    await edge.submit(prompt=CANARY, negative_prompt=CANARY)
    [record] = await records(edge)
    dump = await dumped(edge)
    assert CANARY not in str(dump)
    held = [value for rows in dump.values() for row in rows for value in row.values()]
    tried = [value for value in held if isinstance(value, bytes) and len(value) == 32]
    tried += [bytes.fromhex(value * 2)[:32] for value in held if isinstance(value, str) and len(value) == 32]
    tried.append(edge.services.settings.secret.encode()[:32])
    assert any(isinstance(value, bytes) for value in held)
    for value in tried:
        with pytest.raises(DaySealBroken):
            open_prompt(record, X25519PrivateKey.from_private_bytes(value))


async def test_a_record_holds_neither_seed_nor_settings(edge: Edge) -> None:
    await edge.submit(prompt=CANARY, seed=4_242_424_242, steps=17, guidance=3.25)
    [record] = await records(edge)
    opened = open_prompt(record, edge.keys.private(record.made_on))
    assert [getattr(opened, name) for name in opened.__struct_fields__] == [CANARY, ""]


async def test_reading_leaves_a_row_that_says_who_and_why(edge: Edge) -> None:
    job = (await edge.submit(prompt=CANARY)).json()["id"]
    await read(edge, job)
    [row] = await edge.services.database.read(lambda db: list(db.scalars(select(PromptReadRow))))
    assert (row.reader, row.reason) == ("ada", "report 17")


async def test_without_a_key_for_today_nothing_is_made_and_readyz_says_so(edge: Edge) -> None:
    edge.clock.advance(8 * DAY_S)
    for reply in (await edge.draw(), await edge.submit()):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "prompt_key_missing")
        assert int(reply.headers["retry-after"]) > 0
    assert edge.generator.requests == []
    assert (await dumped(edge))[JOBS] == []
    ready = await edge.client.get("/readyz")
    assert (ready.status_code, "sweeper" in ready.json()["detail"]) == (503, True)
    await make_day_keys(edge.keys, edge.services.database, edge.clock())
    assert (await edge.client.get("/readyz")).status_code == 200
    assert (await edge.draw()).status_code == 200


async def test_an_edge_goes_on_for_a_week_when_the_sweeper_is_dead(edge: Edge) -> None:
    edge.clock.advance(7 * DAY_S)
    assert (await edge.draw()).status_code == 200


async def test_a_key_that_was_replaced_is_followed_within_a_minute(edge: Edge) -> None:
    await edge.draw()
    [first] = await records(edge)
    edge.keys.destroy(first.made_on)
    await edge.make_day_keys()
    edge.clock.advance(61)
    job = (await edge.submit(prompt=CANARY)).json()["id"]
    assert CANARY in await read(edge, job)


async def test_erasing_takes_one_owners_records_and_no_others(edge: Edge) -> None:
    mine, others = await edge.draw(prompt=CANARY), await edge.submit(prompt="a castle")
    [record] = [each for each in await records(edge) if each.job_id != others.json()["id"]]
    edge.sign_in(mine)
    erased = await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
    assert erased.json()["claims"]["counts"]["prompts"] == 1
    with pytest.raises(CannotRead):
        await read(edge, record.job_id)
    assert "a castle" in await read(edge, others.json()["id"])


async def test_sqlite_keeps_no_trace_of_an_erased_record_in_any_file(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        reply = await edge.submit(prompt=CANARY)
        [record] = await records(edge)
        await edge.services.database.compact()
        assert holding(tmp_path, record.sealed), "it is found as long as it is there"
        edge.sign_in(reply)
        await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase"})
        assert holding(tmp_path, record.sealed) == []
        assert holding(tmp_path, CANARY.encode()) == []


async def test_sqlite_keeps_no_trace_of_a_record_whose_time_has_come(tmp_path: Path) -> None:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        await edge.submit(prompt=CANARY)
        [record] = await records(edge)
        edge.clock.advance(KEPT_S + 3 * DAY_S)
        await sweep(edge)
        assert holding(tmp_path, record.sealed) == []
        assert record.made_on not in edge.keys.days()
        rows = await edge.services.database.read(lambda db: list(db.scalars(select(DayKeyRow.day))))
        assert min(rows) > record.made_on + timedelta(days=KEPT_S / DAY_S)


def holding(directory: Path, what: bytes) -> list[Path]:
    """Files with `what` in them; a part of a long value, since pages cut it."""
    part = what[: len(what) // 2]
    return [file for file in directory.rglob("*") if file.is_file() and part in file.read_bytes()]
