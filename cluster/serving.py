"""`sfumato serve`: Ray with as little as is needed, and one Serve application per model, until told to stop."""

import logging
import os
import signal
import threading
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from serve_app.replica import application
from serve_app.settings import Settings

log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # images never pass through it


def run_serve(settings: Settings, address: str | None) -> None:
    """Starts Ray here, or joins the cluster at `address`. Returns after SIGTERM or SIGINT, with Ray gone."""
    _start_ray(settings, address)
    stop = threading.Event()  # only now: Ray sets handlers of its own when it starts
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=settings.serve_port))
        for model in settings.models:
            serve.run(application({"model": model}), name=model, route_prefix=f"/m/{model}")
            log.warning("serving %s", model)
        stop.wait()
    finally:
        if address is None:
            serve.shutdown()
        ray.shutdown()


def _start_ray(settings: Settings, address: str | None) -> None:
    if address is not None:
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=_short_directory(settings.home),
        num_cpus=max(2, len(settings.models) + 1),
    )


def _short_directory(home: Path) -> str:
    """Ray puts sockets below its directory, and a socket's path may be 107 bytes long."""
    inside = str((home / "ray").resolve())
    return inside if len(inside) <= 40 else f"/tmp/sfumato-ray-{os.getuid()}"
