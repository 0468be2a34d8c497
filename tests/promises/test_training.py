"""The training choice, end to end: a real model draws, a real directory keeps, and who says no is not in it."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from httpx2 import AsyncClient, Response
from sqlalchemy import func, select

from cluster.compose_edge import build_services
from cluster.day_keys import DayKeys, make_day_keys
from cluster.lifecycle import sweep_once
from cluster.training_export import Exported, Source, export, list_withdrawn
from edge.db.rows import ConsentRow
from edge.services import Services
from edge.settings import Settings
from policies.load import load_policies
from serve_app.compose import build_engines
from serve_app.settings import Settings as EngineSettings
from serve_app.training import CopyBroken, open_copy
from tests.edge.edges import env_for
from tests.edge.serving import serving
from tests.sweeping import parts_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = X25519PrivateKey.generate()
PUBLIC = base64.b64encode(OPERATOR.public_key().public_bytes_raw()).decode()
HOUR_S, DAY_S = 3600, 86_400
PROMPT = "a red apple on a blue background"


@dataclass
class House:
    """A visitor's session in `client`; the clock can be set forward."""

    services: Services
    client: AsyncClient
    keys: DayKeys
    later_s: list[float] = field(default_factory=lambda: [0.0])

    async def draw(self, headers: dict[str, str] | None = None, **fields: object) -> Response:
        order = {"prompt": PROMPT, "steps": 4, **fields}
        reply = await self.client.post("/v1/images/generations", json=order, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        if "x-sfumato-session" in reply.headers:
            self.client.headers["authorization"] = f"Bearer {reply.headers['x-sfumato-session']}"
        return reply

    async def image(self, retention: str = "PT1H", output_format: str = "png") -> dict[str, Any]:
        return (await self.draw(retention=retention, output_format=output_format)).json()["data"][0]

    async def objects(self) -> list[str]:
        return await self.services.store.keys("training/")

    async def rows(self) -> int:
        count = select(func.count()).select_from(ConsentRow)
        return await self.services.database.read(lambda db: db.scalar(count)) or 0

    async def is_empty(self) -> bool:
        return (await self.objects(), await self.rows()) == ([], 0)

    async def sweep(self, later_s: float) -> None:
        self.later_s[0] = later_s
        parts = parts_of(self.services, self.keys)
        assert (await sweep_once(parts)).is_complete

    async def export(self, directory: Path) -> Exported:
        services = self.services
        mode = services.policies.retention.training.mode
        source = Source(store=services.store, database=services.database, mode=mode, clock=services.clock)
        return await export(directory, OPERATOR, source)


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    env = env_for(tmp_path, SFUMATO_TRAINING_KEY=PUBLIC)
    settings, policies, later_s = Settings.from_env(env), load_policies(), [0.0]
    engines = build_engines(EngineSettings.from_env(env), policies)
    services = build_services(settings, policies, engines, clock=lambda: time() + later_s[0])
    async with serving(services) as client:
        keys = DayKeys(tmp_path / "keys")
        await make_day_keys(keys, services.database, services.clock())
        yield House(services, client, keys, later_s)
    await engines.close()


async def test_a_copy_is_made_and_opens_only_with_the_operators_private_key(house: House):
    image = await house.image(output_format="webp")
    [key] = await house.objects()
    assert await house.rows() == 1
    assert key.endswith(image["id"])
    sealed = await house.services.store.get(key)
    assert PROMPT.encode() not in sealed
    assert b"RIFF" not in sealed
    with pytest.raises(CopyBroken):
        open_copy(X25519PrivateKey.generate(), key, sealed)

    copy = open_copy(OPERATOR, key, sealed)
    path = image["url"].removeprefix(house.services.settings.public_url)
    assert copy.file == (await house.client.get(path)).content
    assert (copy.caption, copy.model) == (PROMPT, "sfumato-embedded")


async def test_who_says_no_or_has_nothing_stored_has_no_copy_and_no_row(house: House):
    await house.draw(training="deny")
    await house.draw(headers={"Sec-GPC": "1"})
    await house.draw(headers={"Sec-GPC": "1"}, training="allow")
    await house.draw(retention="none", response_format="b64_json")
    await house.draw(retention="on_download")
    assert await house.is_empty()
    await house.client.put("/v1/privacy/training", json={"choice": "deny"})
    await house.draw()
    assert await house.is_empty()


async def test_deleting_the_picture_in_any_way_deletes_its_copy(house: House):
    base = house.services.settings.public_url
    for deletion in ("image", "address", "generation", "everything"):
        image = await house.image()
        assert len(await house.objects()) == 1
        job = (await house.client.get(f"/v1/images/{image['id']}")).json()["generation"]
        path = {
            "image": f"/v1/images/{image['id']}",
            "address": image["url"].removeprefix(base),
            "generation": f"/v1/generations/{job}",
            "everything": "/v1/privacy/me",
        }[deletion]
        reply = await house.client.delete(path, headers={"Sfumato-Confirm": "erase"})
        is_told = deletion != "address"  # whoever holds it may not be the owner, and learns of no copy
        assert reply.json()["claims"]["counts"]["training_copies"] == is_told, deletion
        assert await house.is_empty(), deletion


async def test_a_no_takes_back_all_copies_at_once_and_leaves_the_pictures(house: House):
    image = await house.image()
    await house.draw()
    reply = (await house.client.put("/v1/privacy/training", json={"choice": "deny"})).json()
    assert (reply["withdrawn"], reply["copies"]) == (2, 0)
    assert await house.is_empty()
    assert (await house.client.get(f"/v1/images/{image['id']}")).status_code == 200


async def test_a_copy_outlives_the_pictures_own_end_and_not_the_session_that_could_say_no(house: House):
    image = await house.image(retention="PT10M")
    await house.sweep(HOUR_S)
    assert (await house.client.get(f"/v1/images/{image['id']}")).status_code == 404
    assert len(await house.objects()) == await house.rows() == 1
    await house.sweep(32 * DAY_S)
    assert await house.is_empty()


async def test_what_came_out_and_was_taken_back_is_listed_and_removed(house: House, tmp_path: Path):
    shelf = tmp_path / "shelf"
    image, other = await house.image(), await house.image()
    assert await house.export(shelf) == Exported(2, 0, 0, 0)
    await house.client.delete(f"/v1/images/{image['id']}")
    assert len(await house.objects()) == 1
    assert [each.id for each in await list_withdrawn(house.services.database)] == [image["id"]]

    assert await house.export(shelf) == Exported(0, 1, 1, 0)
    [line] = [json.loads(line) for line in (shelf / "manifest.jsonl").read_text().splitlines()]
    assert (line["id"], line["caption"]) == (other["id"], PROMPT)
    assert [file.stem for file in (shelf / "pictures").iterdir()] == [other["id"]]
