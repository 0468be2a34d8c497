"""D5 in small: real streams at a real edge, counted in memory and in statements."""

import asyncio
import os

import pytest

from cluster.bench import streams
from cluster.bench.edge_cost import Server
from cluster.bench.streams import measure_streams

STREAMS = 300
BELIEVABLE_KIB = range(10, 100)  # of a stream: a task, a channel, a connection; so few share what all cost together


async def test_streams_and_writes_of_a_picture_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STREAMS", STREAMS), ("PER_JOB", 20), ("SETTLE_S", 0.1), ("JOBS", 3)):
        monkeypatch.setattr(streams, name, value)
    monkeypatch.setenv("SFUMATO_SECRET", "s" * 40)
    memory, writes = await measure_streams(1)
    assert int(memory.rounds[0]) in BELIEVABLE_KIB
    assert memory.sides["stream_kib"] == memory.rounds
    assert str(STREAMS) in memory.what
    assert 0 < memory.sides["all_open_s"][0] < streams.OPEN_LIMIT_S
    assert 0 < writes.rounds[0] <= 6
    assert 0 < writes.sides["transactions"][0] <= writes.rounds[0]


async def test_streams_that_never_speak_end_with_whoever_gives_them_up() -> None:
    """Their listeners wait for a first word, and hear nothing else."""
    opened, left = asyncio.Event(), asyncio.Event()

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.set()
        while await reader.read(1024):
            pass
        writer.close()
        left.set()

    async with await asyncio.start_server(says_nothing, "127.0.0.1", 0) as silent, asyncio.timeout(60):
        listening = asyncio.create_task(listened(silent))
        await opened.wait()
        listening.cancel()  # as at the end of OPEN_LIMIT_S
        with pytest.raises(asyncio.CancelledError):
            await listening
        await left.wait()


async def test_streams_that_end_at_once_are_no_measurement() -> None:
    async def ends(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(ends, "127.0.0.1", 0) as mute, asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="did not open"):
            await listened(mute)


async def listened(server: asyncio.Server) -> None:
    port = server.sockets[0].getsockname()[1]
    async with streams._listening(Server(f"http://127.0.0.1:{port}", os.getpid(), 0), ["/events"], "x", 1):
        pytest.fail("a stream was opened")
