"""A file a day, and none older than was promised."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

from cluster.daily_logs import DailyLogs
from policies.load import load_policies
from tests.edge.edges import Clock

DAY_S = 86400
NEW_YEAR = 1_798_761_600.0  # 2027-01-01T00:00Z


def logs_in(directory: Path, clock: Clock) -> DailyLogs:
    return DailyLogs(directory, timedelta(days=7), clock)


@contextmanager
def speaking(logs: DailyLogs) -> Iterator[IO[bytes]]:
    """What is written into it has arrived when the context ends."""
    reading, writing = os.pipe()
    following = logs.follow("edge", os.fdopen(reading, "rb"))
    with os.fdopen(writing, "wb", buffering=0) as child:
        yield child
    following.join(10)


def test_each_day_has_its_file_and_a_restart_goes_on_with_it(tmp_path: Path):
    clock = Clock(NEW_YEAR - 1)
    logs = logs_in(tmp_path, clock)
    for text in (b"one\n", b"two without an end"):
        with speaking(logs) as child:
            child.write(text)
    clock.advance(1)
    with speaking(logs) as child:
        child.write(b"three\n")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "edge-2026-12-31.log": b"one\ntwo without an end",
        "edge-2027-01-01.log": b"three\n",
    }
    assert logs.tail("edge", 12) == ("three", tmp_path / "edge-2027-01-01.log")


def test_no_line_is_kept_longer_than_the_time_even_where_nothing_is_written_any_more(tmp_path: Path):
    clock = Clock(NEW_YEAR)
    logs = logs_in(tmp_path, clock)
    with speaking(logs) as child:
        child.write(b"the first line of its day\n")
    clock.advance(7 * DAY_S - 1)
    logs.forget()
    assert len(list(tmp_path.iterdir())) == 1
    clock.advance(1)
    logs.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_else_stays(tmp_path: Path):
    (tmp_path / "notes.log").write_text("mine")
    logs_in(tmp_path, Clock(NEW_YEAR)).forget()
    assert (tmp_path / "notes.log").exists()


def test_a_child_does_not_stand_still_where_nothing_can_be_written(tmp_path: Path):
    with speaking(logs_in(tmp_path / "nowhere", Clock(NEW_YEAR))) as child:
        for _ in range(2000):
            child.write(b"x" * 99 + b"\n")  # more than a pipe holds


def test_the_policy_names_whole_days_which_is_what_files_of_a_day_can_keep():
    assert load_policies().retention.classes.logs.duration % timedelta(days=1) == timedelta()
