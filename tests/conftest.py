"""Servers shared by the whole run."""

from collections.abc import Iterator

import pytest

from tests.servers import S3Server, seaweedfs


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3, started by the first test that needs one."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server
