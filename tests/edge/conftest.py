"""An edge over a scripted generator, a real SQLite file and a real object directory, on a clock that tests advance."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from cluster.compose_edge import build_services
from edge.app import create_app
from edge.services import Services
from edge.settings import Settings
from policies.load import load_policies
from serve_app.storage.opening import open_store
from tests.edge.scripted_generator import ScriptedGenerator

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
    client: AsyncTestClient[Litestar] = field(init=False)

    def newcomer(self) -> AsyncTestClient[Litestar]:
        """A client without cookies or keys."""
        return AsyncTestClient(self.app)


def env_for(home: Path, **more: str) -> dict[str, str]:
    secrets = {"SFUMATO_SECRET": "s" * 40, "SFUMATO_SERVE_SECRET": "t" * 40}
    return {"SFUMATO_HOME": str(home), "SFUMATO_PUBLIC_URL": "http://testserver.local", **secrets, **more}


def make_edge(home: Path, clock: Clock, heartbeat_s: float = 0.05, unwatched_s: float = 0.05) -> Edge:
    settings = Settings.from_env(env_for(home))
    generator = ScriptedGenerator(open_store(settings.store), clock)
    services = build_services(
        settings, load_policies(), generator, clock=clock, heartbeat_s=heartbeat_s, unwatched_s=unwatched_s
    )
    return Edge(home, clock, generator, services, create_app(services))


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, Clock())
    async with AsyncTestClient(edge.app, base_url="http://testserver.local") as client:
        edge.client = client
        yield edge
