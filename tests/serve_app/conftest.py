"""An engine that runs until the test ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.serve_app.engine_rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "objects")
    rig.start()
    yield rig
    rig.pipeline.gate.set()
    await rig.engine.close()
