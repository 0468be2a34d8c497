"""`sfumato up --no-ray` as a process: what it shows, what it leaves. The promises beside run it with Ray Serve."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from cluster.daily_logs import DailyLogs
from cluster.family import ChildDied, Family
from cluster.home import free_port
from tests.promises.running import environment

ROOT = Path(__file__).parents[2]
UP = (sys.executable, "-m", "cluster.cli", "up", "--no-ray", "--home", "home")
START_LIMIT_S, STOP_LIMIT_S = 240, 20

Starter = Callable[[], "Up"]


class Up:
    """One start in `directory`, with its home below."""

    def __init__(self, directory: Path, port: int) -> None:
        self.base = f"http://localhost:{port}"
        with (directory / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [*UP, "--port", str(port)],
                cwd=directory,
                env=environment(SFUMATO_TORCH_THREADS="1", http_proxy="http://127.0.0.1:9"),  # where nobody listens
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.lines = list(self._lines_until_ready())
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def address(self) -> str:
        return next(line.split()[1] for line in self.lines if line.startswith("address"))

    def end(self, number: signal.Signals) -> int:
        """Its status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_LIMIT_S)

    def outlived(self) -> list[psutil.Process]:
        _, alive = psutil.wait_procs(self.family, timeout=STOP_LIMIT_S)
        return alive

    def _lines_until_ready(self) -> Iterator[str]:
        assert self.process.stdout is not None
        impatience = threading.Timer(START_LIMIT_S, self.process.kill)
        impatience.start()
        for line in self.process.stdout:
            yield line.rstrip()
            if line.startswith("ready "):
                impatience.cancel()
                return
        self.process.stdout.close()
        raise AssertionError("it ended before it was ready")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    port, started = free_port(), list[Up]()

    def one() -> Up:
        started.append(Up(tmp_path, port))
        return started[-1]

    yield one
    for up in started:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)
        assert up.process.stdout is not None
        up.process.stdout.close()


def test_it_draws_ends_whole_and_a_second_start_still_answers_the_first_address(start: Starter, tmp_path: Path):
    first = start()
    assert first.lines[-1] == f"ready {first.base}"
    assert "no lifecycle rule stands behind the sweeper" in (tmp_path / "stderr").read_text()
    assert (tmp_path / "sfumato-first.png").read_bytes().startswith(b"\x89PNG")
    assert first.end(signal.SIGTERM) == 0
    assert first.outlived() == []

    second = start()
    with urllib.request.urlopen(first.address, timeout=30) as reply:
        assert reply.read().startswith(b"\x89PNG")
    assert second.address != first.address

    second.process.kill()  # nobody is there to end the children
    assert second.outlived() == []


def test_what_is_due_goes_even_where_the_model_does_not_load(tmp_path: Path):
    due = tmp_path / "home" / "objects" / "img" / "1d" / "20260101T0000Z" / ("a" * 32)
    due.parent.mkdir(parents=True)
    due.write_bytes(b"sealed")
    policies = tmp_path / "policies"
    policies.mkdir()
    for file in (ROOT / "policies").glob("*.toml"):
        text = file.read_text().replace('family = "embedded"', 'family = "unet"\nweights = "nowhere"')
        (policies / file.name).write_text(text)
    env = environment(SFUMATO_POLICIES=str(policies))
    ended = subprocess.run(
        [*UP, "--port", str(free_port())],
        cwd=tmp_path,
        env=env,
        timeout=START_LIMIT_S,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, b"`sfumato edge` ended with status 2" in ended.stderr) == (1, True)
    assert not due.exists()


def await_death(family: Family) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        family.require_alive()
        time.sleep(0.1)


def test_a_child_that_dies_is_named_with_its_last_words(tmp_path: Path):
    logs = DailyLogs(tmp_path, timedelta(days=7))
    family = Family({"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, logs)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    family.start("edge")
    try:
        with pytest.raises(ChildDied, match=r"(?s)`sfumato edge` ended with status 2.*SFUMATO_SECRET must be set"):
            await_death(family)
    finally:
        family.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
