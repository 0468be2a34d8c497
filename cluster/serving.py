"""`sfumato serve`: Ray with as little as is needed, and one Serve application per model, until told to stop."""

import logging
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig

from cluster.ray_directory import empty_logs, ray_directory
from policies.schema import Policies
from serve_app.logs import adopt_loggers
from serve_app.replica import application
from serve_app.settings import Settings

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # images never pass through it
BEAT_S = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)
WORKERS = {"worker_process_setup_hook": "serve_app.logs.configure_logging"}  # of Ray, Serve's own ones too


def run_serve(settings: Settings, address: str | None, policies: Policies) -> None:
    """Starts Ray here, or joins the cluster at `address`. SIGTERM and SIGINT end it, and a Ray of its own.

    A Ray of its own keeps no line of its logs for longer than the policy says.
    """
    with _started_here(settings) if address is None else _joined(address) as directory:
        for number in STOP_SIGNALS:  # only now: Ray sets handlers of its own when it starts
            signal.signal(number, _leave)
        adopt_loggers()
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options=HTTPOptions(host=settings.serve_host, port=settings.serve_port), logging_config=QUIET)
        for model in settings.models:
            args = {"model": model, "num_gpus": str(policies.models.models[model].gpus)}
            serve.run(application(args), name=model, route_prefix=f"/m/{model}")
            log.info("serving %s", model)
        wait_while_ray_lives(directory, policies.retention.classes.logs.duration)


def wait_while_ray_lives(directory: Path | None, logs_kept_for: timedelta) -> NoReturn:
    """Ray does not tell its driver that all nodes died, and without one nothing here would come back."""
    emptied_at = time.time()
    while any(node["Alive"] for node in ray.nodes()):
        time.sleep(BEAT_S)
        if directory and time.time() - emptied_at >= logs_kept_for.total_seconds():
            empty_logs(directory)
            emptied_at = time.time()
    log.error("Ray's node is gone")
    raise SystemExit(1)


def _leave(*_: object) -> NoReturn:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise SystemExit


@contextmanager
def _joined(address: str) -> Generator[None]:
    """The cluster goes on serving when this process ends."""
    ray.init(address=address, log_to_driver=False, runtime_env=WORKERS)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _started_here(settings: Settings) -> Generator[Path]:
    """Where it keeps its files."""
    with ray_directory(settings.home) as directory:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            runtime_env=WORKERS,
            logging_level=logging.WARNING,
            object_store_memory=OBJECT_STORE_BYTES,
            num_cpus=max(2, len(settings.models) + 1),
            _temp_dir=str(directory),
        )
        try:
            yield directory
        finally:
            ray.shutdown()  # ends its daemons, and with them Serve
