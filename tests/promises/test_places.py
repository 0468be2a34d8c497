"""Nothing is kept that no class of `retention.toml` names: looked for where things can be, not in a list of them.

What runs is searched after every feature was used; what may never run, a new module for one, is searched by its text.
"""

import ast
import gc
import importlib
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edge.db.rows import AccountRow, Base, PasskeyRow, RecoveryCodeRow, SignInRow
from edge.domain.events import EventHub
from edge.domain.limits.limiter import Limiter
from edge.domain.sign_ins import LASTS_S
from policies.load import load_policies
from policies.publish import in_words, lifecycle_rules
from serve_app.contract import Generator, StoreOrder, TrainingOrder
from serve_app.storage.directory import DirectoryStore
from serve_app.storage.keys import ImageKey
from serve_app.storage.s3 import S3Store
from tests.edge.edges import Edge
from tests.promises.everything import PROMPT, everything_kept, tables
from tests.servers import S3Server

SAID_OF_ACCOUNTS: dict[type[Base], dict[str, str]] = {
    AccountRow: {
        "plan": "its plan",
        "created_on": "the day it was made",
        "training": "its choice about training",
        "training_at": "and when that was made",
    },
    PasskeyRow: {
        "credential_id": "its label, days, its id",
        "public_key": "the public half of its key",
        "sign_count": "its device's count of signatures",
        "label": "its label",
        "created_on": "days",
        "last_used_on": "days",
    },
    RecoveryCodeRow: {"digest": "still works a digest", "created_on": "still works a digest and a day"},
    SignInRow: {
        "digest": "signed in a digest",
        "created_on": "signed in a digest, days",
        "last_used_on": "signed in a digest, days",
        "ends_at": "the second at which that ends",
    },
}
ROOT = Path(__file__).parents[2]
PACKAGES = ("policies", "serve_app", "edge", "cluster")
HOLDS_NO_SUBJECT = {
    "objects": "the store, whose prefixes are places",
    "sfumato.db": "the database, whose tables are places",
    "sfumato.lock": "empty: who migrates the database holds it",
    "secrets.env": "the operator's own keys",
    "training.key": "the operator's own key",
    "image-hashes.txt": "the operator's own list of pictures that nobody may see",
}
COUNTER_STORE = {"l:": "memory:limit_counters", "sfumato:job_events:": "stream:job_events"}
# what holds something of callers from one call to the next, by the seam that it implements
HOLDERS: dict[type, dict[str, str]] = {
    EventHub: {name: "stream:job_events" for name in ("MemoryHub", "SharedHub")},
    Limiter: {name: "memory:limit_counters" for name in ("MemoryLimiter", "SharedLimiter", "SteadyLimiter")},
    Generator: {name: "memory:engine" for name in ("Engine", "Engines", "RayServeGateway")},
}


def places(kind: str) -> list[str]:
    """Of this kind, from every class; `load_policies` refuses one that two classes name."""
    classes = load_policies().retention.classes.by_name().values()
    return sorted(place.removeprefix(f"{kind}:") for kept in classes for place in kept.places if place.startswith(kind))


# what runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The key of every object that was put, also of those that went since."""
    keys: list[str] = []
    for kind in (S3Store, DirectoryStore):
        put = kind.put

        async def noted(store: S3Store, key: str, data: bytes, put: Any = put) -> None:
            keys.append(key)
            await put(store, key, data)

        monkeypatch.setattr(kind, "put", noted)
    return keys


@pytest.fixture
async def edge(stored: list[str], tmp_path: Path, s3: S3Server, valkey_url: str) -> AsyncIterator[Edge]:
    with s3.bucket() as bucket:
        async with everything_kept(tmp_path / "home", bucket | {"SFUMATO_VALKEY_URL": valkey_url}) as edge:
            yield edge


async def test_every_object_that_is_stored_is_in_a_class(edge: Edge, stored: list[str]) -> None:
    assert sorted({key.split("/")[0] for key in stored}) == places("prefix")


async def test_every_table_that_the_database_has_is_in_a_class(edge: Edge) -> None:
    assert sorted(await tables(edge)) == places("table")


async def test_every_key_of_the_counter_store_is_in_a_class_and_expires(edge: Edge) -> None:
    counters = edge.services.counter_store
    assert counters is not None
    for key in await counters.keys("*"):
        assert [place for prefix, place in COUNTER_STORE.items() if key.decode().startswith(prefix)], key
        assert await counters.pttl(key) > 0, key
    assert {place.partition(":")[2] for place in COUNTER_STORE.values()} <= {*places("memory"), *places("stream")}


async def test_every_file_below_home_is_in_a_class(edge: Edge) -> None:
    for name in (file.name for file in edge.home.iterdir()):
        assert re.sub(r"-(wal|shm)$", "", name) in {*places("files"), *HOLDS_NO_SUBJECT}


async def test_no_prompt_is_anywhere_in_memory_once_its_job_has_ended(edge: Edge) -> None:
    edge.generator.requests.clear()  # which a real one does not note down
    gc.collect()
    for holder in gc.get_objects():
        if any(tells(value) for value in gc.get_referents(holder)) and not of_this_test(holder):
            pytest.fail(f"a {type(holder).__qualname__} has a prompt")


