"""One source: for any valid policy, page, JSON, lifecycle rules and what is deleted agree."""

import asyncio
import re
import shutil
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import pytest
from httpx2 import ASGITransport, AsyncClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.lifecycle import EACH_MINUTE, sweep_once
from edge.app import create_app
from edge.domain.training import terms_of
from policies.presets import FILES
from policies.publish import TRAINING, in_words, iso, lifecycle_rules
from serve_app.storage.keys import ImageKey, delete_minute
from tests.edge.edges import BASE_URL, Clock, Edge, make_edge
from tests.sweeping import parts_of

# any policy ----------------------------------------------------------------------------------------------------------


class Numbers(NamedTuple):
    """What an operator may choose. Class times in minutes, in the order of the file; that of the logs comes last."""

    backstop_days: list[int]
    kept_minutes: list[int]
    plan_minutes: list[tuple[int, int]]
    backups_days: int
    training: tuple[str, str]


@st.composite
def numbers(draw: st.DrawFn) -> Numbers:
    backstop_days = draw(st.lists(st.integers(1, 3650), min_size=1, max_size=6, unique=True))
    longest = max(backstop_days) * 1440 - 1
    plan = st.lists(st.integers(1, longest), min_size=2, max_size=2).map(sorted).map(tuple)
    modes = [("opt_out", "legitimate interest"), ("opt_in", "consent"), ("opt_in", "legitimate interest")]
    return Numbers(
        backstop_days,
        [*draw(st.lists(st.integers(1, 3650 * 1440), min_size=10, max_size=10)), draw(st.integers(1, 3650)) * 1440],
        [draw(plan) for _ in range(4)],
        draw(st.integers(1, 400)),
        draw(st.sampled_from([*modes, ("never", "legitimate interest"), ("never", "consent")])),
    )


def write(chosen: Numbers, directory: Path) -> None:
    """The shipped files with other numbers."""
    directory.mkdir()
    shipped = {name: (resources.files("policies") / name).read_text("utf-8") for name in FILES}
    kept = [iso(timedelta(minutes=minutes)) for minutes in chosen.kept_minutes]
    plans = [[iso(timedelta(minutes=minutes)) for minutes in pair] for pair in chosen.plan_minutes]
    mode, ground = chosen.training
    text = each_replaced(shipped["retention.toml"], r'(?<=kept_for = ")\w+', kept)
    text = each_replaced(text, r"(?<=^backstop_days = ).*", [str(chosen.backstop_days)])
    text = each_replaced(text, r"(?<=^backups_days = ).*", [str(chosen.backups_days)])
    text = each_replaced(text, r'(?<=^mode = ")\w+', [mode])
    shipped["retention.toml"] = each_replaced(text, r'(?<=^ground = ")[\w ]+(?=" # consent)', [ground])
    times = [f'default = "{default}", maximum = "{maximum}"' for default, maximum in plans]
    shipped["plans.toml"] = each_replaced(shipped["plans.toml"], r'default = "\w+", maximum = "\w+"', times)
    for name, text in shipped.items():
        (directory / name).write_text(text, "utf-8")


def each_replaced(text: str, pattern: str, values: list[str]) -> str:
    following = iter(values)
    text, count = re.subn(pattern, lambda _: next(following), text, flags=re.MULTILINE)
    assert count == len(values)
    return text


# what each says ------------------------------------------------------------------------------------------------------


