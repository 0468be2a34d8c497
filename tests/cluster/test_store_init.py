"""`sfumato store`, and who waits for what it does: the sweeper looks, and the edge is ready when the backstop holds."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from msgspec.structs import replace
from sqlalchemy.orm import Session

from cluster.edge_server import run_edge
from cluster.home import HomeError
from cluster.lifecycle import EACH_HOUR, sweep_once
from cluster.store_init import require_safe_store
from edge.domain.reports import RulesReport, read_report
from edge.gateway import RayServeGateway
from tests.edge.edges import Clock, Edge, make_edge
from tests.servers import S3Server
from tests.sweeping import parts_of

RULES = {"rules": EACH_HOUR["rules"]}


@pytest.fixture
def client(s3: S3Server) -> Minio:
    return s3.client()


@pytest.fixture
def env(s3: S3Server) -> Iterator[dict[str, str]]:
    with s3.bucket() as env:
        yield env


@pytest.fixture
def bucket(env: dict[str, str]) -> str:
    return env["SFUMATO_S3_BUCKET"]


@pytest.fixture
async def edge(tmp_path: Path, env: dict[str, str]) -> AsyncIterator[Edge]:
    async with make_edge(tmp_path, Clock(), env=env).opened() as edge:
        yield edge


def sfumato_store(command: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SFUMATO_")}
    return subprocess.run(
        [sys.executable, "-m", "cluster.cli", "store", command],
        env=environment | {"SFUMATO_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def rules(db: Session) -> RulesReport | None:
    return read_report(db, RulesReport)


async def look(edge: Edge) -> RulesReport:
    """As the sweeper does each hour."""
    assert (await sweep_once(parts_of(edge.services, edge.keys), RULES)).is_complete
    found = await edge.services.database.read(rules)
    assert found is not None
    return found


def test_init_says_what_was_wrong_and_what_holds_now(tmp_path: Path, env: dict[str, str], bucket: str):
    before, made, after = (sfumato_store(command, tmp_path, **env) for command in ("check", "init", "check"))
    assert (before.returncode, made.returncode, after.returncode) == (1, 0, 0)
    assert "missing: rule sfumato-img-1d: img/1d/, deletes after 1 d" in before.stdout
    assert f"bucket {bucket}: the backstop does not hold (differ)" in before.stdout
    assert f"bucket {bucket}: the store deletes img/1d/ after 1 d, img/2d/ after 2 d" in made.stdout
    assert made.stdout == after.stdout


def test_init_refuses_a_versioned_bucket(tmp_path: Path, env: dict[str, str], bucket: str, client: Minio):
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    ended = sfumato_store("init", tmp_path, **env)
    assert (ended.returncode, client.get_bucket_lifecycle(bucket)) == (1, None)
    assert "the bucket keeps versions (Enabled)" in ended.stdout
    for version in client.list_objects(bucket, recursive=True, include_version=True):
        client.remove_object(bucket, str(version.object_name), version_id=version.version_id)


def test_a_directory_has_no_rules_and_nothing_to_do(tmp_path: Path):
    for command in ("init", "check"):
        ended = sfumato_store(command, tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "it has no rules of its own" in ended.stdout


def test_a_server_that_is_down_is_one_line(tmp_path: Path, env: dict[str, str]):
    ended = sfumato_store("check", tmp_path, **env | {"SFUMATO_S3_URL": "http://127.0.0.1:9"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("sfumato: the object store does not answer")
    assert ended.stderr.count("\n") == 1


async def test_an_edge_on_s3_is_ready_when_the_sweeper_found_the_rules(
    edge: Edge, tmp_path: Path, env: dict[str, str], client: Minio, bucket: str
):
    unseen = await edge.client.get("/readyz")
    assert (unseen.status_code, unseen.json()["code"]) == (503, "not_ready")
    assert "is a sweeper running?" in unseen.text
    assert (await look(edge)).state == "differ"
    without = await edge.client.get("/readyz")
    assert (without.status_code, "sfumato store check" in without.text) == (503, True)
    await asyncio.to_thread(sfumato_store, "init", tmp_path, **env)
    assert (await look(edge)).state == "agree"
    assert (await edge.client.get("/readyz")).status_code == 200
    edge.clock.advance(86_400)
    assert (await edge.client.get("/readyz")).status_code == 200
    edge.clock.advance(1)
    stale = await edge.client.get("/readyz")
    assert (stale.status_code, "for a day: is a sweeper running?" in stale.text) == (503, True)
    client.delete_bucket_lifecycle(bucket)
    await look(edge)
    assert (await edge.client.get("/readyz")).status_code == 503


async def test_no_edge_starts_on_a_bucket_that_keeps_versions(
    edge: Edge, bucket: str, client: Minio, caplog: pytest.LogCaptureFixture
):
    settings, policies = edge.services.settings.store, edge.services.policies
    gateway = RayServeGateway("http://127.0.0.1:9", "s" * 32)
    await require_safe_store(settings, policies)
    await require_safe_store(replace(settings, s3_url="http://127.0.0.1:9"), policies)
    assert "whether the bucket is safe could not be asked" in caplog.text
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    with pytest.raises(HomeError, match=f"bucket {bucket}: the bucket keeps versions"):
        await run_edge(edge.services.settings, policies, "127.0.0.1", gateway)
    await gateway.close()
    for version in client.list_objects(bucket, recursive=True, include_version=True):
        client.remove_object(bucket, str(version.object_name), version_id=version.version_id)


async def test_a_store_that_does_not_answer_changes_no_report(edge: Edge, monkeypatch: pytest.MonkeyPatch):
    def silent(*_: object, **__: object) -> None:
        raise OSError("no route")

    before = await look(edge)
    monkeypatch.setattr("serve_app.storage.rules.open_client", silent)
    edge.clock.advance(3600)
    assert (await sweep_once(parts_of(edge.services, edge.keys), RULES)).left == ["rules"]
    assert await edge.services.database.read(rules) == before
