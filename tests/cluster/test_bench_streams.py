"""D5 in small: real streams at a real edge, counted in memory and in statements."""

import pytest

from cluster.bench import streams
from cluster.bench.streams import measure_streams


async def test_streams_and_writes_of_a_picture_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STREAMS", 60), ("PER_JOB", 20), ("SETTLE_S", 0.1), ("JOBS", 3)):
        monkeypatch.setattr(streams, name, value)
    monkeypatch.setenv("SFUMATO_SECRET", "s" * 40)
    memory, writes = await measure_streams(1)
    assert memory.sides["all_open_s"][0] > 0
    assert 0 < writes.rounds[0] <= 6
    assert 0 < writes.sides["transactions"][0] <= writes.rounds[0]