class PageReader(HTMLParser):
    """Of a page: for each element with an id, its text, and the machine-readable times and numbers in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.times: dict[str, list[str]] = {}
        self.data: dict[str, list[str]] = {}
        self.text = ""
        self._id = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._id = given.get("id") or self._id
        if tag == "time":
            self.times.setdefault(self._id, []).append(given.get("datetime") or "")
        if tag == "data":
            self.data.setdefault(self._id, []).append(given.get("value") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


async def page_and_data_agree(edge: Edge) -> Any:
    page = PageReader(await privacy_page_with_a_backstop(edge))
    policy = (await edge.client.get("/v1/privacy/retention")).json()
    for kept in policy["classes"]:
        if "kept_for" in kept:
            assert page.times[kept["name"]] == [kept["kept_for"]]
            assert kept["kept"] == in_words(msgspec.convert(kept["kept_for"], timedelta))
    for name, plan in policy["plans"].items():
        assert page.times[f"plan-{name}"] == [plan["default"], plan["maximum"]]
        assert page.data[f"plan-{name}"] == [str(plan["default_backstop_days"]), str(plan["maximum_backstop_days"])]
    assert f"gone after {policy['backups_days']} days" in page.text
    assert policy["training"]["meaning"][policy["training"]["mode"]] in page.text
    status = (await edge.client.get("/privacy/status")).text
    assert policy["backstop_digest"] in status
    for rule in policy["backstop"]:
        assert re.search(rf"<code>{rule['prefix']}</code></th><td>{rule['days']} day", status)
    return policy


async def privacy_page_with_a_backstop(edge: Edge) -> str:
    """As it reads where the store has rules; of a directory it does not promise any."""
    store = msgspec.structs.replace(edge.services.settings.store, s3_url="http://127.0.0.1:9")
    settings = msgspec.structs.replace(edge.services.settings, store=store)
    app = create_app(replace(edge.services, settings=settings))
    transport = ASGITransport(app)  # pyright: ignore[reportArgumentType]  both mean ASGI
    async with AsyncClient(transport=transport, base_url=BASE_URL) as client:
        return (await client.get("/privacy")).text


async def images_go_when_the_data_says(edge: Edge, policy: Any) -> None:
    plan, rules = policy["plans"]["anonymous"], lifecycle_rules(edge.services.policies)
    assert msgspec.to_builtins(rules) == policy["backstop"]
    for duration, days in ((None, plan["default_backstop_days"]), (plan["maximum"], plan["maximum_backstop_days"])):
        await edge.make_day_keys()
        began = edge.clock.now
        assert (await edge.draw(**({"retention": duration} if duration else {}))).status_code == 200
        kept_for = msgspec.convert(duration or plan["default"], timedelta)
        [key] = await edge.services.store.keys("img/")
        due = delete_minute(began, kept_for.total_seconds())
        assert [rule.days for rule in rules if key.startswith(rule.prefix)] == [days]
        assert key.split("/")[2] == due.strftime("%Y%m%dT%H%MZ")
        assert timedelta(days=days) > kept_for
        await goes_at(edge, key, due.timestamp())


async def training_copies_go_when_the_data_says(edge: Edge, policy: Any) -> None:
    terms = terms_of(edge.services.policies, None)
    [kept_for] = [kept["kept_for"] for kept in policy["classes"] if kept["name"] == "training_copy"]
    assert msgspec.convert(kept_for, timedelta) == timedelta(seconds=terms.kept_for_s)
    due = delete_minute(edge.clock.now, terms.kept_for_s)
    key = str(ImageKey(TRAINING, terms.class_days, due, "0" * 32))
    assert [rule["days"] for rule in policy["backstop"] if key.startswith(rule["prefix"])] == [terms.class_days]
    await edge.services.store.put(key, b"copy")
    await goes_at(edge, key, due.timestamp())


async def goes_at(edge: Edge, key: str, due_at: float) -> None:
    """With the deleter at work a second before, and at the minute; a canary beside it stays."""
    prefix, days, _, _ = key.split("/")
    canary = f"{prefix}/{days}/canary/{'c' * 32}"
    await edge.services.store.put(canary, b"canary")
    for now, left in ((due_at - 1, [canary, key]), (due_at, [canary])):
        edge.clock.now = now
        await sweep(edge)
        assert sorted(await edge.services.store.keys(f"{prefix}/"), reverse=True) == left
    await edge.services.store.delete([canary])


async def sweep(edge: Edge) -> None:
    parts = parts_of(edge.services, edge.keys)
    swept = await sweep_once(parts, {name: EACH_MINUTE[name] for name in ("objects", "copies", "rows")})
    assert swept.left == []


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its tables made, to be copied."""
    home = tmp_path_factory.mktemp("home")

    async def make() -> None:
        async with make_edge(home, Clock()).opened():
            pass

    asyncio.run(make())
    return home


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(chosen=numbers())
def test_page_data_rules_and_deleter_agree_for_any_valid_policy(migrated: Path, chosen: Numbers) -> None:
    async def agree(home: Path) -> None:
        edge = make_edge(home, Clock(), env={"SFUMATO_POLICIES": str(home / "policies")})
        async with edge.opened():
            policy = await page_and_data_agree(edge)
            await images_go_when_the_data_says(edge, policy)
            await training_copies_go_when_the_data_says(edge, policy)

    with TemporaryDirectory() as place:
        home = Path(place) / "home"
        shutil.copytree(migrated, home)
        write(chosen, home / "policies")
        asyncio.run(agree(home))
