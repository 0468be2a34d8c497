"""One edge per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient

from tests.edge.edges import BASE_URL, Clock, Edge, make_edge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = make_edge(tmp_path, Clock())
    async with AsyncTestClient(edge.app, base_url=BASE_URL) as client:
        edge.client = client
        yield edge
