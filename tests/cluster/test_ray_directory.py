"""Where Ray's files lie, and what a Ray that was killed left there."""

import os
from pathlib import Path

import pytest

from cluster.ray_directory import MAX_BYTES, empty_logs, ray_directory

NEVER_A_PROCESS = 2**22 + 1
BEGAN = "session_2026-11-24_06-44-48_558904"


def test_however_long_homes_path_is_ray_gets_a_short_one(tmp_path: Path):
    home = tmp_path / ("long" * 20)
    with ray_directory(home) as directory:
        (directory / "written").touch()
        assert len(str(directory)) <= MAX_BYTES
    assert (home / "ray" / "written").exists()
    assert not directory.exists()


def test_sessions_of_processes_that_are_gone_are_removed_and_others_stay(tmp_path: Path):
    alive, dead = (tmp_path / "ray" / f"{BEGAN}_{process}" for process in (os.getpid(), NEVER_A_PROCESS))
    for session in (alive, dead):
        (session / "logs").mkdir(parents=True)
    (tmp_path / "ray" / "session_latest").symlink_to(alive)
    with ray_directory(tmp_path):
        assert {file.name for file in (tmp_path / "ray").iterdir()} == {alive.name, "session_latest"}


@pytest.mark.parametrize(("status", "is_left"), [(None, False), (0, False), (1, True)])
def test_its_own_session_goes_with_it_unless_it_ended_with_an_error(tmp_path: Path, status: int | None, is_left: bool):
    own = tmp_path / "ray" / f"{BEGAN}_{os.getpid()}"
    (own / "logs").mkdir(parents=True)
    with pytest.raises(SystemExit), ray_directory(tmp_path):
        raise SystemExit(status)
    assert own.exists() == is_left


def test_logs_that_are_held_open_are_emptied_and_go_on(tmp_path: Path):
    log = tmp_path / f"{BEGAN}_1" / "logs" / "serve" / "controller.log"
    log.parent.mkdir(parents=True)
    with log.open("ab", buffering=0) as held:
        held.write(b"old")
        empty_logs(tmp_path)
        held.write(b"new")
    assert log.read_bytes() == b"new"
