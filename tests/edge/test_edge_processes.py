"""Two real edges on one database and one Valkey, behind one address. One is killed; what does the visitor see?"""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import pytest
from httpx2 import AsyncClient, TransportError
from playwright.async_api import expect

from cluster.day_keys import DayKeys, make_day_keys
from cluster.home import prepare_home
from edge.db.database import Database, open_engine
from edge.db.migrate import migrate
from edge.domain.jobs import LEASE_S
from edge.domain.runs import TICK_S
from edge.settings import Settings
from serve_app.storage.opening import open_store
from tests.edge.balancer import Balancer
from tests.edge.model_server import serving_model
from tests.edge.paced_generator import PacedGenerator
from tests.edge.visitor import Visitor, open_browser
from tests.promises.running import environment
from tests.servers import free_ports

STEPS = 12
START_S = 60.0
SOON_MS = 15_000  # a browser tries a stream again after three seconds
LOST_MS = (LEASE_S + TICK_S) * 1000 + SOON_MS
COUNTDOWN = re.compile(r"^gone in (59|1:00):\d\d$")


@dataclass
class EdgeProcess:
    port: int
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@dataclass
class Town:
    """The balancer prefers `one`."""

    url: str
    generator: PacedGenerator
    balancer: Balancer
    one: EdgeProcess
    other: EdgeProcess


@pytest.fixture
async def town(tmp_path: Path, valkey_url: str, database_url: str) -> AsyncIterator[Town]:
    front, model, *ports = free_ports(4)
    home, url = tmp_path / "home", f"http://localhost:{front}"
    shared = {
        "SFUMATO_HOME": str(home),
        "SFUMATO_PUBLIC_URL": url,
        "SFUMATO_DATABASE_URL": database_url,
        "SFUMATO_VALKEY_URL": valkey_url,
        "SFUMATO_SERVE_URL": f"http://127.0.0.1:{model}",
        **prepare_home(home),
    }
    settings = Settings.from_env(shared)
    await prepare_database(settings)
    generator, balancer = PacedGenerator(open_store(settings.store), time), Balancer(ports)
    async with (
        serving_model(generator, model),
        edge_process(ports[0], shared) as one,
        edge_process(ports[1], shared) as other,
        balancer.listening(front),
    ):
        yield Town(url, generator, balancer, one, other)


@pytest.fixture
async def visitor(town: Town) -> AsyncIterator[Visitor]:
    async with open_browser() as browser:
        context = await browser.new_context(reduced_motion="reduce")
        visitor = Visitor(await context.new_page(), host=town.url.removeprefix("http://"))
        await visitor.page.goto(town.url)
        yield visitor
        await context.close()
    assert visitor.strangers == []


async def test_a_visitor_whose_edge_is_killed_sees_the_rest_at_another(town: Town, visitor: Visitor) -> None:
    said = visitor.page.locator("#progress")
    town.balancer.move_to(town.other.port)
    await visitor.ask("a red apple")
    await drawn(town, visitor, 3)
    town.balancer.move_to(town.one.port)  # now one edge leads the job, and the visitor watches at the other
    await drawn(town, visitor, 6)
    await town.one.kill()
    await expect(said).to_have_text("The connection is interrupted; trying again")
    await drawn(town, visitor, 9)
    town.generator.let(3)
    await expect(visitor.page.get_by_role("timer")).to_have_text(COUNTDOWN, timeout=SOON_MS)
    await expect(visitor.page.locator(".picture.ready .sight")).to_have_js_property("naturalWidth", 256)
    assert len(town.generator.requests) == 1


@pytest.mark.long
async def test_a_drawing_whose_edge_is_killed_ends_with_a_word_and_can_be_asked_for_again(
    town: Town, visitor: Visitor
) -> None:
    page = visitor.page
    await visitor.ask("a red apple")
    await drawn(town, visitor, 3)
    await town.one.kill()
    async with asyncio.timeout(5):
        await town.generator.cancelled.wait()
    trouble = page.locator("#trouble")
    await expect(trouble).to_contain_text("The server that looked after this generation went away.", timeout=LOST_MS)
    await expect(page.get_by_role("button", name="Draw")).to_be_visible()
    town.generator.let(STEPS)
    await trouble.get_by_role("button", name="Try again", exact=True).click(timeout=SOON_MS)
    await expect(page.get_by_role("timer")).to_have_text(COUNTDOWN, timeout=SOON_MS)
    assert [job["error"] and job["error"]["code"] for job in await jobs_of(visitor)] == [None, "edge_lost"]


async def drawn(town: Town, visitor: Visitor, steps: int) -> None:
    town.generator.let(3)
    await expect(visitor.page.locator("#progress")).to_have_text(f"Step {steps} of {STEPS}", timeout=SOON_MS)


async def jobs_of(visitor: Visitor) -> list[dict[str, dict[str, str] | None]]:
    return await visitor.page.evaluate("async () => (await (await fetch('/v1/generations')).json()).data")


async def prepare_database(settings: Settings) -> None:
    database = Database(open_engine(settings.database_url))
    await migrate(database.engine)
    await make_day_keys(DayKeys(settings.home / "keys"), database, time())
    await database.close()


@asynccontextmanager
async def edge_process(port: int, shared: dict[str, str]) -> AsyncGenerator[EdgeProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cluster.cli", "edge", env=environment(**shared, SFUMATO_PORT=str(port)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    edge = EdgeProcess(port, process)
    try:
        await answering(port)
        yield edge
    finally:
        if process.returncode is None:
            await edge.kill()


async def answering(port: int) -> None:
    async with asyncio.timeout(START_S), AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while True:
            try:
                if (await client.get("/healthz")).status_code == 200:
                    return
            except TransportError:
                await asyncio.sleep(0.05)
