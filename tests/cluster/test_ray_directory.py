"""Where Ray's files lie, and what a Ray that was killed left there."""

import os
from pathlib import Path

from cluster.ray_directory import MAX_BYTES, ray_directory

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
