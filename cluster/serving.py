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

# Read by Ray when it starts; what the operator set wins.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_enable_metrics_collection": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def run_serve(settings: Settings, address: str | None) -> None:
    """Starts Ray here, or joins the cluster at `address`. Returns after SIGTERM or SIGINT, with Ray gone."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _start_ray(settings, address)
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
