"""Lifecycle rules on a real S3: installed, compared, and what is wrong with a bucket is said."""

import json
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import urllib3
from minio import Minio
from minio.commonconfig import DISABLED, ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.versioningconfig import VersioningConfig

from policies.load import load_policies
from policies.publish import lifecycle_rules
from serve_app.errors import StoreUnavailable
from serve_app.storage.rules import RulesFound, install_rules, verify_rules
from serve_app.storage.store import StoreSettings
from tests.servers import S3Server, free_ports

WANTED = lifecycle_rules(load_policies())


@pytest.fixture
def client(s3: S3Server) -> Minio:
    return s3.client()


@pytest.fixture
def settings(s3: S3Server, client: Minio, tmp_path: Path) -> Iterator[StoreSettings]:
    """Of a bucket of its own."""
    made = settings_for(s3, f"t{uuid.uuid4().hex}", tmp_path)
    client.make_bucket(made.bucket)
    yield made
    assert list(client.list_objects(made.bucket, recursive=True)) == [], "asking left something behind"
    client.remove_bucket(made.bucket)


def settings_for(server: S3Server, bucket: str, directory: Path) -> StoreSettings:
    return StoreSettings(
        directory=directory,
        s3_url=server.url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        bucket=bucket,
    )


def rule(prefix: str, days: int, *, name: str = "theirs", status: str = ENABLED) -> Rule:
    return Rule(status, rule_filter=Filter(prefix=prefix), rule_id=name, expiration=Expiration(days=days))


def installed(client: Minio, bucket: str) -> dict[str, int | None]:
    config = client.get_bucket_lifecycle(bucket)
    assert config is not None
    return {found.rule_filter.prefix: found.expiration.days for found in config.rules if found.expiration}


def said(found: RulesFound) -> str:
    return "\n".join(found.findings)


async def test_the_rules_of_the_policy_are_installed_and_agree(settings: StoreSettings, client: Minio):
    before = await verify_rules(settings, WANTED)
    assert before.state == "differ"
    assert "missing: rule sfumato-img-1d: img/1d/, deletes after 1 d" in said(before)
    assert (await install_rules(settings, WANTED)) == RulesFound(state="agree", findings=[])
    assert (await verify_rules(settings, WANTED)) == RulesFound(state="agree", findings=[])
    assert installed(client, settings.bucket) == {wanted.prefix: wanted.days for wanted in WANTED}


async def test_a_rule_that_someone_changed_is_found_and_mended(settings: StoreSettings, client: Minio):
    await install_rules(settings, WANTED)
    config = client.get_bucket_lifecycle(settings.bucket)
    assert config is not None
    others = [found for found in config.rules if found.rule_id != "sfumato-img-1d"]
    for changed in (rule("img/1d/", 9, name="sfumato-img-1d"), rule("img/1d/", 1, status=DISABLED)):
        client.set_bucket_lifecycle(settings.bucket, LifecycleConfig([changed, *others]))
        assert (await verify_rules(settings, WANTED)).state == "differ"
        assert (await install_rules(settings, WANTED)).state == "agree"


async def test_a_foreign_rule_is_kept_and_named(settings: StoreSettings, client: Minio):
    client.set_bucket_lifecycle(settings.bucket, LifecycleConfig([rule("logs/", 7)]))
    found = await install_rules(settings, WANTED)
    assert found.state == "agree"
    assert "kept, though not of this policy: rule theirs: logs/, deletes after 7 d" in found.findings
    assert installed(client, settings.bucket)["logs/"] == 7


@pytest.mark.parametrize(("prefix", "days"), [("img/8d/", 3), ("im", 2), ("img/31d/2026", 1)])
async def test_a_foreign_rule_that_deletes_too_soon_is_a_difference(
    settings: StoreSettings, client: Minio, prefix: str, days: int
):
    client.set_bucket_lifecycle(settings.bucket, LifecycleConfig([rule(prefix, days)]))
    found = await install_rules(settings, WANTED)
    assert found.state == "differ"
    assert "deletes too soon: rule theirs" in said(found)


async def test_a_versioned_bucket_is_refused_and_left_alone(settings: StoreSettings, client: Minio):
    for status in ("Enabled", "Suspended"):
        client.set_bucket_versioning(settings.bucket, VersioningConfig(status))
        found = await install_rules(settings, WANTED)
        assert (found.state, "keeps versions" in said(found)) == ("unsafe", True)
    assert client.get_bucket_lifecycle(settings.bucket) is None
    for version in client.list_objects(settings.bucket, recursive=True, include_version=True):
        client.remove_object(settings.bucket, str(version.object_name), version_id=version.version_id)


@pytest.mark.parametrize("principal", ["*", {"AWS": ["*"]}])
async def test_a_public_bucket_is_refused(settings: StoreSettings, client: Minio, principal: object):
    everyone = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{settings.bucket}/*"],
    }
    client.set_bucket_policy(settings.bucket, json.dumps({"Version": "2012-10-17", "Statement": [everyone]}))
    for look in (install_rules, verify_rules):
        found = await look(settings, WANTED)
        assert (found.state, "the bucket is public" in said(found)) == ("unsafe", True)
    client.delete_bucket_policy(settings.bucket)


async def test_what_the_server_cannot_do_is_named(s3: S3Server, settings: StoreSettings, tmp_path: Path):
    with unable_of(s3, {"versioning", "policy"}, body=b"AbortIncompleteMultipartUpload") as proxy:
        found = await install_rules(settings_for(proxy, settings.bucket, tmp_path), WANTED)
    assert found.state == "agree"
    assert "the server cannot say whether it keeps versions (NotImplemented)" in found.findings
    assert "the server cannot show a bucket policy (NotImplemented)" in found.findings
    assert "missing: rule sfumato-uploads: everything, ends unfinished uploads after 1 d" in found.findings


async def test_a_server_without_lifecycle_rules_does_not_agree(s3: S3Server, settings: StoreSettings, tmp_path: Path):
    with unable_of(s3, {"lifecycle"}) as proxy:
        found = await install_rules(settings_for(proxy, settings.bucket, tmp_path), WANTED)
    assert found.state == "differ"
    assert "the server cannot list lifecycle rules (NotImplemented)" in found.findings


async def test_a_missing_bucket_and_a_server_that_is_down_are_unavailable(s3: S3Server, tmp_path: Path):
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        await verify_rules(settings_for(s3, "nobody-made-it", tmp_path), WANTED)
    down = S3Server(f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await verify_rules(settings_for(down, "any", tmp_path), WANTED)


@contextmanager
def unable_of(server: S3Server, queries: set[str], body: bytes = b"\0") -> Generator[S3Server]:
    """The same S3, but 501 for these sub-resources, and for any request that carries `body`."""

    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            given = self.rfile.read(int(self.headers.get("content-length") or 0))
            query = self.path.partition("?")[2].partition("=")[0]
            if query in queries or body in given:
                status, reply = 501, b"<Error><Code>NotImplemented</Code></Error>"
                headers = {"content-type": "application/xml"}
            else:
                passed = pool.request(self.command, server.url + self.path, body=given, headers=dict(self.headers))
                status, headers, reply = passed.status, passed.headers, passed.data
            self.send_response(status)
            for name in ("content-type", "etag", "last-modified"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

        def log_message(self, format: str, *args: object) -> None: ...

    pool = urllib3.PoolManager(retries=False)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    serving = Thread(target=listening.serve_forever)
    serving.start()
    try:
        yield S3Server(f"http://127.0.0.1:{listening.server_address[1]}")
    finally:
        listening.shutdown()
        listening.server_close()
        serving.join()
        pool.clear()
