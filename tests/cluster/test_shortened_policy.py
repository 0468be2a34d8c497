"""A policy that keeps less than it did: what was written under the longer promise goes by the shorter one."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cluster.lifecycle import EACH_HOUR, sweep_once
from cluster.sweep import Parts
from edge.db.rows import ConsentRow, PromptRow, SessionRow
from policies.load import load_policies
from policies.presets import write_preset
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of

DAY_S = 86_400
HOURLY = {name: EACH_HOUR[name] for name in ("shortened times", "orphans")}


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge


def shortened(edge: Edge, directory: Path) -> Parts:
    """A sweeper whose policy keeps prompts for two days and copies for three."""
    write_preset("european", directory)
    retention = directory / "retention.toml"
    text = retention.read_text()
    for name, kept_for in (("moderation_prompt", "P2D"), ("training_copy", "P3D")):
        head, tail = text.split(f"[classes.{name}]")
        before, _, after = tail.partition('kept_for = "')
        text = f'{head}[classes.{name}]{before}kept_for = "{kept_for}{after[after.index(chr(34)) :]}'
    retention.write_text(text)
    return replace(parts_of(edge.services, edge.keys), policies=load_policies(directory))


async def prompts(edge: Edge) -> int:
    count = select(func.count()).select_from(PromptRow)
    return await edge.services.database.read(lambda db: db.scalar(count) or 0)


async def sweep(parts: Parts) -> None:
    assert (await sweep_once(parts, HOURLY)).is_complete
    assert (await sweep_once(parts)).is_complete


async def test_a_prompt_goes_by_the_shorter_time_and_not_before_it(edge: Edge, tmp_path: Path) -> None:
    await edge.draw()
    parts = shortened(edge, tmp_path / "shorter")
    edge.clock.advance(2 * DAY_S)
    await sweep(parts)
    assert await prompts(edge) == 1
    edge.clock.advance(DAY_S)
    await sweep(parts)
    assert await prompts(edge) == 0


async def test_a_policy_that_stays_changes_no_end(edge: Edge) -> None:
    await edge.draw()
    ends = select(PromptRow.delete_at)
    before = await edge.services.database.read(lambda db: db.scalars(ends).all())
    await sweep(parts_of(edge.services, edge.keys))
    assert await edge.services.database.read(lambda db: db.scalars(ends).all()) == before


async def test_a_copy_for_training_goes_with_its_row(edge: Edge, tmp_path: Path) -> None:
    now, key = int(edge.clock.now), f"training/366d/20280115T0800Z/{'b' * 32}"
    await edge.services.store.put(key, b"sealed")
    row = ConsentRow(
        id="b" * 32, owner_kind="session", owner_id="s" * 32, key=key, mode="opt_in", ground="consent",
        given_at=now, delete_at=now + 365 * DAY_S,
    )  # fmt: skip
    session = SessionRow(id="s" * 32, last_used_on=date(2027, 1, 15), training="allow", training_at=now)
    await edge.services.database.write(lambda db: db.add_all([row, session]))
    parts = shortened(edge, tmp_path / "shorter")
    edge.clock.advance(3 * DAY_S - 1)
    await sweep(parts)
    assert await edge.services.store.keys("training/") == [key]
    edge.clock.advance(1)
    await sweep(parts)
    await sweep(parts)
    assert await edge.services.store.keys("training/") == []
