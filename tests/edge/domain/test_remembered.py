"""What is remembered of credentials: for half a second, no more of them than there is room for, and no bad one."""

import asyncio

import pytest
from sqlalchemy.orm import Session

from edge.db.database import Work
from edge.domain.remembered import REMEMBERED_S, Remembered
from tests.edge.edges import Edge


class Rows:
    """What is good, each with its word; what was asked of them, and whose use was noted."""

    def __init__(self) -> None:
        self.words = {b"a": "alpha", b"b": "beta"}
        self.asked: list[bytes] = []
        self.noted: list[str] = []
        self.is_used_today = False

    def find(self, _: Session, digest: bytes, now: float) -> tuple[str, bool] | None:
        self.asked.append(digest)
        word = self.words.get(digest)
        return None if word is None else (word, self.is_used_today)

    def note_use(self, _: Session, word: str, now: float) -> None:
        self.noted.append(word)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def remembered(edge: Edge, rows: Rows) -> Remembered[str]:
    return Remembered(edge.services.database, rows.find, rows.note_use, edge.clock)


async def test_a_good_one_is_looked_up_once_in_its_time(remembered: Remembered[str], rows: Rows, edge: Edge) -> None:
    assert [await remembered.find(b"a") for _ in range(3)] == ["alpha"] * 3
    assert rows.asked == [b"a"]
    del rows.words[b"a"]
    edge.clock.advance(REMEMBERED_S)
    assert await remembered.find(b"a") is None
    assert rows.asked == [b"a", b"a"]


async def test_a_bad_one_is_looked_up_each_time(remembered: Remembered[str], rows: Rows) -> None:
    assert [await remembered.find(b"x") for _ in range(3)] == [None] * 3
    assert rows.asked == [b"x"] * 3


async def test_a_use_is_noted_unless_it_was_today(remembered: Remembered[str], rows: Rows, edge: Edge) -> None:
    await remembered.find(b"a")
    edge.clock.advance(REMEMBERED_S)
    rows.is_used_today = True
    await remembered.find(b"a")
    assert rows.noted == ["alpha"]


async def test_who_is_forgotten_is_looked_up_and_nobody_else(remembered: Remembered[str], rows: Rows) -> None:
    await remembered.find(b"a")
    await remembered.find(b"b")
    remembered.forget(lambda word: word == "alpha")
    await remembered.find(b"a")
    await remembered.find(b"b")
    assert rows.asked == [b"a", b"b", b"a"]


async def test_a_clock_that_was_set_back_makes_nobody_good(remembered: Remembered[str], rows: Rows, edge: Edge) -> None:
    await remembered.find(b"a")
    edge.clock.advance(-3600)
    await remembered.find(b"a")
    assert rows.asked == [b"a", b"a"]


async def test_what_opens_something_lies_in_memory_no_longer_than_it_is_of_use(
    remembered: Remembered[str], edge: Edge
) -> None:
    await remembered.find(b"a")
    edge.clock.advance(REMEMBERED_S)
    await remembered.find(b"b")
    assert list(vars(remembered)["_good"]) == [b"b"]


async def test_who_was_good_here_is_no_stranger_until_a_look_says_otherwise(
    remembered: Remembered[str], rows: Rows, edge: Edge
) -> None:
    assert remembered.is_strange(b"a")
    await remembered.find(b"a")
    await remembered.find(b"x")
    edge.clock.advance(3600)
    await remembered.find(b"b")
    assert [remembered.is_strange(digest) for digest in (b"a", b"b", b"x")] == [False, False, True]
    del rows.words[b"a"]
    await remembered.find(b"a")
    assert remembered.is_strange(b"a")


async def test_there_is_room_for_so_many_and_the_oldest_give_way(edge: Edge, rows: Rows) -> None:
    remembered = Remembered(edge.services.database, rows.find, rows.note_use, edge.clock, most=2)
    rows.words[b"c"] = "gamma"
    for digest in (b"a", b"b", b"c", b"b", b"a"):
        await remembered.find(digest)
    assert rows.asked == [b"a", b"b", b"c", b"a"]


async def test_an_answer_that_came_late_is_no_longer_good_than_its_question(
    edge: Edge, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's answer stands before it, and is younger."""
    remembered = Remembered(edge.services.database, rows.find, rows.note_use, edge.clock)
    read, looked, late = edge.services.database.read, asyncio.Event(), asyncio.Event()

    async def slow(work: Work[tuple[str, bool] | None]) -> tuple[str, bool] | None:
        found = await read(work)
        if rows.asked[-1:] == [b"a"]:
            looked.set()
            await late.wait()
        return found

    monkeypatch.setattr(edge.services.database, "read", slow)
    looking = asyncio.create_task(remembered.find(b"a"))
    await looked.wait()
    edge.clock.advance(REMEMBERED_S + 1)
    assert await remembered.find(b"b") == "beta"
    late.set()
    assert await looking == "alpha"
    del rows.words[b"a"]
    assert await remembered.find(b"a") is None
