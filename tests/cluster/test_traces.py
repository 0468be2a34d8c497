import os
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


def test_a_process_and_its_children_dump_no_core_and_keep_temporary_files_under_home(tmp_path: Path):
    said = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "home")],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split("\n")
    assert said[:4] == [f"{tmp_path}/home/tmp", "(0, 0)", "0", f"{tmp_path}/home/tmp"]
    assert (tmp_path / "home" / "tmp").stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_hold_them_is_one_line(tmp_path: Path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(HomeError, match="SFUMATO_HOME"):
        keep_temporary_files(tmp_path / "home")
