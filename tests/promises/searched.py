"""Every place in which something of a caller could be written down, to be searched for what must not be there."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from valkey.asyncio import Valkey

from edge.db.rows import Base
from tests.edge.edges import Edge
from tests.sweeping import metrics_of


async def all_places(edge: Edge, lines: Sequence[object], answers: str) -> dict[str, bytes]:
    """`lines` of the log and `answers` as they were told. No place is empty: a search of nothing finds nothing."""
    store = edge.services.counter_store
    assert store
    places = {
        "the log": str(lines).encode(),
        "the answers": answers.encode(),
        "the database": await dumped(edge),
        "the shared store": await counted(store),
        "the files": below(edge.home),
        "the metrics": await metrics_of(edge.services, edge.keys),
    }
    assert all(places.values())
    return places


async def dumped(edge: Edge) -> bytes:
    """Every row of every table, as it is."""

    def dump(db: Session) -> list[object]:
        return [value for table in Base.metadata.sorted_tables for row in db.execute(select(table)) for value in row]

    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for value in await edge.services.database.read(dump)
    )


async def counted(store: Valkey) -> bytes:
    """Every key of the shared store with what it holds."""
    parts = list[bytes]()
    for name in await store.keys("*"):
        match await store.type(name):
            case b"string":
                held: object = await store.get(name)
            case b"zset":
                held = await store.zrange(name, 0, -1)
            case b"stream":
                held = await store.xrange(name)
            case kind:
                pytest.fail(f"{name}: this test reads no {kind}")
        parts += [name, held if isinstance(held, bytes) else repr(held).encode()]
    return b"\n".join(parts)


def below(home: Path) -> bytes:
    return b"\n".join(file.read_bytes() for file in home.rglob("*") if file.is_file() and "keys" not in file.parts)
