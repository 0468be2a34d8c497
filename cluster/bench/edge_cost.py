"""D1, D4 and D6: what the edge costs. Its processor time for a job, its part of a latency, its start and its memory."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter, time

import httpx2
import psutil

from cluster.bench.figures import Figure, ratios
from cluster.bench.stage import ENGINE, Stage
from cluster.day_keys import DayKeys, make_day_keys
from cluster.home import free_port
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.settings import database_url
from serve_app.contract import Generator, Succeeded
from serve_app.engine import Engine

CLIENTS = 16
WARM_S = 0.5
START_LIMIT_S = 60.0
POLL_S = 0.01
LATENCY_CALLS = 15  # a round
LATENCY_STEPS = 4
MEBIBYTE = 1024 * 1024
EDGE = ("-m", "cluster.cli", "edge")


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    pid: int
    started_in_s: float

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def resident_mib(self) -> float:
        return sum(process.memory_info().rss for process in self.family()) / MEBIBYTE


@asynccontextmanager
async def edge_process(
    arguments: tuple[str, ...], path: str, more: Mapping[str, str], *, accepts_jobs: bool = True
) -> AsyncGenerator[Server]:
    """A server of its own home, from its start until `path` answers (with anything but a fault), ended at the end.

    `accepts_jobs`: the home has a key for today's prompts, as a sweeper makes one.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as home:
        env = dict(os.environ) | {"SFUMATO_HOME": home, "SFUMATO_PORT": str(port), "SFUMATO_PUBLIC_URL": url, **more}
        if accepts_jobs:
            await make_bench_day_keys(env)
        command = [sys.executable, *(part.format(port=port) for part in arguments)]
        began_s = perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
        )
        try:
            await _answers(url + path)
            yield Server(url, process.pid, perf_counter() - began_s)
        finally:
            process.terminate()
            await process.wait()


async def measure_start(rounds: int) -> list[Figure]:
    started_s, resident_mib = list[float](), list[float]()
    for _ in range(rounds):
        async with edge_process(EDGE, "/healthz", {}, accepts_jobs=False) as server:
            started_s.append(server.started_in_s)
            resident_mib.append(server.resident_mib())
    what = "edge process"
    note = "an empty home: the start includes making the database; measured once it answers"
    return [
        Figure(row="D6-start", what=f"{what}: start, s", reach="≤ 1.5", rounds=started_s,
               sides={"started_s": started_s}, notes=note),
        Figure(row="D6-memory", what=f"{what}: resident, MiB", reach="≤ 143 (150 MB)", rounds=resident_mib,
               sides={"resident_mib": resident_mib}, notes=note),
    ]  # fmt: skip


async def measure_added_latency(stage: Stage, engine: Engine, rounds: int) -> Figure:
    p50_ms: dict[str, list[float]] = {"through the edge": [], "through Ray Serve": [], "engine in process": []}
    async with (
        edge_process(granian("served_app"), "/readyz", {"SFUMATO_SERVE_URL": stage.serve_url}) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client,
        _gateway(stage) as gateway,
    ):
        await keep_session(client)
        for _ in range(rounds):
            calls_s: dict[str, list[float]] = {side: [] for side in p50_ms}
            for _ in range(LATENCY_CALLS):
                calls_s["through the edge"].append(await _through_edge_s(client))
                calls_s["through Ray Serve"].append(await _alone_s(gateway, stage))
                calls_s["engine in process"].append(await _alone_s(engine, stage))
            for side, took_s in calls_s.items():
                p50_ms[side].append(statistics.median(took_s) * 1e3)
    return Figure(
        row="D4",
        what="p50 added by edge and Ray Serve (default proxy) over the engine alone, ms",
        reach="≤ 15",
        rounds=[
            through - alone
            for through, alone in zip(p50_ms["through the edge"], p50_ms["engine in process"], strict=True)
        ],
        sides={f"{side} p50_ms": values for side, values in p50_ms.items()},
        notes=f"one caller, machine otherwise idle, {LATENCY_STEPS} steps, guidance 1, bytes inline, job rows written; "
        f"{LATENCY_CALLS} calls a side and round, alternating",
    )


