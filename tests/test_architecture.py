"""The house as it is drawn: which file may know which, and where a broad except stands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["policies", "serve_app", "edge", "cluster"]
EDGE_SEES = {"contract", "errors", "storage", "encode", "marks"}
LAZY = "cluster/cli.py"  # imports inside its commands, so that each runs without the others' libraries

# library -> where it may be imported
PLACES = {
    "torch": ("serve_app/pipelines/", "serve_app/embedded/", "serve_app/safety.py"),
    "diffusers": ("serve_app/pipelines/", "serve_app/embedded/"),
    "ray": ("serve_app/replica.py", "cluster/"),
    "stripe": ("edge/domain/billing.py",),
    "onnxruntime": ("edge/domain/moderation/meaning_worker.py", "serve_app/safety.py"),
    "tokenizers": ("edge/domain/moderation/meaning_worker.py",),
    "minio": ("serve_app/storage/",),
    "litestar": ("edge/", "cluster/compose_edge.py", "cluster/operator_app.py", "cluster/bench/edge_apps.py"),
}

# every broad except, by file and function, with what it must outlive
BROAD = {
    ("edge/db/database.py", "_empty_log"): "raised again; a connection of which nothing is known is not used again",
    ("serve_app/engine.py", "_denoise"): "the loop outlives whatever a row does",
    ("serve_app/engine.py", "_step_each_alone"): "one request's failure is not the others'",
    ("serve_app/engine.py", "_can_step"): "a dead device may raise anything",
    ("serve_app/delivery.py", "images"): "a decoder may raise anything; the callers must hear of it",
    ("serve_app/delivery.py", "_finish"): "an encoder may raise anything; the caller must hear of it",
    ("serve_app/ranked_pool.py", "run"): "whoever submitted the work gets its error",
    ("serve_app/safety.py", "score"): "a classifier that raises, whatever it is, has found no picture harmless",
    ("serve_app/replica.py", "__call__"): "an exception's text must not reach Ray's own logs",
    ("serve_app/replica.py", "_frames"): "an exception's text must not reach Ray's own logs",
    ("edge/db/database.py", "_write_together"): "every writer of a shared transaction hears how it ended",
    ("edge/db/database.py", "_write_alone"): "the writer that asked gets the error",
    ("edge/domain/conduct.py", "conduct"): "whatever the generator raises, the job ends in one final state",
    ("edge/domain/conduct.py", "_end"): "listeners hear of the end even where the database does not take it",
    ("edge/domain/runs.py", "_tick_for_ever"): "leases are renewed again even when one renewal failed",
    ("edge/domain/shared_events.py", "_unending"): "other edges are heard again, whatever one message did",
    ("edge/domain/leader.py", "_asked"): "work that nobody does is worse than work done twice",
    ("cluster/sweep.py", "item"): "one item that cannot go keeps no other from going",
}


def sources() -> list[Path]:
    return sorted(file for package in ORDER for file in (ROOT / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> Iterator[str]:
    """Dotted names of everything a file imports, function-local imports included."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{name_of(file)} imports relatively"
            assert not node.level, f"{name_of(file)} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", sources(), ids=name_of)
def test_imports_go_one_way(file: Path):
    own = ORDER.index(file.relative_to(ROOT).parts[0])
    for name in imports(file):
        package, _, rest = name.partition(".")
        if package in ORDER:
            assert ORDER.index(package) <= own, f"{name_of(file)} imports {name}"
        if ORDER[own] == "edge" and package == "serve_app" and rest:
            assert rest.split(".")[0] in EDGE_SEES, f"{name_of(file)} imports {name}"


@pytest.mark.parametrize("file", sources(), ids=name_of)
def test_heavy_libraries_stay_in_their_places(file: Path):
    for name in imports(file):
        places = PLACES.get(name.partition(".")[0])
        if places is not None:
            assert name_of(file).startswith(places), f"{name_of(file)} imports {name}"


def test_no_import_cycle():
    modules = {
        name_of(file).removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in sources()
    }
    graph = {module: {name for name in imports(file) if name in modules} - {module} for module, file in modules.items()}
    while leaves := {module for module, needs in graph.items() if not needs}:
        graph = {module: needs - leaves for module, needs in graph.items() if module not in leaves}
    assert not graph, f"in a cycle, or above one: {sorted(graph)}"


def test_only_the_command_line_imports_inside_functions():
    for file in sources():
        tree = ast.parse(file.read_text("utf-8"))
        inside = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and n not in tree.body]
        assert not inside or name_of(file) == LAZY, name_of(file)


def test_every_broad_except_is_known():
    found = {place for file in sources() for place in broad_excepts(file)}
    assert found == set(BROAD)


def broad_excepts(file: Path) -> Iterator[tuple[str, str]]:
    """By the function around it, `<module>` outside of any; `suppress(Exception)` is one too."""
    yield from _broad_in(ast.parse(file.read_text("utf-8")), name_of(file), "<module>")


def _broad_in(node: ast.AST, file: str, function: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        inside = child.name if is_function else function
        if _is_broad(child):
            yield file, inside
        yield from _broad_in(child, file, inside)


def _is_broad(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=ast.expr() as caught):
            return _names_everything([caught])
        case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=caught):
            return _names_everything(caught)
        case _:
            return False


def _names_everything(caught: list[ast.expr]) -> bool:
    names = (node for each in caught for node in ast.walk(each))
    return any(isinstance(node, ast.Name) and node.id in {"Exception", "BaseException"} for node in names)


@pytest.mark.parametrize(
    "broad",
    [
        "try: f()\nexcept: pass",
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept (OSError, BaseException): pass",
        "with suppress(ValueError, Exception): f()",
        "with contextlib.suppress(Exception): f()",
    ],
)
def test_no_spelling_of_a_broad_except_is_missed(broad: str):
    assert list(_broad_in(ast.parse(broad), "a.py", "<module>")) == [("a.py", "<module>")]
    inside = "def g():\n" + "\n".join(f"    {line}" for line in broad.split("\n"))
    assert list(_broad_in(ast.parse(inside), "a.py", "<module>")) == [("a.py", "g")]
