"""`make install` on machines that lack something: one line that says what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def stub(file: Path, script: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def install(directory: Path, *, pip_config: str, free_kib: int) -> subprocess.CompletedProcess[str]:
    """Where an environment is there, whose python answers for pip and installs nothing."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, directory)
    stub(directory / ".venv" / "bin" / "pip", "")
    stub(directory / ".venv" / "bin" / "python", f'case "$*" in *config*) echo "{pip_config}";; esac')
    stub(directory / "bin" / "df", f"echo head; echo disk 1 1 {free_kib} 1% /")
    env = os.environ | {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(["make", "install"], cwd=directory, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("pip_config", "is_enough"),
    [
        ("", False),
        ("global.index-url='https://pypi.example/simple'", False),
        ("global.extra-index-url='https://torch.example/whl/cpu'", True),
        (":env:.find-links='/somewhere'", True),
    ],
)
def test_five_gigabytes_are_enough_only_where_torch_comes_without_cuda(
    tmp_path: Path, pip_config: str, is_enough: bool
):
    ended = install(tmp_path, pip_config=pip_config, free_kib=5_000_000)
    assert (ended.returncode == 0) == is_enough
    assert is_enough or ended.stderr.startswith("less than 8 GB are free here: make room for the environment")


def test_two_gigabytes_are_never_enough(tmp_path: Path):
    ended = install(tmp_path, pip_config="find-links='/somewhere'", free_kib=2_000_000)
    assert ended.stderr.startswith("less than 3 GB are free here")
