"""What is forgotten is forgotten: with a real model, a thief gets all that is left and tries to make the picture again.

The thief has the database, row by row and byte by byte, and the object store; knows how the service works, and even
guesses the prompt. What the thief lacks is the seed.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from types import MappingProxyType
from typing import Any

import pytest
import pytest_asyncio
from httpx2 import AsyncClient, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from cluster.compose_edge import build_services
from cluster.day_keys import DayKeys
from cluster.lifecycle import sweep_once
from edge.db.rows import Base
from edge.domain.requests import MAX_SEED
from edge.services import Services
from edge.settings import Settings
from policies.load import load_policies
from serve_app.compose import build_engines
from serve_app.settings import Settings as EngineSettings
from tests.edge.edges import env_for
from tests.edge.serving import serving
from tests.sweeping import parts_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT = "a penguin on a purple background"
STEPS = 4
SEED = 0x1D_C0FF_EE15_6A7B  # seven bytes that no other value has
HOUR_S = 3600
NOBODY: Mapping[str, str] = MappingProxyType({})
ERASE = {"sfumato-confirm": "erase"}


@dataclass
class House:
    services: Services
    client: AsyncClient
    later_s: list[float] = field(default_factory=lambda: [0.0])

    @property
    def home(self) -> Path:
        return self.services.settings.home

    async def draw(self, seed: int = SEED, **fields: object) -> dict[str, Any]:
        """By the session of the test, which the first drawing begins."""
        reply = await self._draw(seed, fields)
        if "x-sfumato-session" in reply.headers:
            self.client.headers["authorization"] = f"Bearer {reply.headers['x-sfumato-session']}"
        return reply.json()["data"][0]

    async def unstored(self, seed: int) -> bytes:
        """As the thief would draw it, on a service of the thief's own: each time as somebody else."""
        fields = {"retention": "none", "response_format": "b64_json"}
        reply = await self._draw(seed, fields, {"authorization": "Bearer anonymous"})
        return base64.b64decode(reply.json()["data"][0]["b64_json"])

    async def _draw(self, seed: int, fields: Mapping[str, object], headers: Mapping[str, str] = NOBODY) -> Response:
        order = {"prompt": PROMPT, "steps": STEPS, "size": "64x64", "seed": seed, **fields}
        reply = await self.client.post("/v1/images/generations", json=order, headers=dict(headers), timeout=60)
        assert reply.status_code == 200, reply.text
        return reply

    async def sweep(self, later_s: float = 0.0) -> None:
        self.later_s[0] += later_s
        parts = parts_of(self.services, DayKeys(self.home / "keys"))
        assert (await sweep_once(parts)).is_complete

    async def objects(self) -> list[str]:
        return await self.services.store.keys("img/") + await self.services.store.keys("training/")

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        return await self.services.database.read(_every_row)


def _every_row(db: Session) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row) for row in db.execute(select(table)).mappings()] for table in Base.metadata.sorted_tables
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home = tmp_path_factory.mktemp("home")
    env, policies = env_for(home), load_policies()
    later_s = [0.0]
    engines = build_engines(EngineSettings.from_env(env), policies)
    services = build_services(Settings.from_env(env), policies, engines, clock=lambda: time() + later_s[0])
    async with serving(services) as client:
        yield House(services, client, later_s)
    await engines.close()


@pytest.fixture(autouse=True)
def stranger(house: House) -> None:
    """Each test is a session of its own."""
    house.client.headers.pop("authorization", None)


def path_of(made: dict[str, Any]) -> str:
    return "/i/" + made["url"].rpartition("/")[2]


async def seed_is_nowhere(house: House, picture: bytes) -> None:
    """In no column and no file; nor the prompt, nor the picture."""
    await house.services.database.compact()
    for table, rows in (await house.rows()).items():
        assert not [row for row in rows if SEED in row.values() or str(SEED) in map(str, row.values())], table
    needles = (SEED.to_bytes(7, "big"), SEED.to_bytes(7, "little"), str(SEED).encode(), PROMPT.encode(), picture)
    for file in house.home.rglob("*"):
        if file.is_file():
            left = file.read_bytes()
            assert not [needle for needle in needles if needle in left], file


