"""`sfumato up`: start every part as a child, wait until a picture can be made, make one, serve, end what was started.

The supervisor itself imports nothing heavy. Each child leads its own session, so that ending it ends all it started.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from cluster.home import prepare_home, require_free_port

PROMPT = "a red apple"
PICTURE = Path("sfumato-first.png")
START_LIMIT_S = 300.0
STOP_LIMIT_S = 15.0
POLL_S = 0.25
NEWS_S = 5.0


class Interrupted(Exception):
    """SIGTERM or Ctrl-C."""


class ChildDied(Exception):
    """A part ended by itself; the message names it and ends with its last log lines."""


def run_up(env: Mapping[str, str], *, no_ray: bool, home: Path | None, port: int | None) -> int:
    """Returns the exit status. Raises HomeError before anything was started."""
    place = (home or Path(env.get("SFUMATO_HOME", ".sfumato"))).absolute()
    environment = dict(env) | {"SFUMATO_HOME": str(place)}
    if port is not None:
        environment["SFUMATO_PORT"] = str(port)
    port = int(environment.setdefault("SFUMATO_PORT", "8080"))
    require_free_port(port, "SFUMATO_PORT or --port")
    if not no_ray:
        serve_port = int(environment.setdefault("SFUMATO_SERVE_PORT", "8000"))
        require_free_port(serve_port, "SFUMATO_SERVE_PORT")
        environment.setdefault("SFUMATO_SERVE_URL", f"http://127.0.0.1:{serve_port}")
    environment = prepare_home(place) | environment
    family = Family(environment, place / "logs")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        _serve(family, port, no_ray=no_ray)
    except Interrupted:
        _say("stopping")
        return 0
    except ChildDied as error:
        _say(str(error))
        return 1
    finally:
        family.stop()


class Family:
    """The children, by name, and their log files."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = environment
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self._logs / f"{name}.log").open("wb") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "cluster.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Raises ChildDied."""
        for name, child in self._children.items():
            if (status := child.poll()) is not None:
                log = self._logs / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
                raise ChildDied(f"`sfumato {name}` ended with status {status}; the end of {log}:\n{tail}")

    def stop(self) -> None:
        """Asks each child to end, then ends what is left of its session."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline_s = time.monotonic() + STOP_LIMIT_S
        for child in self._children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.1, deadline_s - time.monotonic()))
        for child in self._children.values():
            _kill_session(child.pid)
            child.wait()


def _serve(family: Family, port: int, *, no_ray: bool) -> NoReturn:
    began_s = time.monotonic()
    if no_ray:
        _say("starting the edge with the engine inside")
        family.start("edge", "edge", "--in-process")
    else:
        _say("starting Ray Serve with the model, and the edge")
        family.start("serve", "serve")
        family.start("edge", "edge")
    _wait_until_ready(family, f"http://127.0.0.1:{port}/readyz", began_s)
    family.start("sweep", "sweep")
    _say(f"ready after {time.monotonic() - began_s:.0f} s; making a first picture: {PROMPT!r}")
    _first_picture(f"http://localhost:{port}")
    print(f"ready http://localhost:{port}", flush=True)  # noqa: T201  the line that scripts wait for
    while True:  # until a signal interrupts, or a child dies
        family.require_alive()
        time.sleep(POLL_S)


def _wait_until_ready(family: Family, url: str, began_s: float) -> None:
    news_s = began_s + NEWS_S
    while not _is_ready(url):
        family.require_alive()
        now_s = time.monotonic()
        if now_s - began_s > START_LIMIT_S:
            raise ChildDied(f"not ready after {START_LIMIT_S:.0f} s; see the logs")
        if now_s > news_s:
            _say(f"still loading, {now_s - began_s:.0f} s")
            news_s += NEWS_S
        time.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _first_picture(base_url: str) -> None:
    image = _post(f"{base_url}/v1/images/generations", {"prompt": PROMPT})["data"][0]
    with urllib.request.urlopen(image["url"], timeout=30) as reply:
        PICTURE.write_bytes(reply.read())
    gone_at = datetime.fromtimestamp(image["expires_at"]).astimezone()
    lines = [
        f"saved as {PICTURE}",
        f"address  {image['url']}",
        f"gone at  {gone_at:%Y-%m-%d %H:%M %Z}",
        "",
        "try it:",
        f"  curl {base_url}/v1/images/generations \\",
        """    -H 'content-type: application/json' -d '{"prompt": "a blue car"}'""",
        "",
        "  from openai import OpenAI",
        f'  client = OpenAI(base_url="{base_url}/v1", api_key="anonymous")',
        '  print(client.images.generate(prompt="a sunflower").data[0].url)',
        "",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201  for the person at the terminal


def _post(url: str, body: Mapping[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise ChildDied(f"the first picture failed: {error.read().decode(errors='replace')}") from error


def _kill_session(session: int) -> None:
    """Every process of the session that `session` led: Ray's daemons keep the session of whoever started them."""
    for process in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            fields = process.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                os.kill(int(process.parent.name), signal.SIGKILL)
    with suppress(OSError):
        os.killpg(session, signal.SIGKILL)


def _interrupt(*_: object) -> NoReturn:
    raise Interrupted


def _say(text: str) -> None:
    sys.stderr.write(f"sfumato: {text}\n")
    sys.stderr.flush()
