"""The command as a process: its answers, its mistakes, its exit status."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.home import free_port
from policies.load import load_policies

ROOT = Path(__file__).parents[2]
SECRETS = {"SFUMATO_SECRET": "s" * 40, "SFUMATO_SERVE_SECRET": "t" * 40}


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SFUMATO_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def sfumato(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", *arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(*arguments: str, cwd: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "cluster.cli", *arguments]
    impatience = threading.Timer(60, lambda: process.kill())
    with subprocess.Popen(command, cwd=cwd, env=environment(**env), stderr=subprocess.PIPE, text=True) as process:
        impatience.start()
        yield process
        impatience.cancel()
        process.kill()


def test_policies_check_reads_the_shipped_files(tmp_path: Path):
    ended = sfumato("policies", "check", cwd=tmp_path)
    assert ended.returncode == 0
    assert "sfumato-embedded: digest " in ended.stdout
    assert "all agree" in ended.stdout


def test_a_broken_policy_is_one_line_with_its_path(tmp_path: Path):
    for file in (ROOT / "policies").glob("*.toml"):
        (tmp_path / file.name).write_text(file.read_text().replace("max_images = 10", "max_images = 0"))
    ended = sfumato("policies", "check", str(tmp_path), cwd=tmp_path)
    assert ended.returncode == 2
    assert "plans.toml" in ended.stderr
    assert "max_images" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_names_every_command(tmp_path: Path):
    told = sfumato("--help", cwd=tmp_path).stdout
    assert all(command in told for command in ("up", "edge", "serve", "sweep", "policies"))


def test_an_edge_without_its_secret_says_which_and_stops(tmp_path: Path):
    ended = sfumato("edge", cwd=tmp_path)
    assert ended.returncode == 2
    assert "SFUMATO_SECRET" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_edge_that_asks_ray_serve_says_that_it_lacks_the_bearer(tmp_path: Path):
    ended = sfumato("edge", cwd=tmp_path, SFUMATO_SECRET="s" * 40)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "SFUMATO_SERVE_SECRET" in ended.stderr


def test_an_edge_that_draws_by_itself_asks_for_no_secret_of_replicas(tmp_path: Path):
    ended = sfumato("edge", "--in-process", cwd=tmp_path, SFUMATO_SECRET="s" * 40, SFUMATO_MODELS="no-such-model")
    assert ended.returncode == 2
    assert "no-such-model" in ended.stderr
    assert "SFUMATO_SERVE_SECRET" not in ended.stderr


@pytest.mark.parametrize("token", ["", "o" * 32])
def test_the_sweeper_tells_what_it_swept_with_and_without_metrics(tmp_path: Path, token: str):
    operator = {"SFUMATO_OPERATOR_TOKEN": token, "SFUMATO_OPERATOR_PORT": str(free_port())}
    with running("sweep", cwd=tmp_path, SFUMATO_HOME=str(tmp_path), **SECRETS, **operator) as sweeper:
        assert sweeper.stderr is not None
        lines = map(json.loads, sweeper.stderr)
        swept = next(line for line in lines if line["logger"] == "cluster.lifecycle")
    assert swept["event"].startswith("swept nothing in ")


def test_up_on_a_port_in_use_is_one_line_and_starts_nothing(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = sfumato("up", "--no-ray", "--port", port, cwd=tmp_path)
    assert ended.returncode == 2
    assert (
        ended.stderr.strip()
        == f"sfumato: port {port} is in use: stop what listens there, or set SFUMATO_PORT or --port"
    )
    assert list(tmp_path.iterdir()) == []


def test_serve_names_a_model_that_no_policy_offers(tmp_path: Path):
    ended = sfumato("serve", cwd=tmp_path, SFUMATO_SERVE_SECRET="x" * 32, SFUMATO_MODELS="sfumato-embedded,other")
    assert (ended.returncode, ended.stderr) == (2, "sfumato: SFUMATO_MODELS names other, which models.toml lacks\n")


def test_a_word_as_port_is_one_line(tmp_path: Path):
    ended = sfumato("up", cwd=tmp_path, SFUMATO_PORT="http")
    assert (ended.returncode, ended.stderr) == (2, "sfumato: SFUMATO_PORT is not a port: 'http'\n")


def test_policies_diff_ends_with_1_where_a_promise_is_loosened_and_nobody_said_that_is_meant(tmp_path: Path):
    for file in (ROOT / "policies").glob("*.toml"):
        (tmp_path / file.name).write_text(file.read_text().replace('default = "PT1H"', 'default = "PT2H"'))
    shipped = str(ROOT / "policies")
    silent = sfumato("policies", "diff", shipped, str(tmp_path), "--accept", cwd=tmp_path)
    assert silent.returncode == 2
    assert (
        silent.stdout
        == "loosens, for callers of the plan `anonymous`: images live 2 hours unless told, instead of 1 hour\n"
    )
    version = load_policies().plans.version
    assert f"raise `version` above {version} and say so in `changes`" in silent.stderr

    plans = (tmp_path / "plans.toml").read_text().replace(f"version = {version}", f"version = {version + 1}", 1)
    told = f'[[changes]]\nversion = {version + 1}\ndate = 2026-12-01\nsummary = "Longer."\n\n[traffic.anonymous]'
    (tmp_path / "plans.toml").write_text(plans.replace("[traffic.anonymous]", told))
    loosened = sfumato("policies", "diff", shipped, str(tmp_path), cwd=tmp_path)
    assert loosened.returncode == 1
    assert "loosens, for callers of the plan `anonymous`: images live 2 hours unless told" in loosened.stdout
    assert sfumato("policies", "diff", shipped, str(tmp_path), "--accept", cwd=tmp_path).returncode == 0
    assert sfumato("policies", "diff", str(tmp_path), shipped, cwd=tmp_path).returncode == 2  # history lost


def test_a_preset_is_a_whole_set_of_policies_that_holds_together(tmp_path: Path):
    assert sfumato("policies", "preset", "european", "mine", cwd=tmp_path).returncode == 0
    assert "all agree" in sfumato("policies", "check", "mine", cwd=tmp_path).stdout
    again = sfumato("policies", "preset", "european", "mine", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")


PROBE = """
import logging, resource, sys
from cluster import cli
@cli.app.command
def probe():
    logging.getLogger("urllib3.connectionpool").warning("Retrying /bucket/training/%s", "a-key")
    print(resource.getrlimit(resource.RLIMIT_CORE))
sys.argv = ["sfumato", "probe"]
cli.main()
"""


def test_no_command_dumps_core_or_logs_the_words_of_a_library(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout == "(0, 0)\n"
    assert "urllib3" in ended.stderr
    assert "a-key" not in ended.stderr
