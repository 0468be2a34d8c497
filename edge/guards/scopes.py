"""What a key may do. Each route that asks who is calling names the one scope that it needs."""

from typing import cast

from litestar.handlers import BaseRouteHandler

from edge.domain.owner import Caller, Scope
from edge.errors import InsufficientScope

SCOPE = "scope"  # a route's opt


def needs(scope: Scope) -> dict[str, Scope]:
    """For `opt=` of a route or a router."""
    return {SCOPE: scope}


def require_scope(caller: Caller, handler: BaseRouteHandler) -> None:
    """Raises InsufficientScope. A route that names no scope is a mistake of ours, and open to nobody."""
    scope = cast("Scope", handler.opt[SCOPE])
    if scope not in caller.scopes:
        raise InsufficientScope(scope)
