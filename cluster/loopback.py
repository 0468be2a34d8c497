"""HTTP to this machine itself, past any proxy that the environment names."""

from http.client import HTTPResponse
from urllib.request import ProxyHandler, Request, build_opener


def open_here(request: Request | str, *, timeout_s: float) -> HTTPResponse:
    """Raises OSError, of which HTTPError is one, and http.client.HTTPException."""
    return build_opener(ProxyHandler({})).open(request, timeout=timeout_s)
