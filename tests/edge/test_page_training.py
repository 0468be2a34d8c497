"""The choice about training on the page, in a real browser: for one picture, and what the browser's own signal does."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from playwright.async_api import Browser, expect

from cluster.compose_edge import build_services
from edge.settings import Settings
from policies.load import load_policies
from policies.schema import Policies, TrainingMode
from serve_app.contract import GenerateRequest
from serve_app.storage.opening import open_store
from tests.edge.edges import env_for
from tests.edge.paced_generator import PacedGenerator
from tests.edge.serving import serving
from tests.edge.visitor import Visitor, open_browser
from tests.servers import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = base64.b64encode(X25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


@dataclass
class House:
    url: str
    generator: PacedGenerator

    async def drawn(self, visitor: Visitor) -> GenerateRequest:
        before = len(self.generator.requests)
        await visitor.ask("a red apple")
        self.generator.let(12)
        async with asyncio.timeout(10):
            while len(self.generator.requests) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await expect(visitor.page.get_by_role("timer")).to_be_visible()
        return self.generator.requests[-1]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@asynccontextmanager
async def opened(
    browser: Browser, home: Path, mode: TrainingMode = "opt_out", headers: dict[str, str] | None = None
) -> AsyncGenerator[tuple[Visitor, House]]:
    [port] = free_ports(1)
    url = f"http://localhost:{port}"
    env = env_for(home, SFUMATO_PORT=str(port), SFUMATO_PUBLIC_URL=url, SFUMATO_TRAINING_KEY=PUBLIC)
    settings = Settings.from_env(env)
    generator = PacedGenerator(open_store(settings.store), time)
    async with serving(build_services(settings, policies_with(mode), generator), port):
        context = await browser.new_context(extra_http_headers=headers or {}, reduced_motion="reduce")
        visitor = Visitor(await context.new_page(), host=url.removeprefix("http://"))
        await visitor.page.goto(url)
        yield visitor, House(url, generator)
        await context.close()
        assert (visitor.strangers, visitor.complaints) == ([], [])


def policies_with(mode: TrainingMode) -> Policies:
    policies = load_policies()
    training = msgspec.structs.replace(policies.retention.training, mode=mode)
    return msgspec.structs.replace(policies, retention=msgspec.structs.replace(policies.retention, training=training))


async def test_the_form_shows_what_holds_and_says_nothing_unless_the_visitor_does(browser: Browser, tmp_path: Path):
    async with opened(browser, tmp_path) as (visitor, house):
        choice = visitor.page.get_by_label("Training", exact=True)
        await expect(choice).to_have_value("allow")
        await expect(visitor.page.get_by_role("contentinfo")).to_contain_text("not untrained")
        assert (await house.drawn(visitor)).training is not None

        await visitor.choose("Training", "refused")
        assert (await house.drawn(visitor)).training is None

        await visitor.page.reload()
        await expect(choice).to_have_value("allow")  # it was for that picture


async def test_a_no_for_all_pictures_is_what_the_form_shows_and_one_yes_is_for_one_picture(
    browser: Browser, tmp_path: Path
):
    async with opened(browser, tmp_path) as (visitor, house):
        await visitor.page.evaluate(
            "fetch('/v1/privacy/training', {method: 'PUT', headers: {'Content-Type': 'application/json'}, "
            'body: \'{"choice": "deny"}\'})'
        )
        await visitor.page.reload()
        await expect(visitor.page.get_by_label("Training", exact=True)).to_have_value("deny")
        assert (await house.drawn(visitor)).training is None
        await visitor.choose("Training", "allowed")
        assert (await house.drawn(visitor)).training is not None


@pytest.mark.parametrize("keep", ["not stored", "until downloaded"])
async def test_what_is_not_stored_for_a_time_offers_no_training(browser: Browser, tmp_path: Path, keep: str):
    async with opened(browser, tmp_path) as (visitor, _):
        choice = visitor.page.get_by_label("Training", exact=True)
        await visitor.choose("Keep for", keep)
        await expect(choice).to_be_disabled()
        await expect(choice).to_have_value("deny")
        await visitor.choose("Keep for", "1 hour")
        await expect(choice).to_be_enabled()
        await expect(choice).to_have_value("allow")


async def test_global_privacy_control_is_seen_said_and_obeyed(browser: Browser, tmp_path: Path):
    async with opened(browser, tmp_path, headers={"Sec-GPC": "1"}) as (visitor, house):
        choice = visitor.page.get_by_label("Training", exact=True)
        await expect(choice).to_be_disabled()
        await expect(choice).to_have_value("deny")
        await expect(visitor.page.get_by_text("Your browser sends Global Privacy Control")).to_be_visible()
        assert (await house.drawn(visitor)).training is None


async def test_where_only_a_yes_counts_the_form_starts_with_no(browser: Browser, tmp_path: Path):
    async with opened(browser, tmp_path, "opt_in") as (visitor, house):
        await expect(visitor.page.get_by_label("Training", exact=True)).to_have_value("deny")
        assert (await house.drawn(visitor)).training is None
        await visitor.choose("Training", "allowed")
        assert (await house.drawn(visitor)).training is not None


async def test_where_nothing_is_used_there_is_no_choice(browser: Browser, tmp_path: Path):
    async with opened(browser, tmp_path, "never", {"Sec-GPC": "1"}) as (visitor, house):
        await expect(visitor.page.get_by_label("Training", exact=True)).to_have_count(0)
        await expect(visitor.page.get_by_role("contentinfo")).not_to_contain_text("untrained")
        assert (await house.drawn(visitor)).training is None
