"""The deleter is killed after any call, two run at once, clocks go back, edges die between object and row: nothing goes
early, and nothing is left."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cluster import minutes
from cluster.day_keys import DayKeys
from cluster.lifecycle import sweep_once
from cluster.sweep import Parts
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import ImageRow, JobRow
from edge.domain.erasure import erase_images, mark_erased
from policies.load import load_policies
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.keys import ImageKey, delete_minute
from serve_app.storage.store import StoreSettings
from tests.cluster.mortal import Killed, Life, MortalDatabase, MortalStore
from tests.edge.edges import START, Clock

HOUR_S = 3_600
POLICIES = load_policies()

Kept = st.integers(1, 2 * HOUR_S)
Calls = st.integers(1, 40)
Deed = st.one_of(
    st.tuples(st.just("draw"), Kept),
    st.tuples(st.just("draw, and die before the row"), Kept),
    st.tuples(st.just("shorten"), st.integers(0, HOUR_S)),
    st.tuples(st.just("erase, and die"), Calls),
    st.tuples(st.just("wait"), st.integers(1, 2 * HOUR_S)),
    st.tuples(st.just("set the clock back"), st.just(HOUR_S)),
    st.tuples(st.just("sweep, and die"), Calls),
    st.tuples(st.just("sweep twice at once"), st.just(2)),
)


@dataclass
class World:
    """What was promised of each object: when it goes. `latest` is the latest that any deleter took for now."""

    home: Path
    store: DirectoryStore
    database: Database
    clock: Clock = field(default_factory=Clock)
    promised: dict[str, float] = field(default_factory=dict[str, float])
    latest: float = START

    def parts(self, life: Life | None = None) -> Parts:
        return Parts(
            clock=self.clock,
            store=MortalStore(self.store, life or Life()),
            store_settings=StoreSettings(directory=self.home),
            database=MortalDatabase(self.database, life or Life()),
            policies=POLICIES,
            keys=DayKeys(self.home / "keys"),
        )

    async def do(self, deed: str, number: int) -> None:
        match deed:
            case "draw":
                await self.draw(number, has_row=True)
            case "draw, and die before the row":
                await self.draw(number, has_row=False)
            case "shorten":
                await self.shorten(number)
            case "erase, and die":
                await self.erase(Life(number))
            case "wait":
                self.clock.advance(number)
            case "set the clock back":
                self.clock.advance(-number)
            case "sweep, and die":
                await self.sweep(Life(number))
            case _:
                await asyncio.gather(*(self.sweep() for _ in range(number)))

    async def draw(self, kept_for_s: float, *, has_row: bool) -> None:
        due = delete_minute(self.clock.now, kept_for_s)
        image_id = secrets.token_hex(16)
        key = str(ImageKey("img", 1, due, image_id))
        await self.store.put(key, b"sealed")
        self.promised[key] = due.timestamp()
        if has_row:
            await self.database.write(lambda db: add_rows(db, image_id, key, int(due.timestamp()), self.clock.now))

    async def shorten(self, after_s: float) -> None:
        """The image that goes last, of those with a row."""

        def sooner(db: Session) -> tuple[str, int] | None:
            image = db.scalar(select(ImageRow).order_by(ImageRow.delete_at.desc(), ImageRow.id).limit(1))
            if image is None:
                return None
            image.delete_at = min(image.delete_at, int(self.clock.now + after_s))
            return image.key, image.delete_at

        if changed := await self.database.write(sooner):
            self.promised[changed[0]] = changed[1]

    async def erase(self, life: Life) -> None:
        """By its owner, at once; killed on the way."""
        key = await self.database.read(lambda db: db.scalar(select(ImageRow.key).order_by(ImageRow.id).limit(1)))
        if key is None:
            return
        self.promised[key] = 0
        parts = self.parts(life)
        mark = partial(mark_erased, which=ImageRow.key == key, now=self.clock.now, forget_after_s=9)
        await self.database.write(mark)
        with suppress(Killed):
            await erase_images(
                ImageRow.key == key, store=parts.store, database=parts.database, now=self.clock.now, forget_after_s=9
            )

    async def sweep(self, life: Life | None = None) -> None:
        self.latest = max(self.latest, self.clock.now)
        with suppress(Killed):
            await sweep_once(self.parts(life))

    async def nothing_went_early(self) -> None:
        there = set(await self.store.keys("img/"))
        assert {key for key, due_at in self.promised.items() if due_at > self.latest} <= there

    async def nothing_is_left(self) -> None:
        self.clock.now = max([*self.promised.values(), self.clock.now])
        await self.sweep()
        assert await self.store.keys("img/") == []
        assert await self.database.read(lambda db: db.scalar(select(func.count()).select_from(ImageRow))) == 0
        self.clock.advance(25 * HOUR_S)
        await self.sweep()
        assert await self.database.read(lambda db: db.scalar(select(func.count()).select_from(JobRow))) == 0


def add_rows(db: Session, image_id: str, key: str, due_at: int, now: float) -> None:
    owner = {"owner_kind": "session", "owner_id": "0" * 32, "model": "m", "created_at": int(now)}
    job = {"images_asked": 1, "status": "succeeded", "lease_until_at": 0, "ended_at": int(now)}
    db.add(JobRow(id=image_id, forget_at=due_at + 24 * HOUR_S, **owner, **job))
    drawn = {"position": 0, "seed": 1, "steps": 1, "guidance": 1.0, "output_format": "png"}
    sizes = {"width_px": 8, "height_px": 8, "native_width_px": 8, "native_height_px": 8, "size_bytes": 6}
    digests = {"digest": bytes(32), "token_digest": bytes(32)}
    db.add(ImageRow(id=image_id, job_id=image_id, key=key, delete_at=due_at, **owner, **drawn, **sizes, **digests))


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    with tempfile.TemporaryDirectory() as name:
        database = Database(open_engine(f"sqlite+aiosqlite:///{name}/db"))
        await migrate(database.engine)
        store = DirectoryStore(Path(name) / "objects")
        await store.check()
        yield World(Path(name), store, database)
        await database.close()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes, "BATCH", 2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=st.lists(Deed, min_size=1, max_size=14))
def test_whatever_happens_nothing_goes_early_and_nothing_is_left(deeds: list[tuple[str, int]]) -> None:
    async def live() -> None:
        async with world() as it:
            for deed, number in deeds:
                await it.do(deed, number)
                await it.nothing_went_early()
            await it.nothing_is_left()

    asyncio.run(live())


async def test_a_sweep_that_is_killed_after_any_call_is_finished_by_the_next() -> None:
    for calls in range(1, 60):
        async with world() as it:
            for number in range(5):
                await it.draw(60, has_row=number < 4)
            await it.draw(2 * HOUR_S, has_row=True)
            await it.erase(Life(1))
            it.clock.advance(120)
            life = Life(calls)
            await it.sweep(life)
            await it.nothing_went_early()
            await it.nothing_is_left()
            if life.calls:
                return
    raise AssertionError("one sweep makes more calls than were tried")
