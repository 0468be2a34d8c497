"""Tries by network: each prefix has a number of its own, and a new address in it buys nothing."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

import pytest

from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.networks import Address, networks_of
from edge.domain.limits.tries import RECOVERY, SIGN_UPS, Tries, TryLimit
from edge.errors import RateLimited
from tests.edge.edges import Clock

LIMITS = [RECOVERY, SIGN_UPS]
PREFIX = 0x2001_0DB8 << 96


def addresses_in(level: str) -> Iterator[Address]:
    """As many as one likes in one network of this level, in as many narrower ones as there are."""
    place = {"ipv6_64": 0, "ipv6_56": 64, "ipv6_48": 72}
    number = 0
    while True:
        number += 1
        if level == "ipv4_32":
            yield IPv4Address("203.0.113.9")
        else:
            yield IPv6Address(PREFIX + (number % 256 << place[level]) + (number << 8))


async def admits(tries: Tries, address: Address) -> bool:
    try:
        await tries.count(networks_of(address))
    except RateLimited:
        return False
    return True


@pytest.mark.parametrize("limit", LIMITS, ids=[limit.name for limit in LIMITS])
@pytest.mark.parametrize("level", ["ipv4_32", "ipv6_64", "ipv6_56", "ipv6_48"])
async def test_each_prefix_has_a_number_of_its_own(limit: TryLimit, level: str) -> None:
    tries, most = Tries(limit, MemoryLimiter(), Clock()), limit.most[level]
    admitted = [await admits(tries, address) for address in islice(addresses_in(level), most + 1)]
    assert admitted == [True] * most + [False]
    assert await admits(tries, IPv6Address("2001:db8:ffff::1"))


@pytest.mark.parametrize("limit", LIMITS, ids=[limit.name for limit in LIMITS])
async def test_the_one_too_many_reads_when_there_is_room_and_finds_it_then(limit: TryLimit) -> None:
    clock = Clock()
    tries, networks = Tries(limit, MemoryLimiter(), clock), networks_of(IPv4Address("203.0.113.9"))
    for _ in range(limit.most["ipv4_32"]):
        await tries.count(networks)
    with pytest.raises(RateLimited, match=limit.refusal) as refused:
        await tries.count(networks)
    assert refused.value.retry_after_s is not None
    clock.advance(refused.value.retry_after_s - 1)
    assert not await admits(tries, IPv4Address("203.0.113.9"))
    clock.advance(2)
    await tries.count(networks)