def tells(value: Any) -> bool:
    """Itself, or what it holds and the collector does not track."""
    kind = type(value)  # `isinstance` would ask the value itself, and some libraries answer with a warning
    if issubclass(kind, str):
        return PROMPT in value
    if issubclass(kind, bytes | bytearray):
        return PROMPT.encode() in value
    return not gc.is_tracked(value) and any(map(tells, gc.get_referents(value)))


def of_this_test(holder: object) -> bool:
    """The constant, and the client's own requests."""
    module = str(holder.get("__name__")) if isinstance(holder, dict) else type(holder).__module__
    return module.startswith(("tests.", "httpx2"))


# what may never run --------------------------------------------------------------------------------------------------


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Each module's name and text. Of migrations the database itself tells; the others keep nothing of callers."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return [
        (file.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."), ast.parse(file.read_text("utf-8")))
        for file in files
        if not {"migrations", "bench", "recipe"} & set(file.parts)
    ]


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """With the last word of what is called: `put` of `self._store.put(…)`."""
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield module, ast.unparse(node.func).rpartition(".")[2], node


def test_every_table_of_the_code_is_in_exactly_one_class() -> None:
    assert places("table") == sorted([*Base.metadata.tables, "alembic_version"])


def test_nothing_is_kept_of_a_way_into_an_account_that_its_class_does_not_say() -> None:
    said = load_policies().retention.classes.account
    for row, words in SAID_OF_ACCOUNTS.items():
        assert set(row.__table__.columns.keys()) - {"id", "account_id"} == set(words), row.__tablename__
        assert [word for word in words.values() if word not in said.what] == []
    assert in_words(timedelta(seconds=LASTS_S)) in said.ends_by


def test_every_prefix_of_the_store_is_in_exactly_one_class() -> None:
    assert sorted(set(prefixes_of_the_code())) == places("prefix")
    assert {rule.prefix.split("/")[0] for rule in lifecycle_rules(load_policies())} == set(places("prefix"))


def prefixes_of_the_code() -> Iterator[str]:
    """What orders to store are made with: the first argument wherever one is made, looked up where it is a constant."""
    makers = {StoreOrder.__name__, TrainingOrder.__name__, ImageKey.__name__}
    for module, name, call in calls():
        if name in makers:
            match call.args[0]:
                case ast.Constant(value=str(prefix)):
                    yield prefix
                case ast.Name(id=constant):
                    yield getattr(importlib.import_module(module), constant)
                case ast.Attribute(attr="prefix") | ast.Subscript():
                    pass  # taken from an order or a key that was made elsewhere
                case other:
                    pytest.fail(f"{module}: a prefix that this test cannot read: {ast.dump(other)}")


def test_no_key_of_the_store_is_written_out_where_it_is_put() -> None:
    """A key comes from an order, or from the policy's own rules."""
    for module, name, call in calls():
        if name == "put" and re.search(r"store\.put$", ast.unparse(call.func)):
            assert isinstance(call.args[0], ast.Name), f"{module}: {ast.unparse(call)}"


def test_every_directory_of_home_is_in_exactly_one_class() -> None:
    assert set(names_below_home()) - set(HOLDS_NO_SUBJECT) == set(places("files"))


def names_below_home() -> Iterator[str]:
    """Wherever the code writes `home / "name"` or says it by a call."""
    for _, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(name))) if is_home(left):
                    yield name
                case ast.Call(func=ast.Attribute(value=left), args=[ast.Constant(value=str(name)), *_]) if is_home(
                    left
                ):
                    yield name
                case ast.Call(args=[left, ast.Constant(value=str(name)), *_]) if is_home(left):
                    yield name
                case _:
                    pass


def is_home(node: ast.expr) -> bool:
    return re.search(r"\b_?(home|place)(\.\w+\(\))*$", ast.unparse(node)) is not None


def test_whatever_implements_a_seam_that_holds_something_is_in_a_class() -> None:
    for seam, held_by in HOLDERS.items():
        assert set(implementers(seam)) == set(held_by), f"{seam.__name__}: say here in which class each keeps something"
    held = {place for held_by in HOLDERS.values() for place in held_by.values()}
    assert held == {f"{kind}:{name}" for kind in ("stream", "memory") for name in places(kind)}


def implementers(seam: type) -> Iterator[str]:
    """Classes of ours that have its methods, of their own or by a class of ours, whether they say so or not."""
    classes = {node.name: node for _, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    wanted = {name for name, value in vars(seam).items() if inspect.isfunction(value) and not name.startswith("_")}
    for name, node in classes.items():
        if wanted <= set(methods(node, classes)) and not any("Protocol" in ast.unparse(base) for base in node.bases):
            yield name


def methods(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    for inside in node.body:
        if isinstance(inside, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside.name
    for base in node.bases:
        if known := classes.get(ast.unparse(base).rpartition(".")[2]):
            yield from methods(known, classes)