def numbers_in(rows: dict[str, list[dict[str, Any]]]) -> set[int]:
    """Every integer that can be read out of what is left, in any spelling that fits a seed."""
    return set(_numbers(value for found in rows.values() for row in found for value in row.values()))


def _numbers(values: Iterable[object]) -> Iterable[int]:
    for value in values:
        match value:
            case bool() | None:
                continue
            case int():
                yield value & MAX_SEED
            case str() if len(value) == 32:  # ids: their ends, as numbers
                yield from (int(value[:13], 16), int(value[-13:], 16))
            case bytes():
                yield from (int.from_bytes(value[:6]), int.from_bytes(value[-6:]))
            case _:
                continue


async def thief_fails(house: House, picture: bytes) -> None:
    """With the right prompt, model, size and steps, and every number that is left as a seed."""
    assert await house.unstored(SEED) == picture, "with the seed it is the very same: the trial means something"
    guesses = sorted(numbers_in(await house.rows()) - {SEED})
    assert guesses
    drawn = await asyncio.gather(*(house.unstored(guess) for guess in guesses[:60]))
    assert picture not in drawn


async def test_none_leaves_nothing_in_store_and_database(house: House) -> None:
    picture = await house.unstored(SEED)
    assert picture.startswith(b"\x89PNG")
    rows = await house.rows()
    assert (await house.objects(), rows["image"], rows["consent"]) == ([], [], [])
    await seed_is_nowhere(house, picture)


async def test_on_download_leaves_nothing_after_the_first_one(house: House) -> None:
    made = await house.draw(retention="on_download")
    assert len(await house.objects()) == 1
    picture = (await house.client.get(path_of(made))).content
    await house.sweep(later_s=60)
    rows = await house.rows()
    assert (await house.objects(), rows["image"], rows["consent"]) == ([], [], [])
    await seed_is_nowhere(house, picture)


async def test_from_what_a_deletion_leaves_the_picture_cannot_be_made_again(house: House) -> None:
    made = await house.draw()
    picture = (await house.client.get(path_of(made))).content
    with pytest.raises(AssertionError):
        await seed_is_nowhere(house, picture)  # while it lives, the seed is found: the search means something
    assert (await house.client.delete(f"/v1/images/{made['id']}")).status_code == 200
    await house.sweep()
    rows = await house.rows()
    assert rows["job"], "its bare state stays"
    assert rows["receipt"]
    assert rows["prompt"]
    assert (await house.objects(), rows["image"]) == ([], [])
    await seed_is_nowhere(house, picture)
    await thief_fails(house, picture)


async def test_a_picture_cannot_be_made_again_from_the_rows_of_its_siblings(house: House) -> None:
    made = await house.draw(n=2)
    picture = (await house.client.get(path_of(made))).content
    assert (await house.client.delete(f"/v1/images/{made['id']}")).status_code == 200
    rows = await house.rows()
    assert [(row["position"], row["seed"]) for row in rows["image"]] == [(1, None)], "the sibling lives without a seed"
    await house.sweep()
    neighbours = {number + step for number in numbers_in(await house.rows()) for step in range(-4, 5)}
    assert SEED not in neighbours, "nor can it be told from a neighbour's"
    await seed_is_nowhere(house, picture)
    assert (await house.client.delete("/v1/privacy/me", headers=ERASE)).status_code == 200


async def test_from_what_an_erasure_leaves_even_less_can_be_made(house: House) -> None:
    made = await house.draw()
    picture = (await house.client.get(path_of(made))).content
    [before] = [row for row in (await house.rows())["image"] if row["id"] == made["id"]]
    assert (await house.client.delete("/v1/privacy/me", headers=ERASE)).status_code == 200
    rows = await house.rows()
    for table, found in rows.items():
        assert not [row for row in found if row.get("owner_id") == before["owner_id"]], table
        assert table == "receipt" or not [row for row in found if made["id"] in map(str, row.values())], table
    await seed_is_nowhere(house, picture)


async def test_what_expires_leaves_neither(house: House) -> None:
    made = await house.draw(retention="PT1M")
    picture = (await house.client.get(path_of(made))).content
    await house.sweep(later_s=120)
    assert await house.objects() == []
    assert not (await house.rows())["image"]
    await seed_is_nowhere(house, picture)
