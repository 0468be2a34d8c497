"""The README against the code: every path it names exists, every route, setting, code and command is told."""

import re
from pathlib import Path

import pytest

import edge.errors
import serve_app.errors
from cluster.cli import app as command_line
from edge.errors import Refusal
from serve_app.errors import ServeError

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PACKAGES = ("policies", "serve_app", "edge", "cluster")


def python_text() -> str:
    return "\n".join(file.read_text("utf-8") for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def test_it_is_short():
    assert len(README.splitlines()) <= 250


def test_every_path_it_names_exists():
    named = re.findall(r"`((?:policies|serve_app|edge|cluster|tests)/[\w./-]*)`", README)
    assert named
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_every_top_level_directory_with_code_is_on_the_map():
    for package in (*PACKAGES, "tests"):
        assert f"`{package}/`" in README


def test_every_setting_is_told_and_every_told_setting_is_read():
    read = set(re.findall(r'"(SFUMATO_[A-Z0-9_]+)"', python_text()))
    told = set(re.findall(r"`(SFUMATO_[A-Z0-9_]+)`", README))
    assert read == told


def test_every_error_code_is_told():
    codes = {kind.code for kind in every_kind(ServeError)} - {ServeError.code}
    codes |= {kind.code for kind in every_kind(Refusal)}
    codes |= set(edge.errors.MESSAGES)
    missing = sorted(code for code in codes if f"`{code}`" not in README)
    assert not missing


def every_kind(root: type[Exception]) -> list[type]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_kind(child))]


def test_the_trees_in_the_docstrings_name_every_error():
    for module, root in ((serve_app.errors, ServeError), (edge.errors, Refusal)):
        for kind in every_kind(root):
            assert kind.__name__ in (module.__doc__ or "")


@pytest.mark.parametrize("command", ["up", "edge", "serve", "sweep", "policies"])
def test_every_command_is_told(command: str):
    assert f"`sfumato {command}" in README
    assert command in command_line
