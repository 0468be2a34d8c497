"""What `policies/obeyed.py` says of each class is what the code does, with one of each kept and every time another."""

import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest

from cluster.lifecycle import EACH_MINUTE, sweep_once
from edge.domain.owner import Owner
from policies.load import load_policies
from policies.obeyed import OBEYED
from policies.presets import FILES
from tests.edge.accounts import bearer, new_key
from tests.edge.browsers import visiting
from tests.edge.edges import Edge
from tests.promises.everything import countable, everything_kept, held, rows
from tests.servers import S3Server
from tests.sweeping import parts_of

DAY_S = 86_400
KEPT_DAYS = {
    "job_state": 3,
    "canary": 6,
    "moderation_prompt": 9,
    "training_copy": 12,
    "session": 15,
    "rights_request": 18,
    "proofs": 21,
    "moderation_decision": 24,
    "notice": 27,
}
CLASSES = load_policies().retention.classes.by_name()


@pytest.fixture
async def edge(tmp_path: Path, s3: S3Server, valkey_url: str, database_url: str) -> AsyncIterator[Edge]:
    write_policies(tmp_path / "policies")
    with s3.bucket() as bucket:
        env = bucket | {
            "SFUMATO_DATABASE_URL": database_url,
            "SFUMATO_VALKEY_URL": valkey_url,
            "SFUMATO_POLICIES": str(tmp_path / "policies"),
        }
        async with everything_kept(tmp_path / "home", env) as edge:
            yield edge


def write_policies(directory: Path) -> None:
    """The shipped ones with other times."""
    directory.mkdir()
    for name in FILES:
        text = (resources.files("policies") / name).read_text("utf-8")
        for kept, days in KEPT_DAYS.items() if name == "retention.toml" else ():
            text, count = re.subn(rf'(\[classes\.{kept}\](?:\n.+)*?\nkept_for = )"\w+"', rf'\g<1>"P{days}D"', text)
            assert count == 1, kept
        (directory / name).write_text(text, "utf-8")


async def sweep(edge: Edge) -> None:
    assert (await sweep_once(parts_of(edge.services, edge.keys), EACH_MINUTE)).left == []


def test_each_class_that_is_kept_for_a_time_and_can_be_counted_is_looked_at() -> None:
    assert set(KEPT_DAYS) == {name for name, kept in CLASSES.items() if kept.kept_for and countable(kept)}


async def test_each_class_ends_as_it_says(edge: Edge) -> None:
    """One of each is kept at first: a table without a row would end at once."""
    ends: dict[str, int] = {}
    first_key = sorted(key.name for key in edge.keys.directory.iterdir())[0]
    for day in range(max(KEPT_DAYS.values()) + 2):
        if day:
            edge.clock.advance(DAY_S)
            await sweep(edge)
        for name in [*KEPT_DAYS, "output_image", "job_and_image_rows"]:
            for place in countable(CLASSES[name]):
                if await held(edge, place):
                    ends[place] = day
        if (edge.keys.directory / first_key).exists():
            ends["the day's key"] = day
    for name, days in KEPT_DAYS.items():
        for place in countable(CLASSES[name]):
            assert days - 1 <= ends[place] <= days, place
    assert (ends["prefix:img"], ends["table:image"]) == (0, 0)
    assert ends["table:prompt"] <= ends["the day's key"] <= ends["table:prompt"] + 1


async def test_erasure_reaches_what_it_says(edge: Edge) -> None:
    places = {place: OBEYED[name].erasure for name, kept in CLASSES.items() for place in countable(kept)}
    account = (await (await visiting(edge)).sign_up()).json()["id"]
    key = await new_key(edge, account=Owner("account", account))
    before = {place: await held(edge, place) for place in places}
    [caller] = re.findall(r"[0-9a-f]{32}", await rows(edge, "session"))
    for whose in ({}, bearer(key)):
        erased = await edge.client.delete("/v1/privacy/me", headers={"sfumato-confirm": "erase", **whose})
        assert erased.status_code == 200
    await sweep(edge)
    for place, erasure in places.items():
        assert before[place], f"nothing was kept at {place}: tests/promises/everything.py does not use it"
        if erasure == "reaches it":
            assert await held(edge, place) == 0, place
        else:
            assert await held(edge, place) >= before[place], place
            for owner in (caller, key.row.account_id):
                assert owner not in await rows(edge, place.removeprefix("table:")), place
