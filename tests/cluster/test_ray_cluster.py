"""The cluster file, read by Ray's own loader."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

FILE = Path(__file__).parents[2] / "ray-cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def test_rays_own_loader_accepts_it(cluster: dict[str, Any]):
    validate_config(cluster)
    prepared = prepare_config(cluster)
    assert prepared["provider"]["type"] == "local"
    assert prepared["max_workers"] == 2


def test_every_node_starts_with_token_authentication_and_a_private_dashboard(cluster: dict[str, Any]):
    head, worker = cluster["head_start_ray_commands"][-1], cluster["worker_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head


def test_it_holds_no_secret():
    assert "RAY_AUTH_TOKEN=" not in FILE.read_text()
    assert "SECRET=" not in FILE.read_text()
