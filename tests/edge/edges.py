"""An edge over a scripted generator, a real SQLite file and a real object directory, on a clock that tests advance."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from httpx2 import ASGITransport, AsyncClient, Response
from litestar import Litestar

from cluster.compose_edge import build_services
from cluster.day_keys import OF_NOTICES, DayKeys, make_day_keys
from edge.app import create_app
from edge.services import Services
from edge.settings import Settings
from policies.load import load_policies
from policies.schema import Policies
from serve_app.storage.opening import open_store
from tests.edge.scripted_generator import ScriptedGenerator
from tests.tables import lay_tables

BASE_URL = "http://testserver.local"
START = 1_800_000_000.0


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Edge:
    """One edge under test and what a test wants to reach of it."""

    home: Path
    clock: Clock
    generator: ScriptedGenerator
    services: Services
    app: Litestar
    client: AsyncClient = field(init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["Edge"]:
        """The app has started, and `client` talks to it in this very event loop."""
        transport = ASGITransport(self.app)  # pyright: ignore[reportArgumentType]  both mean ASGI
        async with started(self.app), AsyncClient(transport=transport, base_url=BASE_URL) as self.client:
            await self.make_day_keys()
            yield self

    @property
    def keys(self) -> DayKeys:
        return DayKeys(self.home / "keys")

    async def make_day_keys(self) -> None:
        """As the sweeper does."""
        await make_day_keys(self.keys, self.services.database, self.clock())
        await make_day_keys(self.keys.of_notices, self.services.database, self.clock(), OF_NOTICES)

    async def draw(self, **fields: object) -> Response:
        return await self.client.post("/v1/images/generations", json={"prompt": "a red apple", **fields})

    async def submit(self, **fields: object) -> Response:
        return await self.client.post("/v1/generations", json={"prompt": "a red apple", **fields})

    def sign_in(self, reply: Response) -> None:
        """From now on, calls are this session's."""
        self.client.headers["authorization"] = f"Bearer {reply.headers['x-sfumato-session']}"


@asynccontextmanager
async def started(app: Litestar) -> AsyncGenerator[None]:
    """Enters and leaves the app's lifespan in one task of its own, as a server does: fixtures change tasks."""
    ready, leave = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            ready.set()
            await leave.wait()

    living = asyncio.create_task(live())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([living, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield
    finally:
        leave.set()
        await living


def env_for(home: Path, **more: str) -> dict[str, str]:
    secrets = {"SFUMATO_SECRET": "s" * 40, "SFUMATO_SERVE_SECRET": "t" * 40}
    return {"SFUMATO_HOME": str(home), "SFUMATO_PUBLIC_URL": BASE_URL, **secrets, **more}


def make_edge(
    home: Path,
    clock: Clock,
    *,
    public_url: str = BASE_URL,
    heartbeat_s: float = 0.05,
    unwatched_s: float = 0.05,
    env: Mapping[str, str] = MappingProxyType({}),
    policies: Policies | None = None,
) -> Edge:
    settings = Settings.from_env(env_for(home, SFUMATO_PUBLIC_URL=public_url, **env))
    lay_tables(settings.database_url)
    generator = ScriptedGenerator(open_store(settings.store), clock)
    services = build_services(
        settings,
        policies or load_policies(settings.policies),
        generator,
        clock=clock,
        heartbeat_s=heartbeat_s,
        unwatched_s=unwatched_s,
    )
    return Edge(home, clock, generator, services, create_app(services))