async def measure_accepted_jobs(rounds: int, seconds: float) -> Figure:
    per_core: dict[str, list[float]] = {"jobs_app": [], "bare_app": []}
    for _ in range(rounds):
        for app, rates in per_core.items():
            async with edge_process(granian(app), "/v1/generations", {}) as server:
                rates.append(await _accepted_per_core_s(server, seconds))
    return Figure(
        row="D1",
        what="accepted jobs/s per core at the edge, durable rows / bare Litestar handler",
        reach="≥ 0.15",
        rounds=ratios(per_core["jobs_app"], per_core["bare_app"]),
        sides={f"{app} accepted_per_cpu_s": rates for app, rates in per_core.items()},
        notes=f"replies by the server's processor seconds, so the client's speed does not count; {CLIENTS} clients, "
        "the same granian; a job's whole life (run, image row, final state) is inside its share; SQLite",
    )


async def _accepted_per_core_s(server: Server, seconds: float) -> float:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        await keep_session(client)
        return await per_core_s(server, seconds, lambda until_s: accept_until(client, until_s))


async def per_core_s(server: Server, seconds: float, ask: Callable[[float], Awaitable[int]]) -> float:
    """Replies by the server's processor seconds. `ask` counts the replies of one client until then."""
    await ask(perf_counter() + WARM_S)
    before_s, until_s = server.cpu_s(), perf_counter() + seconds
    answered = sum(await asyncio.gather(*(ask(until_s) for _ in range(CLIENTS))))
    return answered / (server.cpu_s() - before_s)


async def accept_until(client: httpx2.AsyncClient, until_s: float) -> int:
    accepted = 0
    while perf_counter() < until_s:
        reply = await client.post("/v1/generations", json={"prompt": "a red apple"})
        reply.raise_for_status()
        accepted += 1
    return accepted


async def keep_session(client: httpx2.AsyncClient) -> None:
    """One caller who stays: the first reply's session, where the server has sessions."""
    reply = await client.post("/v1/generations", json={"prompt": "a red apple"})
    if token := reply.headers.get("x-sfumato-session"):
        client.headers["authorization"] = f"Bearer {token}"


async def _through_edge_s(client: httpx2.AsyncClient) -> float:
    body = {"prompt": "a red apple", "steps": LATENCY_STEPS, "guidance": 1.0, "retention": "none"}
    began_s = perf_counter()
    reply = await client.post("/v1/images/generations", json=body)
    took_s = perf_counter() - began_s
    reply.raise_for_status()
    return took_s


@asynccontextmanager
async def _gateway(stage: Stage) -> AsyncGenerator[Generator]:
    gateway = stage.gateway()
    yield gateway
    await gateway.close()


async def _alone_s(generator: Generator, stage: Stage) -> float:
    began_s = perf_counter()
    async for event in generator.generate(stage.orders.one(ENGINE, LATENCY_STEPS)):
        if isinstance(event, Succeeded):
            return perf_counter() - began_s
    raise RuntimeError("the engine failed")


async def make_bench_day_keys(env: Mapping[str, str]) -> None:
    database = Database(open_engine(database_url(env)))
    await migrate(database.engine)
    await make_day_keys(DayKeys.from_env(env), database, time())
    await database.close()


async def _answers(url: str) -> None:
    until_s = perf_counter() + START_LIMIT_S
    async with httpx2.AsyncClient(trust_env=False) as client:
        while perf_counter() < until_s:
            try:
                if (await client.get(url)).status_code < 500:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(POLL_S)
    raise TimeoutError("the server did not start")


def granian(app: str) -> tuple[str, ...]:
    return (
        "-m", "granian", "--interface", "asgi", "--loop", "asyncio", "--workers", "1", "--no-ws", "--factory",
        "--host", "127.0.0.1", "--port", "{port}", f"cluster.bench.edge_apps:{app}",
    )  # fmt: skip
