"""Ray Serve on this machine with every side of the comparison, started for one benchmark run and ended with it."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.handle import DeploymentHandle

from cluster.bench.orders import MODEL, Orders
from cluster.bench.rivals import OneAtATime, ServeBatch, StaticBatches, TunedBatcher, deploy
from cluster.home import free_port
from cluster.serving import OBJECT_STORE_BYTES
from edge.gateway import RayServeGateway
from serve_app.replica import application

ENGINE = MODEL
ONE_AT_A_TIME = "one-at-a-time"
TUNED = "tuned-batcher"
SERVE_BATCH = "serve-batch"
STATIC = "static-batches"
BATCHES = (1, 2, 4, 8, 16, 32)
CURVE_S = 2.0
STEPS = 12

Say = Callable[[str], None]


class Stage:
    """`best_batch`: the size whose full batches make most images a second, by `curve`."""

    def __init__(self, orders: Orders, serve_url: str, secret: str, say: Say) -> None:
        self.orders = orders
        self.serve_url = serve_url
        self.say = say
        self.curve: dict[int, float] = {}
        self._secret = secret
        self._static: DeploymentHandle[StaticBatches] = _run(STATIC, deploy(StaticBatches, MODEL))
        for batch in BATCHES:
            self.static_images_per_s(batch, 0.1)  # the first pass of a size is slow
            self.curve[batch] = self.static_images_per_s(batch, CURVE_S)
        self.best_batch = max(self.curve, key=lambda batch: self.curve[batch])
        _run(ENGINE, application({"model": MODEL}))
        _run(ONE_AT_A_TIME, deploy(OneAtATime, MODEL))
        _run(TUNED, deploy(TunedBatcher, MODEL, self.best_batch))
        _run(SERVE_BATCH, deploy(ServeBatch, MODEL))

    def gateway(self) -> RayServeGateway:
        """Belongs to the event loop it is made in; the caller closes it."""
        return RayServeGateway(self.serve_url, self._secret)

    def static_images_per_s(self, batch: int, seconds: float) -> float:
        reply = self._static.images_per_s.remote(self.orders.one(STATIC, STEPS), batch, seconds)
        return reply.result(timeout_s=120 + seconds)

    async def best_static(self, seconds: float) -> float:
        return await asyncio.to_thread(self.static_images_per_s, self.best_batch, seconds)


@contextmanager
def raised_stage(orders: Orders, secret: str, say: Say) -> Generator[Stage]:
    directory = tempfile.mkdtemp(prefix="sfumato-bench-")  # short: Ray puts sockets below it
    port = free_port()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=directory,
            num_cpus=8,  # places for replicas, of which one works at a time
        )
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
        say("loading the model for each side, measuring the static batch curve")
        yield Stage(orders, f"http://127.0.0.1:{port}", secret, say)
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


def _run(name: str, app: serve.Application) -> DeploymentHandle[Any]:
    return serve.run(app, name=name, route_prefix=f"/m/{name}")
