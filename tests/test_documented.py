"""The README against the code: every path it names exists, every route, setting, code and command is told."""

import re
from collections.abc import Iterator
from pathlib import Path

from litestar.routes import HTTPRoute

import edge.errors
import serve_app.errors
from cluster.cli import app as command_line
from edge.errors import Refusal
from serve_app.errors import ServeError
from tests.edge.edges import Clock, make_edge

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


def test_every_file_it_names_by_name_alone_exists():
    there = {file.name for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()}
    there |= {file.name for file in ROOT.iterdir()}
    assert set(re.findall(r"`([\w-]+\.(?:py|toml|yaml|md))`", README)) <= there


def test_every_route_is_told_and_every_told_route_is_there(tmp_path: Path):
    app = make_edge(tmp_path, Clock()).app
    there = {
        (method, without_names(route.path_format))
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path_format.startswith(("/static", "/schema"))
        for method in set(route.methods) - {"OPTIONS"}
    }
    assert set(told_routes()) - {("GET", "/schema/openapi.json")} == there


def told_routes() -> Iterator[tuple[str, str]]:
    """`GET`, `DELETE /path` is two routes."""
    for row in re.findall(r"^\| (`(?:GET|POST|DELETE).*?) \|", README, re.MULTILINE):
        methods: list[str] = []
        for method, path in re.findall(r"`([A-Z]+)(?: (/[^`]*))?`", row):
            methods.append(method)
            if path:
                yield from ((each, without_names(path)) for each in methods)
                methods = []


def without_names(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def test_every_setting_is_told_and_every_told_setting_is_read():
    read = set(re.findall(r'"(SFUMATO_[A-Z0-9_]+)"', python_text()))
    told = set(re.findall(r"`(SFUMATO_[A-Z0-9_]+)`", README))
    assert read == told


def test_every_error_code_is_told_and_every_told_code_is_there():
    codes = {kind.code for kind in every_kind(ServeError)}
    codes |= {kind.code for kind in every_kind(Refusal)}
    codes |= set(edge.errors.MESSAGES)
    codes |= set(re.findall(r'\bcode(?:: str)? ?= ?"([a-z_]+)"', python_text()))  # those of BadInput
    codes -= {ServeError.code}  # only the root of the others has it
    [table] = re.findall(r"^\| whose \| codes \|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", table)) == codes


def every_kind(root: type[Exception]) -> list[type]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_kind(child))]


def test_the_trees_in_the_docstrings_name_every_error():
    for module, root in ((serve_app.errors, ServeError), (edge.errors, Refusal)):
        for kind in every_kind(root):
            assert kind.__name__ in (module.__doc__ or "")


def test_every_command_is_told():
    commands = {name for name in command_line if not name.startswith("-")}
    assert {"up", "edge", "serve"} <= commands
    missing = [name for name in commands if f"`sfumato {name}" not in README]
    assert not missing


def test_every_target_of_make_is_told():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    assert [target for target in targets if f"make {target}" not in README] == []
