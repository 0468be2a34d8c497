"""We answer to our own names only: a page of another site cannot reach us by pointing its own name at our address."""

from litestar.handlers import BaseRouteHandler

from edge.errors import WrongHost
from edge.guards.cross_site import Connection
from edge.settings import Settings

LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}
PROBES = ("/healthz", "/readyz")  # probes come by the address of the machine


class RefusesOtherHosts:
    """A guard for the whole app."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = own_hosts(settings)

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        if bare_host(connection.headers.get("host", "")) in self._hosts or connection.scope["path"] in PROBES:
            return
        raise WrongHost("this service has another name: its operator sets it in SFUMATO_PUBLIC_URL")


def own_hosts(settings: Settings) -> set[str]:
    """The names that we answer to, without ports."""
    return LOOPBACK | {bare_host(settings.public_url.partition("://")[2])} | set(settings.allowed_hosts)


def bare_host(host: str) -> str:
    """Without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()
