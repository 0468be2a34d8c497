"""A paying customer: the official SDK, unmodified, with a key that an operator made, against a real server."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import msgspec
import openai
import pytest
from openai import AsyncOpenAI

from policies.load import load_policies
from policies.schema import Policies
from tests.cluster.test_keys_commands import in_thread
from tests.edge.edges import START, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.edge.serving import serving

PER_MINUTE = 60


class TickingClock:
    """Begins where a minute does."""

    def __init__(self) -> None:
        self._began_s = monotonic()
        self.skipped_s = 0.0

    def __call__(self) -> float:
        return START // 60 * 60 + monotonic() - self._began_s + self.skipped_s


def with_few_pictures() -> Policies:
    """Sixty a minute: once they are used up, there is one more each second."""
    policies = load_policies()
    plan = policies.plans.plans["api"]
    plan = msgspec.structs.replace(
        plan, allowance=msgspec.structs.replace(plan.allowance, images_per_minute=PER_MINUTE)
    )
    plans = msgspec.structs.replace(policies.plans, plans=policies.plans.plans | {"api": plan})
    return msgspec.structs.replace(policies, plans=plans)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
async def edge(tmp_path: Path, clock: TickingClock) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, clock, policies=with_few_pictures())  # pyright: ignore[reportArgumentType]  a clock
    async with serving(edge.services) as edge.client:
        yield edge


@pytest.fixture
async def sdk(edge: Edge) -> AsyncIterator[AsyncOpenAI]:
    made = await in_thread(edge.home, "create", "--plan", "api")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    async with AsyncOpenAI(api_key=key, base_url=f"{edge.client.base_url}/v1", max_retries=0) as client:
        yield client


async def test_a_key_from_the_command_line_generates_streams_and_lists(sdk: AsyncOpenAI) -> None:
    reply = await sdk.images.generate(prompt="a red apple", response_format="b64_json")
    assert reply.data is not None
    assert base64.b64decode(reply.data[0].b64_json or "") == PIXEL
    stream = await sdk.images.generate(prompt="a red apple", stream=True, partial_images=1)
    assert [event.type async for event in stream] == ["image_generation.partial_image", "image_generation.completed"]
    assert [model.id async for model in sdk.models.list()] == ["sfumato-embedded"]


async def test_a_revoked_key_is_refused_within_a_second(edge: Edge, sdk: AsyncOpenAI, clock: TickingClock) -> None:
    assert [model async for model in sdk.models.list()]
    listed = (await in_thread(edge.home, "list")).stdout
    assert (await in_thread(edge.home, "revoke", listed.split()[0])).returncode == 0
    clock.skipped_s += 1.0
    with pytest.raises(openai.AuthenticationError) as refused:
        [model async for model in sdk.models.list()]
    assert refused.value.code == "invalid_api_key"


async def test_the_sdk_waits_as_long_as_a_refusal_says_and_then_succeeds(sdk: AsyncOpenAI, clock: TickingClock) -> None:
    for _ in range(PER_MINUTE // 10):
        assert (await sdk.images.generate(prompt="a red apple", n=10)).data
    clock.skipped_s = 60.0 - clock() % 60 + clock.skipped_s  # the minute is over: what it counted fades
    with pytest.raises(openai.RateLimitError) as refused:
        await sdk.images.generate(prompt="a red apple", n=3)
    retry_s = float(refused.value.response.headers["retry-after"])
    assert 1 < retry_s <= 4
    began_s = monotonic()
    reply = await sdk.with_options(max_retries=1).images.generate(prompt="a red apple", n=3)
    assert reply.data is not None
    assert len(reply.data) == 3
    assert monotonic() - began_s > 0.7 * (retry_s - 1)  # by itself the SDK would try again within half a second
