"""A policy that keeps less than it did: what was written under the longer promise goes by the shorter one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import func, select

from cluster.lifecycle import EACH_HOUR, sweep_once
from cluster.sweep import Parts
from edge.db.rows import ConsentRow, JobRow, PromptRow, SessionRow
from policies.load import load_policies
from policies.presets import write_preset
from tests.edge.edges import Clock, Edge, make_edge
from tests.sweeping import parts_of

HOUR_S = 3600
DAY_S = 86_400
PICTURES_S = HOUR_S
HOURLY = {name: EACH_HOUR[name] for name in ("shortened times", "orphans")}


@pytest.fixture
async def edge(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge


def shortened(edge: Edge, directory: Path) -> Parts:
    """A sweeper whose policy keeps prompts for two days, copies for three and the states of jobs for two hours."""
    write_preset("european", directory)
    retention = directory / "retention.toml"
    text = retention.read_text()
    for name, kept_for in (("moderation_prompt", "P2D"), ("training_copy", "P3D"), ("job_state", "PT2H")):
        head, tail = text.split(f"[classes.{name}]")
        before, _, after = tail.partition('kept_for = "')
        text = f'{head}[classes.{name}]{before}kept_for = "{kept_for}{after[after.index(chr(34)) :]}'
    retention.write_text(text)
    return replace(parts_of(edge.services, edge.keys), policies=load_policies(directory))


async def ends(edge: Edge) -> tuple[Sequence[int], Sequence[int | None]]:
    """Of prompts and of jobs."""
    read = edge.services.database.read
    return (
        await read(lambda db: db.scalars(select(PromptRow.delete_at)).all()),
        await read(lambda db: db.scalars(select(JobRow.forget_at)).all()),
    )


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
    await edge.draw(n=2)
    before = await ends(edge)
    await sweep(parts_of(edge.services, edge.keys))
    assert await ends(edge) == before
    edge.clock.advance(PICTURES_S)
    await sweep(parts_of(edge.services, edge.keys))
    assert await ends(edge) == before, "nor does it when the pictures have gone"


async def test_the_state_of_a_job_goes_so_long_after_its_last_picture(edge: Edge, tmp_path: Path) -> None:
    await edge.draw(n=2)
    await edge.draw(retention="PT30M")
    parts = shortened(edge, tmp_path / "shorter")
    await sweep(parts)
    for after_s, left in ((1800 + 2 * HOUR_S - 1, 2), (1, 1), (1800 - 1, 1), (1, 0)):
        edge.clock.advance(after_s)
        await sweep(parts)
        assert len((await ends(edge))[1]) == left


async def test_what_is_left_of_a_job_whose_pictures_are_gone_goes_as_if_they_went_now(
    edge: Edge, tmp_path: Path
) -> None:
    await edge.draw()
    edge.clock.advance(PICTURES_S + HOUR_S)
    await sweep(parts_of(edge.services, edge.keys))
    parts = shortened(edge, tmp_path / "shorter")
    for after_s, left in ((0, 1), (HOUR_S, 1), (HOUR_S, 0)):  # each hour's look moves nothing on
        edge.clock.advance(after_s)
        await sweep(parts)
        assert len((await ends(edge))[1]) == left


async def test_a_job_under_way_has_no_end_that_could_be_sooner(edge: Edge, tmp_path: Path) -> None:
    edge.generator.hold.clear()
    await edge.submit()
    await sweep(shortened(edge, tmp_path / "shorter"))
    assert (await ends(edge))[1] == [None]
    edge.generator.hold.set()


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
