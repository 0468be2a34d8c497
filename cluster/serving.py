"""`sfumato serve`: Ray with as little as is needed, and one Serve application per model, until told to stop."""

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from serve_app.replica import application
from serve_app.settings import Settings

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # images never pass through it
MAX_DIRECTORY_BYTES = 40
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


def run_serve(settings: Settings, address: str | None) -> None:
    """Starts Ray here, or joins the cluster at `address`. Returns after SIGTERM or SIGINT, with Ray gone."""
    with _started_here(settings) if address is None else _joined(address):
        stop = threading.Event()  # only now: Ray sets handlers of its own when it starts
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=settings.serve_port), logging_config=QUIET)
        for model in settings.models:
            serve.run(application({"model": model}), name=model, route_prefix=f"/m/{model}")
            log.warning("serving %s", model)
        stop.wait()


@contextmanager
def _joined(address: str) -> Generator[None]:
    """The cluster goes on serving when this process ends."""
    ray.init(address=address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _started_here(settings: Settings) -> Generator[None]:
    """Ray's own files lie in `<home>/ray`; what killed runs left there goes first."""
    directory = settings.home.absolute() / "ray"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_dead_sessions(directory)
    with _short_way_to(directory) as short:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=OBJECT_STORE_BYTES,
            num_cpus=max(2, len(settings.models) + 1),
            _temp_dir=str(short),
        )
        try:
            yield
        finally:
            ray.shutdown()  # ends its daemons, and with them Serve


@contextmanager
def _short_way_to(directory: Path) -> Generator[Path]:
    """Ray puts sockets below its directory, and a socket's path may be 107 bytes long, wherever home is."""
    if len(os.fsencode(directory)) <= MAX_DIRECTORY_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="sfumato-", dir="/tmp") as place:
        link = Path(place) / "ray"
        link.symlink_to(directory)
        yield link


def _remove_dead_sessions(directory: Path) -> None:
    """A session's name ends with the id of the process that began it."""
    for session in directory.glob("session_*_*"):
        if not session.is_symlink() and not _is_alive(session.name.rpartition("_")[2]):
            shutil.rmtree(session, ignore_errors=True)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
