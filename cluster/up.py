"""`sfumato up`: start every part as a child, wait until a picture can be made, make one, serve, end what was started.

The supervisor itself imports nothing heavy: it waits on ports and children, and leaves the work to `cluster.family`.
"""

import signal
import sys
import time
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn

from cluster.daily_logs import DailyLogs
from cluster.family import STOP_SIGNALS, ChildDied, Family
from cluster.first_picture import PROMPT, PictureFailed, first_picture
from cluster.home import port_from, prepare_home, require_free_port
from cluster.loopback import open_here
from policies.schema import Policies

START_LIMIT_S = 300.0
POLL_S = 0.25
NEWS_S = 5.0


class NotReady(Exception):
    """Everything lives, and nothing answers."""


def run_up(env: Mapping[str, str], policies: Policies, *, no_ray: bool, home: Path | None, port: int | None) -> int:
    """Returns the exit status. Raises HomeError before anything was started."""
    place = (home or Path(env.get("SFUMATO_HOME") or ".sfumato")).absolute()
    environment = dict(env) | {"SFUMATO_HOME": str(place)}
    if port is not None:
        environment["SFUMATO_PORT"] = str(port)
    port = port_from(environment, "SFUMATO_PORT", 8080)
    require_free_port(port, "SFUMATO_PORT or --port")
    if not no_ray:
        serve_port = port_from(environment, "SFUMATO_SERVE_PORT", 8000)
        require_free_port(serve_port, "SFUMATO_SERVE_PORT")
        environment.setdefault("SFUMATO_SERVE_URL", f"http://127.0.0.1:{serve_port}")
    environment = prepare_home(place) | environment
    family = Family(environment, DailyLogs(place / "logs", policies.retention.classes.logs.duration))
    if not environment.get("SFUMATO_S3_URL"):
        _say("pictures lie in a directory: no lifecycle rule stands behind the sweeper, as one would in S3")
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt_once)
    try:
        _serve(family, port, no_ray=no_ray)
    except KeyboardInterrupt:
        _say("stopping; once more to force")
        return 0
    except (ChildDied, NotReady, PictureFailed) as error:
        _say(str(error))
        return 1
    finally:
        family.stop()


def _serve(family: Family, port: int, *, no_ray: bool) -> NoReturn:
    began_s = time.monotonic()
    family.start("sweep")  # first: what is due goes even where no model loads
    if no_ray:
        _say("starting the edge with the engine inside")
        family.start("edge", "--in-process")
    else:
        _say("starting Ray Serve with the model, and the edge")
        family.start("serve")
        family.start("edge")
    _wait_until_ready(family, f"http://127.0.0.1:{port}/readyz", began_s)
    _say(f"ready after {time.monotonic() - began_s:.0f} s; making a first picture: {PROMPT!r}")
    print(first_picture(f"http://localhost:{port}"))  # noqa: T201  for the person at the terminal
    print(f"ready http://localhost:{port}", flush=True)  # noqa: T201  the line that scripts wait for
    while True:  # until a signal interrupts, or a child dies
        family.require_alive()
        family.logs.forget()
        time.sleep(POLL_S)


def _wait_until_ready(family: Family, url: str, began_s: float) -> None:
    news_s = began_s + NEWS_S
    while not _is_ready(url):
        family.require_alive()
        now_s = time.monotonic()
        if now_s - began_s > START_LIMIT_S:
            raise NotReady(f"not ready after {START_LIMIT_S:.0f} s; see {family.logs.directory}")
        if now_s > news_s:
            _say(f"still loading, {now_s - began_s:.0f} s")
            news_s = now_s + NEWS_S
        time.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    try:
        with open_here(url, timeout_s=5) as reply:
            return reply.status == 200
    except (OSError, HTTPException):
        return False


def _interrupt_once(*_: object) -> NoReturn:
    for number in STOP_SIGNALS:  # a terminal, `make` and `timeout` may each send one; `Family.stop` listens again
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stderr.write(f"sfumato: {text}\n")
    sys.stderr.flush()
