"""Where a call comes from: the other end of the connection, unless that is a proxy that the operator listed.

A header that anyone else sends changes nothing. The address is used to count, and is never stored, logged or shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from litestar.types import Scope

from edge.domain.limits.networks import Address, Network, networks_of
from edge.settings import Settings

Networks = Sequence[IPv4Network | IPv6Network]

FORWARDED_FOR = b"x-forwarded-for"


def caller_networks(scope: Scope, settings: Settings) -> tuple[Network, ...]:
    return networks_of(client_address(scope, settings.trusted_proxies))


def client_address(scope: Scope, trusted: Networks) -> Address | None:
    """None where the server does not know: on a Unix socket."""
    client = scope.get("client")
    peer = _address(client[0]) if client else None
    if peer is None or not trusted or not _is_among(peer, trusted):
        return peer
    return _spoken_for(peer, scope, trusted)


def _spoken_for(peer: Address, scope: Scope, trusted: Networks) -> Address:
    """From the right, each listed proxy is believed about the hop before it. Where one names no address, it is the
    proxy itself that counts."""
    address = peer
    for text in reversed(list(_hops(scope["headers"]))):
        before = _address(text)
        if before is None:
            return address
        address = before
        if not _is_among(address, trusted):
            return address
    return address


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    for name, value in headers:
        if name == FORWARDED_FOR:
            yield from value.decode("latin-1").split(",")


def _address(text: str) -> Address | None:
    """Some proxies write a port behind it, and some servers a zone."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _is_among(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
