"""Edge and sweeper die at random moments, again and again, under real work: no job is lost and no picture stays."""

import json
import random
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.home import free_port, prepare_home
from tests.promises.running import environment

ROOT = Path(__file__).parents[2]
FINAL = {"succeeded", "failed", "cancelled"}
KILLS = 8
KEPT = "PT1M"
VISITORS = 4
LEASE_AND_SWEEP_S = 90.0
MINUTE_AND_SWEEP_S = 180.0  # a minute kept, up to another of rounding, and the sweeper's turn


@dataclass
class Parts:
    """The processes of one small deployment, each of which may be killed and started again."""

    home: Path
    env: dict[str, str]
    url: str
    alive: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    def start(self, name: str, *arguments: str) -> None:
        with (self.home / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "cluster.cli", name, *arguments]
            self.alive[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def start_all(self) -> None:
        for name, *arguments in (("edge", "--in-process"), ("sweep",)):
            if name not in self.alive:
                self.start(name, *arguments)
        wait_until(lambda: self.get("/readyz")[0] == 200, 60, "the edge is ready")

    def kill(self, name: str) -> None:
        process = self.alive.pop(name)
        process.kill()
        process.wait()

    def get(self, path: str, token: str = "") -> tuple[int, bytes]:
        return self.call("GET", path, token)

    def call(self, method: str, path: str, token: str = "", body: object = None) -> tuple[int, bytes]:
        """Status 0: nobody answered."""
        request = urllib.request.Request(
            path if path.startswith("http") else self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def new_session(self) -> str:
        request = urllib.request.Request(f"{self.url}/v1/generations", headers={"authorization": "Bearer anonymous"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.headers["x-sfumato-session"]


def wait_until(holds: Callable[[], bool], limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.25)


def without_limits(directory: Path) -> Path:
    """The shipped policies, under which few visitors may ask very often."""
    directory.mkdir()
    for file in (ROOT / "policies").glob("*.toml"):
        text = re.sub(r"(\w+_per_\w+|concurrent_jobs) = [\d_]+", r"\1 = 1_000_000_000", file.read_text("utf-8"))
        (directory / file.name).write_text(text, "utf-8")
    return directory


@contextmanager
def deployment(home: Path) -> Iterator[Parts]:
    port = free_port()
    url = f"http://localhost:{port}"
    own = {"SFUMATO_HOME": str(home), "SFUMATO_PORT": str(port), "SFUMATO_PUBLIC_URL": url}
    own["SFUMATO_POLICIES"] = str(without_limits(home.with_name("policies")))
    parts = Parts(home, environment(**prepare_home(home), **own), url)
    try:
        parts.start_all()
        yield parts
    finally:
        for name in list(parts.alive):
            parts.kill(name)


def visit(parts: Parts, token: str, accepted: list[tuple[str, str]], stop: threading.Event, seed: int) -> None:
    """Submits jobs until told to stop; what was answered 202 is a promise."""
    choice = random.Random(seed)
    while not stop.is_set():
        order = {"prompt": "a red apple", "retention": KEPT, "training": "deny"}
        body = order | {"steps": choice.randint(2, 20), "n": choice.randint(1, 2)}
        status, reply = parts.call("POST", "/v1/generations", token, body)
        if status == 202:
            accepted.append((token, json.loads(reply)["id"]))
        stop.wait(choice.uniform(0.05, 0.4))


@pytest.mark.long
def test_random_kills_lose_no_job_and_leave_no_picture(tmp_path: Path):
    choice = random.Random(20261124)
    accepted: list[tuple[str, str]] = []
    addresses: set[str] = set()
    with deployment(tmp_path / "home") as parts:
        tokens = [parts.new_session() for _ in range(VISITORS)]
        stop = threading.Event()
        visitors = [
            threading.Thread(target=visit, args=(parts, token, accepted, stop, number))
            for number, token in enumerate(tokens)
        ]
        for visitor in visitors:
            visitor.start()
        for _ in range(KILLS):
            time.sleep(choice.uniform(2, 6))
            with suppress(KeyError):
                addresses |= addresses_of(parts, tokens)
            parts.kill(choice.choice(["edge", "sweep"]))
            parts.start_all()
        stop.set()
        for visitor in visitors:
            visitor.join()
        assert len(accepted) > 10 * KILLS / 2

        wait_until(lambda: states(parts, accepted) <= FINAL, LEASE_AND_SWEEP_S, "every job has ended")
        assert {"succeeded", "failed"} <= states(parts, accepted), "kills hit running jobs, and others were made"
        assert addresses
        objects = tmp_path / "home" / "objects"
        wait_until(lambda: not any(file.is_file() for file in objects.rglob("*")), MINUTE_AND_SWEEP_S, "all are gone")
        assert {parts.get(address)[0] for address in addresses} == {410}


def states(parts: Parts, accepted: list[tuple[str, str]]) -> set[str]:
    found: set[str] = set()
    for token, job in accepted:
        status, reply = parts.get(f"/v1/generations/{job}", token)
        assert status == 200, "an accepted job is known until its end and a day longer"
        found.add(json.loads(reply)["status"])
    return found


def addresses_of(parts: Parts, tokens: list[str]) -> set[str]:
    found: set[str] = set()
    for token in tokens:
        _, reply = parts.get("/v1/generations?limit=20", token)
        found |= {image["url"] for job in json.loads(reply or b"{}")["data"] for image in job["images"]}
    return found
