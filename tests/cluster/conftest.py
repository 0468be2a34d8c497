from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edge.edges import Clock, Edge, make_edge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock()).opened() as edge:
        yield edge
