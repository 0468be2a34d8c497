"""What only the operator sees, on loopback and behind a bearer token: so far the metrics.

It lives inside the sweeper, which goes on deleting where this cannot be served.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar, Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy.orm import Session

from cluster.home import HomeError, port_from, require_free_port
from cluster.metrics import Seen, exposition
from cluster.sweep import Parts
from edge.domain.canaries import watched_prefixes
from edge.domain.complaints import longest_wait_s
from edge.domain.standing import read_standing
from serve_app.logs import adopt_loggers

log = logging.getLogger(__name__)

MIN_TOKEN_CHARACTERS = 32
Connection = ASGIConnection[BaseRouteHandler, None, None, State]


class OperatorSettings(Struct, frozen=True):
    """Without a token nothing is served."""

    port: int
    token: str | None

    def __repr__(self) -> str:
        return f"<operator:{self.port}>"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "OperatorSettings":
        """Raises HomeError, which shows no value."""
        token = env.get("SFUMATO_OPERATOR_TOKEN") or None
        if token is not None and len(token) < MIN_TOKEN_CHARACTERS:
            raise HomeError(f"SFUMATO_OPERATOR_TOKEN must have at least {MIN_TOKEN_CHARACTERS} characters")
        return cls(port_from(env, "SFUMATO_OPERATOR_PORT", 8081), token)


def create_operator_app(parts: Parts, token: str) -> Litestar:
    def requires_operator(connection: Connection, _: BaseRouteHandler) -> None:
        given = connection.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise NotAuthorizedException("the operator's token is asked for")

    @get("/metrics", guards=[requires_operator])
    async def metrics() -> Response[bytes]:
        """Raises DatabaseUnavailable, a 500 that a scraper takes for what it is."""
        seen = await parts.database.read(lambda db: _look(db, parts))
        return Response(exposition(seen), media_type=CONTENT_TYPE_LATEST)

    return Litestar([metrics], logging_config=None, openapi_config=None)  # Litestar's would replace ours


@asynccontextmanager
async def operator_served(parts: Parts, settings: OperatorSettings) -> AsyncGenerator[None]:
    """While inside. Where it cannot be, the log says so."""
    if settings.token is None:
        log.info("no metrics are served: SFUMATO_OPERATOR_TOKEN is not set")
        yield
        return
    try:
        require_free_port(settings.port, "SFUMATO_OPERATOR_PORT")
    except HomeError as error:
        log.warning("no metrics are served: %s", error)
        yield
        return
    server = Server(
        create_operator_app(parts, settings.token),
        address="127.0.0.1",
        port=settings.port,
        interface=Interfaces.ASGINL,
        log_access=False,
        log_level=LogLevels.error,
        websockets=False,
    )
    adopt_loggers()  # granian's, which it has just set up
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.stop()
        await asyncio.wait([serving])


def _look(db: Session, parts: Parts) -> Seen:
    watched = watched_prefixes(parts.policies, parts.store_settings)
    now = parts.clock()
    return Seen(removed=parts.removed, standing=read_standing(db, now, watched), report_waits_s=longest_wait_s(db, now))
