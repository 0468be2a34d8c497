"""Servers shared by the whole run, and what the run says about tests that it left out."""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from valkey.asyncio import Valkey
from xdist.remote import Producer
from xdist.scheduler.loadfile import LoadFileScheduling

from edge.db.database import Database, open_engine
from tests.servers import S3Server, ServerMissing, postgresql, seaweedfs, valkey
from tests.tables import lay_tables, make_tables, migrated

STARTS_RAY = {
    "cluster/test_serving.py",
    "promises/test_no_route_out.py",
    "promises/test_up.py",
    "serve_app/test_replica.py",
}
GPU_TESTS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session", autouse=True)
def _tables(tmp_path_factory: pytest.TempPathFactory) -> None:
    make_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3, started by the first test that needs one."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def _valkey() -> Iterator[str]:
    with valkey() as url:
        yield url


@pytest.fixture
async def valkey_url(_valkey: str) -> str:
    """A real Valkey that holds nothing."""
    async with Valkey.from_url(_valkey) as client:
        await client.flushall()
    return _valkey


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL, started by the first test that needs one."""
    try:
        with postgresql() as url:
            yield url
    except ServerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def _postgresql_with_tables(postgresql_url: str) -> str:
    """The name of a database there, to make others like it."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(postgresql_url, "CREATE DATABASE tables")).result()
    migrated(f"{postgresql_url}/tables")
    return "tables"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database of each kind that has its tables, and nothing in them."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/home/sfumato.db"
        lay_tables(url)
        yield url
        return
    template: str = request.getfixturevalue("_postgresql_with_tables")
    async with _postgresql_database(request, f"TEMPLATE {template}") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/home/sfumato.db"
        return
    async with _postgresql_database(request) as url:
        yield url


@asynccontextmanager
async def _postgresql_database(request: pytest.FixtureRequest, like: str = "") -> AsyncGenerator[str]:
    server: str = request.getfixturevalue("postgresql_url")
    name = f"t{uuid.uuid4().hex}"
    await _execute(server, f"CREATE DATABASE {name} {like}")
    yield f"{server}/{name}"
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: str, statement: str) -> None:
    operator = create_async_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    async with operator.connect() as connection:
        await connection.execute(text(statement))
    await operator.dispose()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(open_engine(database_url))
    yield database
    await database.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (SFUMATO_ALL=1), a skipped test is a failed one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SFUMATO_ALL") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"SFUMATO_ALL=1 allows no skip. {reason}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GPU_TESTS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a real Ray takes longest: it begins first."""
    items.sort(key=lambda item: not _starts_ray(item.nodeid))


class _FileByFile(LoadFileScheduling):
    """Where workers share the tests, one runs a whole file; one alone all that start a real Ray."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if _starts_ray(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return _FileByFile(config, log)


def _starts_ray(nodeid: str) -> bool:
    return nodeid.partition("::")[0].removeprefix("tests/") in STARTS_RAY


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu"):
            item.config.stash[GPU_TESTS].append(item.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Of a worker, whose words nobody sees."""
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told["gpu_tests"] = session.config.stash[GPU_TESTS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[GPU_TESTS] = getattr(node, "workeroutput", {}).get("gpu_tests", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if names := config.stash[GPU_TESTS]:
        terminalreporter.write_line(f"not run, since they need a GPU (`pytest -m gpu`): {', '.join(names)}")
