"""The two applications of D1: the edge over a generator that costs nothing, and a handler that does nothing."""

import hashlib
import os
from collections.abc import AsyncGenerator
from time import time

from litestar import Litestar, post

from cluster.compose_edge import build_edge
from edge.settings import Settings
from policies.load import load_policies
from serve_app.contract import Event, GenerateRequest, Image, ModelStatus, Queued, Succeeded
from serve_app.logs import configure_logging
from serve_app.storage.keys import ImageKey, delete_minute

DIGEST = hashlib.sha256(b"").digest()


class InstantGenerator:
    """Implements `contract.Generator`: says at once that everything was drawn and stored, and draws nothing."""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        yield Queued(0, 0.0)
        for index in range(request.n):
            yield _image(request, index)
        yield Succeeded()

    async def status(self, model: str) -> ModelStatus:
        return ModelStatus(model, True, running_rows=0, waiting_rows=0, rows_per_s=1e3, step_s=1e-3, batch_rows=32)


def jobs_app() -> Litestar:
    configure_logging()
    settings = Settings.from_env(os.environ)
    return build_edge(settings, load_policies(settings.policies), InstantGenerator())


@post("/v1/generations", status_code=202)
async def accept(data: dict[str, str]) -> dict[str, str]:
    return {"id": "none", "status": "queued"}


def bare_app() -> Litestar:
    return Litestar([accept], logging_config=None, openapi_config=None)


def _image(request: GenerateRequest, index: int) -> Image:
    order = request.store
    if order is None:
        return Image(index, request.seed + index, 64, 64, data=b"")
    minute = delete_minute(time(), order.kept_for_s)
    key = ImageKey(order.prefix, order.class_days, minute, order.slots[index].image_id)
    return Image(
        index, request.seed + index, 64, 64,
        key=str(key), delete_at=int(minute.timestamp()), size_bytes=1, digest=DIGEST,
    )  # fmt: skip
