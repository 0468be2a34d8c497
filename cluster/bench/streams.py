"""D5: what an idle event stream costs an edge in memory, and how often a picture writes to the database."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any

import httpx2
from sqlalchemy import Engine, event

from cluster.bench.edge_apps import PLENTY, InstantGenerator, with_limits
from cluster.bench.edge_cost import Server, edge_process, keep_session, make_bench_day_keys
from cluster.bench.figures import Figure
from cluster.bench.limits import App
from cluster.compose_edge import build_services
from edge.app import create_app
from edge.settings import Settings
from policies.load import load_policies

STREAMS = 10_000
PER_JOB = 100
SETTLE_S = 12.0  # longer than a heartbeat: each stream has sent one
OPEN_LIMIT_S = 300.0
KIBIBYTES = 1024.0  # in a mebibyte
JOBS = 20
WRITES = ("INSERT", "UPDATE", "DELETE")
EDGE = ("-m", "cluster.bench.waiting_edge")


async def measure_streams(rounds: int) -> tuple[Figure, Figure]:
    each_kib, open_s = list[float](), list[float]()
    for _ in range(rounds):
        async with edge_process(EDGE, "/v1/models", {}) as server:
            kib, took_s = await _stream_kib(server)
            each_kib.append(kib)
            open_s.append(took_s)
    statements, commits = list[float](), list[float]()
    for _ in range(rounds):
        written, committed = await _writes_per_image()
        statements.append(written)
        commits.append(committed)
    memory = Figure(
        row="D5-memory",
        what=f"memory of the edge for each idle SSE stream, {STREAMS} open, KiB",
        reach="≤ 40",
        rounds=each_kib,
        sides={"stream_kib": each_kib, "all_open_s": open_s},
        notes=f"growth of the resident memory of one edge process, by the streams; {PER_JOB} listeners of a job, each "
        f"heard its state and a heartbeat; the jobs were there before; a new process each round",
    )
    writes = Figure(
        row="D5-writes",
        what="database statements that write, for a job of one image",
        reach="≤ 6",
        rounds=statements,
        sides={"statements": statements, "transactions": commits},
        notes=f"{JOBS} jobs one after the other, so that none shares a transaction; from the call to the final state; "
        "the session's row is there; SQLite",
    )
    return memory, writes


# memory ---------------------------------------------------------------------------------------------------------------


async def _stream_kib(server: Server) -> tuple[float, float]:
    """For each stream, and how long it took until all were open."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        await keep_session(client)
        paths = [await _job(client) for _ in range(max(1, STREAMS // PER_JOB))]
        bearer = client.headers["authorization"].removeprefix("Bearer ")
        await _listened_once(server, paths, bearer)
        before_mib, began_s = server.resident_mib(), perf_counter()
        async with _listening(server, paths, bearer, STREAMS):
            took_s = perf_counter() - began_s
            await asyncio.sleep(SETTLE_S)
            grown_mib = server.resident_mib() - before_mib
    return grown_mib * KIBIBYTES / STREAMS, took_s


async def _job(client: httpx2.AsyncClient) -> str:
    reply = await client.post("/v1/generations", json={"prompt": "a red apple"})
    reply.raise_for_status()
    return f"{reply.headers['location']}/events"


async def _listened_once(server: Server, paths: list[str], bearer: str) -> None:
    """What the first streams bring along, code and pools, is no cost of a stream."""
    async with _listening(server, paths, bearer, len(paths)):
        pass


@asynccontextmanager
async def _listening(server: Server, paths: list[str], bearer: str, count: int) -> AsyncGenerator[None]:
    """While inside, so many streams are open, and each has brought an event. Raises RuntimeError, and TimeoutError
    where one says nothing: the listeners would wait for it, and are ended."""
    port = server.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cluster.bench.listeners", port, ",".join(paths), str(count),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{bearer}\n".encode())
        async with asyncio.timeout(OPEN_LIMIT_S):
            if (await process.stdout.readline()).strip() != str(count).encode():
                raise RuntimeError("some streams did not open")
        yield
        process.stdin.close()
        if await process.wait() != 0:
            raise RuntimeError("the listeners failed")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# writes ---------------------------------------------------------------------------------------------------------------


async def _writes_per_image() -> tuple[float, float]:
    """Statements that write, and transactions that were committed after one did."""
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as home:
        env = dict(os.environ) | {"SFUMATO_HOME": home, "SFUMATO_PUBLIC_URL": "http://localhost"}
        await make_bench_day_keys(env)
        settings = Settings.from_env(env)
        services = build_services(settings, with_limits(load_policies(), PLENTY), InstantGenerator())
        app = create_app(services)
        async with app.lifespan(), _client_of(app) as client:
            await keep_session(client)
            await _finished(client)
            with _counted(services.database.engine.sync_engine) as counts:
                for _ in range(JOBS):
                    await _finished(client)
    return counts["statements"] / JOBS, counts["transactions"] / JOBS


def _client_of(app: App) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app)  # pyright: ignore[reportArgumentType]  both mean ASGI
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


async def _finished(client: httpx2.AsyncClient) -> None:
    """Raises RuntimeError where no picture came of it."""
    events = await client.get(await _job(client))
    if "event: succeeded" not in events.text:
        raise RuntimeError("a job did not succeed")


@contextmanager
def _counted(engine: Engine) -> Generator[dict[str, int]]:
    counts = {"statements": 0, "transactions": 0}
    wrote = set[int]()

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(WRITES):
            counts["statements"] += 1
            wrote.add(id(connection))

    def committed(connection: Any) -> None:
        if id(connection) in wrote:
            wrote.discard(id(connection))
            counts["transactions"] += 1

    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", committed)
    try:
        yield counts
    finally:
        event.remove(engine, "before_cursor_execute", note)
        event.remove(engine, "commit", committed)
