"""The page while very many draw, or an edge is going: what it does by itself, and what it says meanwhile."""

import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from cluster.compose_edge import build_services
from edge.settings import Settings
from policies.load import load_policies
from policies.schema import Policies
from serve_app.storage.opening import open_store
from tests.edge.edges import env_for
from tests.edge.paced_generator import PacedGenerator
from tests.edge.serving import serving
from tests.edge.visitor import Visitor, open_browser
from tests.servers import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = 12
SHIPPED_COST = load_policies().plans.anonymous_budget.proof_cost
FOR_EVER = 2**31 - 1
PROVING = "Very many people are drawing: your browser does a little work first"


@dataclass
class House:
    generator: PacedGenerator


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@asynccontextmanager
async def opened(browser: Browser, home: Path, policies: Policies) -> AsyncGenerator[tuple[Visitor, House]]:
    [port] = free_ports(1)
    url = f"http://localhost:{port}"
    settings = Settings.from_env(env_for(home, SFUMATO_PORT=str(port), SFUMATO_PUBLIC_URL=url))
    generator = PacedGenerator(open_store(settings.store), time)
    async with serving(build_services(settings, policies, generator), port):
        context = await browser.new_context(reduced_motion="reduce")
        visitor = Visitor(await context.new_page(), host=url.removeprefix("http://"))
        await visitor.page.goto(url)
        yield visitor, House(generator)
        await context.close()
        assert visitor.strangers == []


def crowded(proof_cost: int = SHIPPED_COST) -> Policies:
    """Any picture of a stranger makes the next one cost work."""
    policies = load_policies()
    budget = msgspec.structs.replace(policies.plans.anonymous_budget, proof_above=0.0, proof_cost=proof_cost)
    return msgspec.structs.replace(policies, plans=msgspec.structs.replace(policies.plans, anonymous_budget=budget))


async def drawn(visitor: Visitor, house: House) -> None:
    house.generator.let(STEPS)
    await visitor.ask("a red apple")
    await expect(visitor.page.locator(".picture.ready")).to_have_count(1)
    await expect(visitor.page.get_by_role("button", name="Draw")).to_be_visible()


@pytest.mark.parametrize("kept", ["1 hour", "not stored"])
async def test_the_browser_does_the_work_that_is_asked_for_and_the_picture_comes(
    browser: Browser, tmp_path: Path, kept: str
) -> None:
    async with opened(browser, tmp_path, crowded()) as (visitor, house):
        await drawn(visitor, house)
        await visitor.choose("Keep for", kept)
        await overhear_progress(visitor)
        proofs: list[str | None] = []
        visitor.page.on("request", lambda request: proofs.append(request.headers.get("sfumato-proof")))
        house.generator.let(STEPS)
        await visitor.ask("a blue car")
        await expect(visitor.page.locator("#thumbnails li")).to_have_count(2)
        assert PROVING in await visitor.page.evaluate("lines")
        [proof] = filter(None, proofs)
        assert msgspec.json.decode(base64.b64decode(proof)).keys() == {"challenge", "solution"}
        assert len(house.generator.requests) == 2


async def test_work_that_takes_long_is_said_to_go_on_and_ends_when_it_is_cancelled(
    browser: Browser, tmp_path: Path
) -> None:
    async with opened(browser, tmp_path, crowded(proof_cost=FOR_EVER)) as (visitor, house):
        page = visitor.page
        await drawn(visitor, house)
        async with page.expect_worker() as started:
            await visitor.ask("a blue car")
        await expect(page.locator("#progress")).to_have_text(PROVING)
        await expect(page.get_by_role("progressbar")).not_to_have_attribute("value", re.compile(""))
        async with (await started.value).expect_event("close"):
            await page.keyboard.press("Escape")
        await expect(page.get_by_role("status")).to_have_text("Cancelled")
        await expect(page.get_by_role("button", name="Draw")).to_be_visible()
        assert len(house.generator.requests) == 1


async def test_a_stream_that_is_refused_for_a_moment_is_asked_for_again(browser: Browser, tmp_path: Path) -> None:
    async with opened(browser, tmp_path, load_policies()) as (visitor, house):
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.url)
            await route.fulfill(status=502, body="bad gateway")

        await visitor.page.route("**/events", refuse, times=2)
        await visitor.ask("a red apple")
        await expect(visitor.page.locator("#progress")).to_have_text("The connection is interrupted; trying again")
        house.generator.let(3)
        await expect(visitor.page.locator("#progress")).to_have_text(f"Step 3 of {STEPS}")
        house.generator.let(STEPS - 3)
        await expect(visitor.page.locator(".picture.ready")).to_have_count(1)
        assert len(refused) == 2
        assert len(house.generator.requests) == 1


async def overhear_progress(visitor: Visitor) -> None:
    """`lines` holds every line from here on, however short it was to be seen."""
    await visitor.page.evaluate(
        """() => {
          window.lines = [];
          const line = document.querySelector("#progress p");
          new MutationObserver(() => window.lines.push(line.textContent)).observe(line, { childList: true });
        }"""
    )
