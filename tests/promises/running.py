"""`sfumato` as a person or an operator runs it: real processes, their homes, and what outlives them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

START_S, STOP_S = 150, 30


class Running:
    """One `sfumato up`."""

    def __init__(self, directory: Path, env: dict[str, str], port: int, *arguments: str) -> None:
        self.home = directory / "home"
        self.base = f"http://localhost:{port}"
        self.directory = directory
        self.serve_port = env.get("SFUMATO_SERVE_PORT")
        with (directory / "stdout").open("ab") as stdout, (directory / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cluster.cli", "up", "--home", str(self.home), "--port", str(port), *arguments],
                cwd=directory,
                env=env,
                stdout=stdout,
                stderr=stderr,
            )
        self.await_ready(f"ready {self.base}")

    @property
    def output(self) -> str:
        return (self.directory / "stdout").read_text()

    def await_ready(self, line: str) -> None:
        deadline = time.monotonic() + START_S
        before = self.output.count(line)
        while self.output.count(line) == before:
            problem = (self.directory / "stderr").read_text()
            assert self.process.poll() is None, problem
            assert time.monotonic() < deadline, problem
            time.sleep(0.2)

    def secret(self, name: str) -> str:
        lines = (self.home / "secrets.env").read_text().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def busy_rows(self) -> int:
        url = f"http://127.0.0.1:{self.serve_port}/m/sfumato-embedded/status"
        request = urllib.request.Request(
            url, headers={"authorization": f"Bearer {self.secret('SFUMATO_SERVE_SECRET')}"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            status = json.loads(reply.read())
        return status["running_rows"] + status["waiting_rows"]

    def stop(self) -> list[psutil.Process]:
        """Ends it; returns what outlived it."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        return alive


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SFUMATO_", "RAY_"))}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | more
