"""The children of `sfumato up`. Each leads its own session, so that ending it ends all it started, Ray's daemons too.

A child also holds one end of a pipe as its standard input (`cluster.tie`): it ends even where this process was killed.
What it says goes to its log of the day (`cluster.daily_logs`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread

from cluster.daily_logs import DailyLogs

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_LIMIT_S = 12.0
SAME_SIGNAL_S = 1.0
TAIL_LINES = 12
LAST_WORDS_S = 2.0  # what a dead child left in its pipe; something that it started may hold that open

_STORE_KEYS = {"SFUMATO_S3_ACCESS_KEY", "SFUMATO_S3_SECRET_KEY"}
SECRETS = {  # of each child; an address may hold a password, and only the sweeper looks for day keys
    "edge": {"SFUMATO_SECRET", "SFUMATO_SERVE_SECRET", "SFUMATO_DATABASE_URL", "SFUMATO_VALKEY_URL", *_STORE_KEYS},
    "serve": {"SFUMATO_SERVE_SECRET", "RAY_AUTH_TOKEN", *_STORE_KEYS},
    "sweep": {"SFUMATO_OPERATOR_TOKEN", "SFUMATO_DATABASE_URL", "SFUMATO_KEYS", *_STORE_KEYS},
}


class ChildDied(Exception):
    """A part ended by itself; the message names it and ends with its last log lines."""


class Family:
    """The children, by name. `logs` are theirs."""

    def __init__(self, environment: Mapping[str, str], logs: DailyLogs) -> None:
        self.logs = logs
        self._environment = environment
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._following: dict[str, Thread] = {}

    def start(self, command: str, *arguments: str) -> None:
        child = subprocess.Popen(
            [sys.executable, "-m", "cluster.cli", command, "--tied", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_of(command, self._environment),
            start_new_session=True,
        )
        assert child.stdout is not None
        self._children[command] = child
        self._following[command] = self.logs.follow(command, child.stdout)

    def require_alive(self) -> None:
        """Raises ChildDied."""
        for name, child in self._children.items():
            if (status := child.poll()) is not None:
                self._following[name].join(LAST_WORDS_S)
                said, log = self.logs.tail(name, TAIL_LINES)
                raise ChildDied(f"`sfumato {name}` ended with status {status}; the end of {log}:\n{said}")

    def stop(self) -> None:
        """Asks each child to end, then ends what is left of its session; at once when another signal comes."""
        began_s = time.monotonic()

        def force(*_: object) -> None:
            if time.monotonic() - began_s > SAME_SIGNAL_S:
                self._kill()

        for number in STOP_SIGNALS:
            signal.signal(number, force)
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline_s = began_s + STOP_LIMIT_S
        for child in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline_s - time.monotonic()))
        self._kill()
        for child in self._children.values():
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
        for following in self._following.values():
            following.join(LAST_WORDS_S)

    def _kill(self) -> None:
        for child in self._children.values():
            _kill_session(child.pid)


def environment_of(command: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Without the secrets that are others'."""
    others = set[str]().union(*SECRETS.values()) - SECRETS[command]
    return {name: value for name, value in environment.items() if name not in others}


def _kill_session(session: int) -> None:
    """Ray's daemons keep the session of whoever started them, though not its group."""
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = process.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                os.kill(int(process.parent.name), signal.SIGKILL)
    with suppress(OSError):
        os.killpg(session, signal.SIGKILL)
