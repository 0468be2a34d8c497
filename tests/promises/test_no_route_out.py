"""Nothing is sent to anyone: a whole run works where no other machine can be reached, and nothing tries to reach one.

Ray Serve, edge, sweeper and the caller share a network namespace that has loopback and nothing else.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from cluster.home import free_port
from tests.promises.running import environment

ALONE = ("unshare", "--user", "--map-root-user", "--net", "--")
LIMIT_S = 180


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        subprocess.run([*ALONE, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("`unshare --user --net` is not permitted here")
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


def test_pages_load_and_link_nothing_from_elsewhere(seen: dict[str, Any]):
    assert "/privacy" in seen["pages"]
    for link in seen["linked"]:
        assert link.startswith("/"), link
        assert not link.startswith("//"), link
