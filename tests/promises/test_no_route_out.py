"""Nothing is sent to anyone: a whole run works where no other machine can be reached, and nothing tries to reach one.

Ray Serve, edge, sweeper and the caller share a network namespace that has loopback and nothing else.
"""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from cluster.home import free_port
from tests.promises.running import environment
from tests.promises.test_places import HOLDS_NO_SUBJECT, places

ALONE = ("unshare", "--user", "--map-root-user", "--net", "--")
LIMIT_S = 180


@pytest.fixture(scope="module")
def permitted() -> None:
    try:
        subprocess.run([*ALONE, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("`unshare --user --net` is not permitted here")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, permitted: None) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.promises.alone", str(tmp_path_factory.mktemp("alone")), str(free_port())]
    ended = subprocess.run(
        [*ALONE, *command], env=environment(), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


def test_a_picture_is_made_and_fetched_without_a_route_out(seen: dict[str, Any]):
    assert (seen["interfaces"], seen["routes"]) == (["lo"], 0)
    assert bytes(seen["picture"]) == b"\x89PNG"
    assert seen["left"] == 0


def test_nothing_even_tried_to_leave_the_machine(seen: dict[str, Any]):
    assert seen["tried to leave"] == 0


@pytest.mark.parametrize(("family", "address"), [("AF_INET", "192.0.2.1"), ("AF_INET6", "2001:db8::1")])
def test_one_who_tries_is_counted(family: str, address: str, permitted: None):
    tries = f"""
import contextlib, socket
from tests.promises.alone import packets_without_a_route, raise_loopback
raise_loopback()
with socket.socket(socket.{family}) as one, contextlib.suppress(OSError):
    one.connect(("{address}", 443))
print(packets_without_a_route())
"""
    ended = subprocess.run([*ALONE, sys.executable, "-c", tries], env=environment(), capture_output=True, check=True)
    assert int(ended.stdout) > 0


def test_all_that_lies_in_home_while_it_runs_is_in_a_class(seen: dict[str, Any]):
    for name in seen["kept in home"]:
        assert re.sub(r"-(wal|shm)$", "", name) in {*places("files"), *HOLDS_NO_SUBJECT}


def test_pages_load_and_link_nothing_from_elsewhere(seen: dict[str, Any]):
    assert "/privacy" in seen["pages"]
    for link in seen["linked"]:
        assert link.startswith("/"), link
        assert not link.startswith("//"), link
