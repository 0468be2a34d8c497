import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.home import HomeError
from cluster.traces import keep_temporary_files
from tests.cluster.test_cli import ROOT

CHILD = """
import resource, subprocess, sys, tempfile
from pathlib import Path
from cluster.traces import forbid_core_dumps, keep_temporary_files
forbid_core_dumps()
tempfile.gettempdir()
keep_temporary_files(Path(sys.argv[1]))
print(tempfile.gettempdir())
print(resource.getrlimit(resource.RLIMIT_CORE))
print(subprocess.check_output(["sh", "-c", "ulimit -c; echo $TMPDIR"], text=True))
"""

LEAVES_SOMETHING = """
import os, sys, tempfile
from pathlib import Path
from cluster.traces import keep_temporary_files
keep_temporary_files(Path(sys.argv[1]))
tempfile.mkstemp(suffix=".half")
os.kill(os.getpid(), 9)
"""


def test_a_process_and_its_children_dump_no_core_and_keep_temporary_files_under_home(tmp_path: Path):
    said = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "home")],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split("\n")
    assert said[0] == said[3]
    assert Path(said[0]).parent == tmp_path / "home" / "tmp"
    assert said[1:3] == ["(0, 0)", "0"]
    assert (tmp_path / "home" / "tmp").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "home" / "tmp").iterdir()) == [], "they go with their process"


def test_what_a_killed_process_left_goes_when_the_next_one_starts(tmp_path: Path):
    killed = subprocess.Popen(
        [sys.executable, "-c", LEAVES_SOMETHING, str(tmp_path)], env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    )
    assert killed.wait(60) == -signal.SIGKILL
    [left] = (tmp_path / "tmp").rglob("*.half")
    mine = tmp_path / "tmp" / str(os.getppid())  # of a process that lives
    mine.mkdir()
    (tmp_path / "tmp" / "loose.file").write_text("of nobody")
    (tmp_path / "tmp" / "link").symlink_to(tmp_path)
    several = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.wait(60) for process in several] == [0] * 4
    assert not left.exists()
    assert list((tmp_path / "tmp").iterdir()) == [mine]
    assert tmp_path.exists()


def test_a_home_that_cannot_hold_them_is_one_line(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(HomeError, match="SFUMATO_HOME"):
        keep_temporary_files(tmp_path / "home")
