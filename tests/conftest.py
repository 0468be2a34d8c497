"""Servers shared by the whole run, and what the run says about tests that it left out."""

import os
from collections.abc import Generator, Iterator, Sequence

import pytest

from tests.servers import S3Server, seaweedfs

GPU_TESTS = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3, started by the first test that needs one."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


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


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu"):
            item.config.stash[GPU_TESTS].append(item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if names := config.stash[GPU_TESTS]:
        terminalreporter.write_line(f"not run, since they need a GPU (`pytest -m gpu`): {', '.join(names)}")
