"""F1: what the deleter deletes in a second, and how late the last of a burst goes, with a million rows behind.

Measured on a directory and SQLite; where SFUMATO_S3_URL and SFUMATO_DATABASE_URL are set, on those stores and databases
too: give it an empty bucket and an empty database.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, time
from typing import cast

from sqlalchemy import Table, insert, text
from sqlalchemy.orm import Session

from cluster.bench.figures import Figure, percentile
from cluster.day_keys import DayKeys
from cluster.lifecycle import EACH_MINUTE, sweep_once
from cluster.sweep import Parts
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.db.rows import ImageRow, JobRow
from policies.load import load_policies
from serve_app.storage.keys import ImageKey, delete_minute
from serve_app.storage.opening import open_store
from serve_app.storage.store import ObjectStore, StoreSettings

BURST_PER_S = 600
BURST = BURST_PER_S * 60  # all that falls due in one minute
LIVE_ROWS = 1_000_000
IMAGES_PER_JOB = 4
CHUNK = 10_000
UPLOADS = 16
OBJECT = secrets.token_bytes(4096)
WEEK_S = 7 * 86_400
NOTES = (
    f"{BURST} objects of {len(OBJECT)} bytes with a row each fall due in one minute, {LIVE_ROWS} rows live on; the "
    "deleter empties that minute. Rate: all of them by the time it took. Lag: until 99 % had gone. Each round counts "
    "its slowest side. s3 is SeaweedFS and given-database PostgreSQL where this was measured."
)


async def measure_deletions(rounds: int, env: Mapping[str, str]) -> tuple[Figure, Figure]:
    rates: dict[str, list[float]] = {}
    lags: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as name:
        for database_side, url in _databases(env, Path(name)).items():
            async with _filled(url) as database:
                for _ in range(rounds):
                    for store_side, settings in _stores(env, Path(name)).items():
                        rate_per_s, lag_s = await _burst(settings, database)
                        rates.setdefault(f"{store_side}-{database_side}_per_s", []).append(rate_per_s)
                        lags.setdefault(f"{store_side}-{database_side}_s", []).append(lag_s)
    return (
        Figure(
            row="F1-rate",
            what="deletions/s sustained, the slowest of the stores and databases",
            reach="≥ 1000",
            rounds=[min(together) for together in zip(*rates.values(), strict=True)],
            sides=rates,
            notes=NOTES,
        ),
        Figure(
            row="F1-lag",
            what="s from the due minute until 99 % of a burst of 600/s have gone, the slowest",
            reach="≤ 40",
            rounds=[max(together) for together in zip(*lags.values(), strict=True)],
            sides=lags,
            notes=NOTES,
        ),
    )


def _databases(env: Mapping[str, str], home: Path) -> dict[str, str]:
    sides = {"sqlite": f"sqlite+aiosqlite:///{home / 'deleting.db'}"}
    if given := env.get("SFUMATO_DATABASE_URL"):
        sides["given-database"] = given
    return sides


def _stores(env: Mapping[str, str], home: Path) -> dict[str, StoreSettings]:
    sides = {"directory": StoreSettings(directory=home / "objects")}
    if env.get("SFUMATO_S3_URL"):
        sides["s3"] = StoreSettings.from_env(env)
    return sides


@asynccontextmanager
async def _filled(url: str) -> AsyncGenerator[Database]:
    """Rows that nothing may touch, of pictures that go in a week."""
    database = Database(open_engine(url))
    try:
        await migrate(database.engine)
        later = int(time()) + WEEK_S
        for _ in range(LIVE_ROWS // CHUNK):
            await _add_rows(database, [f"img/8d/live/{secrets.token_hex(16)}" for _ in range(CHUNK)], later)
        async with database.engine.begin() as connection:
            await connection.execute(text("ANALYZE"))
        yield database
    finally:
        await database.close()


async def _burst(settings: StoreSettings, database: Database) -> tuple[float, float]:
    """Deletions per second, and seconds until 99 % were gone."""
    store, due = open_store(settings), delete_minute(time() - 3600, 1)
    keys = [str(ImageKey("img", 1, due, secrets.token_hex(16))) for _ in range(BURST)]
    await _put(settings, store, keys)
    for chunk in _parts(keys, CHUNK):
        await _add_rows(database, chunk, int(due.timestamp()))
    timed = _Timed(store)
    parts = Parts(
        clock=time,
        store=timed,
        store_settings=settings,
        database=database,
        policies=load_policies(),
        keys=DayKeys(settings.directory / "keys"),
    )
    began_s = perf_counter()
    report = await sweep_once(parts, {name: EACH_MINUTE[name] for name in ("objects", "rows")})
    took_s = perf_counter() - began_s
    if report.removed != {"objects": BURST} or report.left or await store.keys("img/1d/"):
        raise RuntimeError(f"not all were deleted: {report}")
    await database.compact()
    return BURST / took_s, percentile([at_s - began_s for at_s in timed.gone_at_s], 0.99)


class _Timed:
    """The store, and when each object had gone."""

    def __init__(self, store: ObjectStore) -> None:
        self.put, self.get, self.check = store.put, store.get, store.check
        self.children, self.keys, self.batches = store.children, store.keys, store.batches
        self.gone_at_s: list[float] = []
        self._delete = store.delete

    async def delete(self, keys: Sequence[str]) -> None:
        await self._delete(keys)
        self.gone_at_s += [perf_counter()] * len(keys)


async def _put(settings: StoreSettings, store: ObjectStore, keys: Sequence[str]) -> None:
    """Not what is measured: in a directory without waiting for the disk each time."""
    if settings.s3_url is None:
        await asyncio.to_thread(_write, settings.directory, keys)
        return
    room = asyncio.Semaphore(UPLOADS)

    async def put(key: str) -> None:
        async with room:
            await store.put(key, OBJECT)

    await asyncio.gather(*map(put, keys))


def _write(directory: Path, keys: Sequence[str]) -> None:
    for key in keys:
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(OBJECT)


async def _add_rows(database: Database, keys: Sequence[str], delete_at: int) -> None:
    images = list(_image_rows(keys, delete_at))
    jobs = [_job_row(job_id, delete_at) for job_id in dict.fromkeys(str(image["job_id"]) for image in images)]

    def add(db: Session) -> None:
        db.connection().execute(insert(cast("Table", JobRow.__table__)), jobs)
        db.connection().execute(insert(cast("Table", ImageRow.__table__)), images)

    await database.write(add)


def _parts(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _image_rows(keys: Sequence[str], delete_at: int) -> Iterator[dict[str, object]]:
    for together in _parts(keys, IMAGES_PER_JOB):
        job_id = secrets.token_hex(16)
        for position, key in enumerate(together):
            yield {
                "id": key.rpartition("/")[2],
                "job_id": job_id,
                "owner_kind": "session",
                "owner_id": job_id,
                "model": "m",
                "position": position,
                "seed": 1,
                "steps": 12,
                "guidance": 1.0,
                "width_px": 512,
                "height_px": 512,
                "native_width_px": 512,
                "native_height_px": 512,
                "output_format": "png",
                "key": key,
                "delete_at": delete_at,
                "size_bytes": len(OBJECT),
                "digest": bytes(32),
                "token_digest": secrets.token_bytes(32),
                "created_at": delete_at - 3600,
                "on_download": False,
            }


def _job_row(job_id: str, delete_at: int) -> dict[str, object]:
    return {
        "id": job_id,
        "owner_kind": "session",
        "owner_id": job_id,
        "model": "m",
        "images_asked": IMAGES_PER_JOB,
        "status": "succeeded",
        "epoch": 1,
        "lease_until_at": delete_at - 3600,
        "created_at": delete_at - 3600,
        "ended_at": delete_at - 3600,
        "truncated": False,
        "forget_at": delete_at + 86_400,
    }
