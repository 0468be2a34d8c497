"""Around every call, errors included: a time for its body, and on its reply request id, limits and security headers;
and an access-log line of listed fields.

The line holds the route's template, never the path, query, headers or body; a method is a word that a caller chose.
"""

import logging
import secrets
from http import HTTPMethod
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edge.guards.auth import FRESH_SESSION
from edge.guards.limits import CALLER, TAB, Limits
from edge.guards.slow_bodies import WholeWithin

log = logging.getLogger("sfumato.access")

REQUEST_ID = "request_id"
METHODS = frozenset(HTTPMethod)

PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), browsing-topics=()"),
    (b"content-security-policy", PAGE_POLICY),
]
ON_HTTPS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
NO_STORE = (b"cache-control", b"no-store")


class Envelope:
    """`limits` counts what no guard saw: a call to no route of ours has a limit too."""

    def __init__(self, app: ASGIApp, limits: Limits, *, body_within_s: float, is_https: bool) -> None:
        self._app = app
        self._limits = limits
        self._body_within_s = body_within_s
        self._headers = [*ALWAYS, ON_HTTPS] if is_https else ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope["state"] = state = dict[str, Any](
            {REQUEST_ID: request_id}
        )  # our own: servers share theirs between requests
        began = perf_counter()
        status = 0

        async def send_sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if tab := self._limits.tab(scope):
                    await tab.settle()
                    message["headers"] = [*message["headers"], *tab.headers()]
                message["headers"] = self._complete(list(message["headers"]), state)
                for said in (TAB, CALLER, FRESH_SESSION):  # a reply that goes on for hours needs them no more
                    state.pop(said, None)
            await send(message)

        try:
            await self._app(scope, WholeWithin(receive, self._body_within_s), send_sealed)
        finally:
            told = {
                "request_id": request_id,
                "method": scope["method"] if scope["method"] in METHODS else "other",
                "route": scope.get("path_template") or "none",
                "status": status,
                "ms": round((perf_counter() - began) * 1000, 1),
            }
            log.info("request", extra=told)

    def _complete(self, headers: list[tuple[bytes, bytes]], state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        headers += self._headers
        headers.append((b"x-request-id", state[REQUEST_ID].encode()))
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append(NO_STORE)
        if token := state.get(FRESH_SESSION):
            headers.append((b"x-sfumato-session", token.encode()))
        return headers
