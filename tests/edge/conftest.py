"""One edge per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edge.edges import Clock, Edge, make_edge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        yield edge


@pytest.fixture
async def edge_on_each_database(tmp_path: Path, database_url: str) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env={"SFUMATO_DATABASE_URL": database_url}).opened() as edge:
        yield edge
