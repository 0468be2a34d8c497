"""Tries by network: each prefix has a number of its own, and a new address in it buys nothing."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

import msgspec
import pytest

from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.networks import Address, networks_of
from edge.domain.limits.tries import Tries, TryLimit, failed_entries, made_accounts
from edge.errors import RateLimited
from policies.load import load_policies
from tests.edge.edges import Clock

ENTRY = load_policies().plans.entry
LIMITS = [failed_entries(ENTRY), made_accounts(ENTRY)]
PREFIX = 0x2001_0DB8 << 96
HOME = networks_of(IPv4Address("203.0.113.9"))


class WentWrong(Exception):
    """What was tried."""


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
        async with tries.counting_success(networks_of(address)):
            return True
    except RateLimited:
        return False


async def fails(tries: Tries) -> None:
    with pytest.raises(WentWrong):
        async with tries.counting_failure(HOME):
            raise WentWrong


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
    tries = Tries(limit, MemoryLimiter(), clock)
    for _ in range(limit.most["ipv4_32"]):
        assert await admits(tries, IPv4Address("203.0.113.9"))
    with pytest.raises(RateLimited, match=limit.refusal) as refused:
        async with tries.counting_success(HOME):
            raise AssertionError
    assert refused.value.retry_after_s is not None
    assert f"in {refused.value.retry_after_s:g} s" in refused.value.message
    clock.advance(refused.value.retry_after_s - 1)
    assert not await admits(tries, IPv4Address("203.0.113.9"))
    clock.advance(2)
    assert await admits(tries, IPv4Address("203.0.113.9"))


@pytest.mark.parametrize("limit", LIMITS, ids=[limit.name for limit in LIMITS])
async def test_each_counts_what_it_is_for_and_gives_the_rest_back(limit: TryLimit) -> None:
    most = limit.most["ipv4_32"]
    successes, failures = (Tries(limit, MemoryLimiter(), Clock()) for _ in range(2))
    for _ in range(2 * most):
        async with failures.counting_failure(HOME):
            pass
        with pytest.raises(WentWrong):
            async with successes.counting_success(HOME):
                raise WentWrong
    for _ in range(most):
        await fails(failures)
        assert await admits(successes, IPv4Address("203.0.113.9"))
    with pytest.raises(RateLimited):
        await fails(failures)
    assert not await admits(successes, IPv4Address("203.0.113.9"))


async def test_what_is_being_tried_counts_until_it_went_well() -> None:
    """So many at the same moment are no way around."""
    limit = msgspec.structs.replace(LIMITS[0], most={"ipv4_32": 1})
    tries = Tries(limit, MemoryLimiter(), Clock())
    async with tries.counting_failure(HOME):
        with pytest.raises(RateLimited):
            await fails(tries)
    await fails(tries)
