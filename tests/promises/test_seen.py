"""No picture is seen that may not be: the real model, the real check, and callers of every kind.

What is blocked is brought about by a lower threshold, and by the operator's list.
"""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import time

import numpy as np
import pytest
from httpx2 import ASGITransport, AsyncClient, Response
from PIL import Image

import policies
from cluster.compose_edge import build_services
from cluster.day_keys import DayKeys, make_day_keys
from edge.app import create_app
from edge.services import Services
from edge.settings import Settings
from policies.load import load_policies
from policies.schema import Policies
from serve_app.compose import Engines, build_engines
from serve_app.pdq import pdq_hash
from serve_app.settings import Settings as ServeSettings
from tests.edge.edges import BASE_URL, env_for, started
from tests.edge.routes.test_generation_events import frames_of
from tests.tables import lay_tables

NATIVE = "64x64"
STEPS = 4


class House:
    """Edge and engine in one process."""

    def __init__(self, services: Services, client: AsyncClient, hashes: Path) -> None:
        self.services = services
        self.client = client
        self.hashes = hashes

    async def draw(self, seed: int, **fields: object) -> Response:
        wish = {"prompt": "a red apple", "seed": seed, "steps": STEPS, "size": NATIVE, **fields}
        return await self.client.post("/v1/images/generations", json=wish)

    async def job_events(self, seed: int, **fields: object) -> list[dict[str, str]]:
        wish = {"prompt": "a red apple", "seed": seed, "steps": STEPS, "size": NATIVE, **fields}
        reply = await self.client.post("/v1/generations", json=wish)
        token = {"authorization": f"Bearer {reply.headers['x-sfumato-session']}"}
        path = f"/v1/generations/{reply.json()['id']}/events"
        return frames_of((await self.client.get(path, headers=token)).text)

    async def objects(self) -> list[str]:
        return await self.services.store.keys("img/")


@dataclass(frozen=True)
class Drawing:
    """The engine, and the policies it draws under."""

    env: dict[str, str]
    policies: Policies
    engines: Engines
    hashes: Path


@contextmanager
def drawing(home: Path, threshold: float) -> Generator[Drawing]:
    rules, hashes = home / "policies", home / "hashes.txt"
    shutil.copytree(Path(str(policies.__path__[0])), rules, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    moderation = rules / "moderation.toml"
    moderation.write_text(moderation.read_text().replace("threshold = 0.8 ", f"threshold = {threshold} "))
    loaded = load_policies(rules)
    assert loaded.moderation.images.threshold == threshold
    env = {"SFUMATO_POLICIES": str(rules), "SFUMATO_IMAGE_HASHES": str(hashes), "SFUMATO_TORCH_THREADS": "1"}
    env["SFUMATO_HOME"] = str(home)  # one store for all of them: what is stored in error is seen by any
    engines = build_engines(ServeSettings.from_env(env), loaded)
    try:
        yield Drawing(env, loaded, engines, hashes)
    finally:
        asyncio.run(engines.close())


@asynccontextmanager
async def house(drawing: Drawing) -> AsyncGenerator[House]:
    home = Path(drawing.env["SFUMATO_HOME"])
    settings = Settings.from_env(env_for(home, **drawing.env))
    lay_tables(settings.database_url)
    services = build_services(settings, drawing.policies, drawing.engines)
    app = create_app(services)
    transport = ASGITransport(app)  # pyright: ignore[reportArgumentType]  both mean ASGI
    async with started(app), AsyncClient(transport=transport, base_url=BASE_URL, timeout=60) as client:
        await make_day_keys(DayKeys(home / "keys"), services.database, time())
        yield House(services, client, drawing.hashes)


@pytest.fixture(scope="module")
def strict_drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    with drawing(tmp_path_factory.mktemp("strict"), 1e-9) as strict:
        yield strict


@pytest.fixture(scope="module")
def usual_drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawing]:
    with drawing(tmp_path_factory.mktemp("usual"), 0.8001) as usual:
        yield usual


@pytest.fixture
async def strict(strict_drawing: Drawing) -> AsyncGenerator[House]:
    """Takes everything for adult content."""
    async with house(strict_drawing) as strict:
        yield strict


@pytest.fixture
async def usual(usual_drawing: Drawing) -> AsyncGenerator[House]:
    async with house(usual_drawing) as usual:
        yield usual


def blocked(reply: Response) -> str:
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["code"], error["stage"]) == ("moderation_blocked", "image")
    return error["category"]


async def test_a_call_gets_a_reason_and_no_picture(strict: House):
    assert blocked(await strict.draw(1)) == "sexual"
    assert blocked(await strict.draw(1, retention="none", response_format="b64_json")) == "sexual"
    assert await strict.objects() == []


async def test_a_stream_gets_no_partial_image_either(strict: House):
    reply = await strict.draw(1, stream=True, partial_images=3, steps=8)
    assert "b64_json" not in reply.text
    assert '"moderation_blocked"' in reply.text
    assert await strict.objects() == []


async def test_a_job_ends_as_blocked_without_a_preview(strict: House):
    events = await strict.job_events(1, partial_images=3, steps=8)
    assert events[-1]["event"] == "blocked"
    assert not {"preview", "image"} & {event.get("event") for event in events}
    assert json.loads(events[-1]["data"])["error"]["category"] == "sexual"
    assert await strict.objects() == []


async def test_what_joins_the_operator_s_list_is_not_seen_again_and_others_are(usual: House):
    inline = {"retention": "none", "response_format": "b64_json"}
    first = await usual.draw(7, **inline)
    assert first.status_code == 200, first.text
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(first.json()["data"][0]["b64_json"]))).convert("RGB"))
    usual.hashes.write_text(f"{pdq_hash(pixels).tobytes().hex()}  # confirmed\n")
    assert blocked(await usual.draw(7, **inline)) == "listed"
    other = await usual.draw(7, prompt="a blue car on a yellow background", **inline)
    assert other.status_code == 200
    usual.hashes.write_text("not a hash\n")
    unclear = await usual.draw(7, **inline)
    assert (unclear.status_code, unclear.json()["error"]["code"]) == (503, "moderation_unavailable")
    usual.hashes.unlink()
    assert (await usual.draw(7, **inline)).status_code == 200


async def test_previews_of_what_may_be_seen_are_sent(usual: House):
    events = await usual.job_events(3, partial_images=3, steps=8)
    assert [event.get("event") for event in events].count("preview") == 3
    assert events[-1]["event"] == "succeeded"
