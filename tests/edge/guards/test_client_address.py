"""Whose address counts: the other end's, unless that is a proxy that was listed."""

from ipaddress import ip_address, ip_network

import pytest
from litestar.types import Scope

from edge.domain.limits.networks import networks_of
from edge.guards.client_address import client_address

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def seen(peer: str | None, *forwarded: str, trusted: bool = True) -> str | None:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope: Scope = {"client": (peer, 1) if peer else None, "headers": headers}  # pyright: ignore[reportAssignmentType]
    address = client_address(scope, PROXIES if trusted else ())
    return str(address) if address else None


@pytest.mark.parametrize("forged", ["1.2.3.4", "1.2.3.4, 10.0.0.1", "::1", "", "unknown", "\xff"])
def test_a_spoofed_header_changes_nothing(forged: str) -> None:
    assert seen("203.0.113.9", forged) == "203.0.113.9"
    assert seen("203.0.113.9", forged, trusted=False) == "203.0.113.9"
    assert seen("10.0.0.1", forged, trusted=False) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["1.2.3.4, 203.0.113.9"], "203.0.113.9"),  # the caller wrote the first
        (["1.2.3.4", "203.0.113.9"], "203.0.113.9"),  # two headers are one list
        (["1.2.3.4, 203.0.113.9, 10.2.2.2, fd00::7"], "203.0.113.9"),
        (["10.3.3.3, 10.2.2.2"], "10.3.3.3"),  # everyone is ours: the farthest
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db8::9]:4711"], "2001:db8::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        ([], "10.0.0.1"),
        (["nonsense"], "10.0.0.1"),
        (["203.0.113.9, nonsense, 10.2.2.2"], "10.2.2.2"),
        ([", ,"], "10.0.0.1"),
        (["203.0.113.9, ::ffff:10.2.2.2"], "203.0.113.9"),  # our own proxy in another spelling
        (["0x7f000001"], "10.0.0.1"),
        (["203.0.113.9.1"], "10.0.0.1"),
        (["2001:db8::9%eth0"], "2001:db8::9"),
        (["203.0.113.9" + ", 10.2.2.2" * 5_000], "203.0.113.9"),
        ([f"10.{n // 250}.{n % 250}.1" for n in range(5_000)], "10.0.0.1"),
    ],
)
def test_a_listed_proxy_is_believed_about_the_hop_before_it(forwarded: list[str], address: str) -> None:
    assert seen("10.0.0.1", *forwarded) == address


def test_a_socket_without_an_address_is_one_network() -> None:
    assert seen(None, "1.2.3.4") is None
    assert len(networks_of(None)) == 1


def test_an_address_is_cut_to_its_prefixes() -> None:
    assert [network.level for network in networks_of(ip_address("203.0.113.9"))] == ["ipv4_32"]
    one, other = (networks_of(ip_address(f"2001:db8:0:{subnet}::1")) for subnet in ("1200", "12ff"))
    assert [network.level for network in one] == ["ipv6_64", "ipv6_56", "ipv6_48"]
    assert [a == b for a, b in zip(one, other, strict=True)] == [False, True, True]
    assert networks_of(ip_address("::ffff:203.0.113.9")) == networks_of(ip_address("203.0.113.9"))
    assert "203" not in repr(networks_of(ip_address("203.0.113.9")))
