"""Other sites may not act through a visitor's browser: not with the cookie, and on `/v1` not at all."""

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from edge.errors import CrossSite
from edge.guards.auth import cookie_name, sign_in_cookie_name
from edge.services import Services

Connection = ASGIConnection[BaseRouteHandler, None, None, State]

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class RefusesCrossSite:
    """A guard for the whole app. Without a cookie and a browser's word, a call is a program's and passes."""

    def __init__(self, services: Services) -> None:
        self._origin = services.settings.public_url
        self._cookies = {cookie_name(services.settings), sign_in_cookie_name(services.settings)}

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        is_unsafe = connection.scope.get("method") not in SAFE_METHODS
        site = connection.headers.get("sec-fetch-site")
        if site == "cross-site" and (is_unsafe or connection.scope["path"].startswith("/v1/")):
            raise CrossSite("requests from other sites are not accepted")
        if is_unsafe and self._rides_on_cookie(connection) and not self._is_same_origin(connection, site):
            raise CrossSite("a request with a cookie must come from our own pages")

    def _rides_on_cookie(self, connection: Connection) -> bool:
        return not self._cookies.isdisjoint(connection.cookies) and "authorization" not in connection.headers

    def _is_same_origin(self, connection: Connection, site: str | None) -> bool:
        return site == "same-origin" or connection.headers.get("origin") == self._origin
