"""The applications of D1 to D4: the edge over a generator that costs nothing and over Ray Serve, a handler that does
nothing, and one that only counts, in our way and in Litestar's."""

import hashlib
import os
from collections.abc import AsyncGenerator
from time import time
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.stores.valkey import ValkeyStore
from valkey.asyncio import Valkey

from cluster.compose_edge import build_edge
from edge.domain.limits.gate import Asker, Gate
from edge.domain.limits.networks import networks_of
from edge.domain.limits.proof import Proofs
from edge.domain.limits.shared import SharedLimiter
from edge.domain.owner import Owner, OwnerId
from edge.gateway import RayServeGateway
from edge.guards.client_address import client_address
from edge.guards.limits import limit_headers
from edge.settings import Settings
from policies.load import load_policies
from policies.schema import Allowance, Policies
from serve_app.contract import Event, GenerateRequest, Image, ModelStatus, Queued, Succeeded
from serve_app.logs import configure_logging
from serve_app.storage.keys import ImageKey, delete_minute

PLENTY = 1_000_000_000
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
    return build_edge(settings, with_limits(load_policies(settings.policies), PLENTY), InstantGenerator())


def served_app() -> Litestar:
    """Over the Ray Serve of SFUMATO_SERVE_URL."""
    configure_logging()
    settings = Settings.from_env(os.environ)
    gateway = RayServeGateway(settings.serve_url, settings.replicas_bearer)
    return build_edge(settings, with_limits(load_policies(settings.policies), PLENTY), gateway)


def limited_app() -> Litestar:
    """Pictures are used up after the first ones of a session."""
    configure_logging()
    settings = Settings.from_env(os.environ)
    return build_edge(
        settings, with_limits(load_policies(settings.policies), PLENTY, of_session=10), InstantGenerator()
    )


def with_limits(policies: Policies, limit: int, of_session: int = 0) -> Policies:
    """The windows of everyone, and the pictures of an anonymous session."""
    replace, plans = msgspec.structs.replace, policies.plans
    wide = Allowance(**dict.fromkeys(Allowance.__struct_fields__, limit))
    anonymous = replace(
        plans.plans["anonymous"],
        concurrent_jobs=limit,
        allowance=replace(wide, images_per_day=of_session or limit),
    )
    plans = replace(
        plans,
        plans=plans.plans | {"anonymous": anonymous},
        networks=replace(plans.networks, **dict.fromkeys(plans.networks.__struct_fields__, wide)),
        anonymous_budget=replace(plans.anonymous_budget, images_per_minute=limit),
    )
    return replace(policies, plans=plans)


def counted_app(url: str) -> Litestar:
    """Each call is charged as one for a picture."""
    policies = with_limits(load_policies(), PLENTY)
    plan = policies.plans.plans["anonymous"]
    gate = Gate(SharedLimiter(Valkey.from_url(url), 5.0), policies.plans, Proofs(b"k", 1, time), time)

    @get("/counted")
    async def counted(request: Request[Any, Any, Any]) -> Response[None]:
        address = client_address(request.scope, ())
        asker = Asker(Owner("session", OwnerId(f"{address}")), plan, networks_of(address))
        charge = await gate.pictures(asker, 1)
        headers = {name.decode(): value.decode() for name, value in limit_headers(charge, gate.now_ms)}
        return Response(None, headers=headers)

    return Litestar([counted], logging_config=None, openapi_config=None)


def rival_app(url: str) -> Litestar:
    @get("/counted")
    async def counted() -> Response[None]:
        return Response(None)

    limits = RateLimitConfig(rate_limit=("minute", PLENTY), store="rate_limit")
    store = ValkeyStore(Valkey.from_url(url), namespace="rival")
    return Litestar(
        [counted],
        middleware=[limits.middleware],
        stores={"rate_limit": store},
        logging_config=None,
        openapi_config=None,
    )


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
