"""The official SDK, unmodified, against a real server."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent

from serve_app.contract import Failed
from tests.edge.edges import Clock, Edge, make_edge
from tests.edge.scripted_generator import PIXEL
from tests.edge.serving import serving


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, Clock())
    async with serving(edge.services) as edge.client:
        yield edge


@pytest.fixture
async def sdk(edge: Edge) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="anonymous", base_url=f"{edge.client.base_url}/v1", max_retries=0) as client:
        yield client


async def test_it_generates_by_address(edge: Edge, sdk: AsyncOpenAI) -> None:
    reply = await sdk.images.generate(prompt="a red apple", n=2, size="256x256", quality="low")
    assert reply.data is not None
    assert (len(reply.data), reply.size, reply.quality, reply.output_format) == (2, "256x256", "low", "png")
    path = str(reply.data[0].url).removeprefix(edge.services.settings.public_url)
    assert (await edge.client.get(path)).content == PIXEL


async def test_it_generates_inline_with_our_extensions(sdk: AsyncOpenAI) -> None:
    reply = await sdk.images.generate(
        prompt="a red apple", response_format="b64_json", extra_body={"seed": 5, "retention": "none"}
    )
    assert reply.data is not None
    assert base64.b64decode(reply.data[0].b64_json or "") == PIXEL
    assert reply.data[0].model_extra == {
        "id": None,
        "seed": 5,
        "size": "256x256",
        "native_size": "64x64",
        "expires_at": None,
    }


async def test_it_streams_partial_images(sdk: AsyncOpenAI) -> None:
    stream = await sdk.images.generate(prompt="a red apple", stream=True, partial_images=3)
    events = [event async for event in stream]
    assert [type(event) for event in events] == [ImageGenPartialImageEvent] * 3 + [ImageGenCompletedEvent]
    for event in events:
        type(event).model_validate(event.model_dump())  # the SDK itself never checks
        assert base64.b64decode(event.b64_json) == PIXEL


async def test_it_lists_models(sdk: AsyncOpenAI) -> None:
    models = [model async for model in sdk.models.list()]
    assert [model.id for model in models] == ["sfumato-embedded"]
    assert (await sdk.models.retrieve("sfumato-embedded")).owned_by == "sfumato"


async def test_it_raises_typed_errors(edge: Edge, sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        await sdk.images.generate(prompt="a red apple", n=11)
    assert (wrong.value.param, wrong.value.code) == ("n", "invalid_value")
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="sk-unknown").models.list()
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("dall-e-3")
    edge.generator.failure = Failed("engine_failed", "")
    with pytest.raises(openai.InternalServerError):
        await sdk.images.generate(prompt="a red apple")


async def test_an_error_in_a_stream_is_raised(edge: Edge, sdk: AsyncOpenAI) -> None:
    edge.generator.failure = Failed("replica_lost", "")
    edge.generator.fails_after_images = True
    stream = await sdk.images.generate(prompt="a red apple", stream=True)
    with pytest.raises(openai.APIError) as caught:
        [event async for event in stream]
    assert caught.value.code == "replica_lost"


async def test_it_tries_again_after_an_overload(edge: Edge, sdk: AsyncOpenAI) -> None:
    edge.generator.failures = [Failed("overloaded", "", 0.01)]
    reply = await sdk.with_options(max_retries=1).images.generate(prompt="a red apple")
    assert reply.data
    assert len(edge.generator.requests) == 2
