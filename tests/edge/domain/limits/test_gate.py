"""Who is charged what, over several edges: the strangers' budget, and what an edge remembers of refusals."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec
import pytest
from valkey.asyncio import Valkey

from edge.domain.limits.gate import PICTURES, Asker, Gate
from edge.domain.limits.limiter import Answer, Ask, Limiter, Take
from edge.domain.limits.memory import MemoryLimiter
from edge.domain.limits.networks import networks_of
from edge.domain.limits.proof import Proofs
from edge.domain.limits.shared import SharedLimiter
from edge.domain.owner import Owner, OwnerId
from policies.load import load_policies
from policies.schema import PlansPolicy
from tests.edge.edges import Clock

BUDGET, SHARE = 100, 20


def plans() -> PlansPolicy:
    shipped = load_policies().plans
    budget = msgspec.structs.replace(shipped.anonymous_budget, images_per_minute=BUDGET, share=SHARE, proof_above=1.0)
    return msgspec.structs.replace(shipped, anonymous_budget=budget)


def gate_over(limiter: Limiter, policy: PlansPolicy, clock: Clock) -> Gate:
    return Gate(limiter, policy, Proofs(b"k" * 32, cost=1, clock=clock), clock)


def stranger(policy: PlansPolicy, number: int) -> Asker:
    networks = networks_of(ip_address(f"203.0.{number // 256}.{number % 256}"))
    return Asker(Owner("session", OwnerId(f"{number:032x}")), policy.plans["anonymous"], networks)


class CountingLimiter(MemoryLimiter):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def take(self, ask: Ask) -> Answer:
        self.asked += 1
        return await super().take(ask)

    async def give_back(self, ask: Ask, takes: Sequence[Take], *, is_local: bool = False) -> None:
        await super().give_back(ask, takes, is_local=is_local)


async def drawn(gate: Gate, policy: PlansPolicy, numbers: range, images: int = 1) -> int:
    charges = await asyncio.gather(*(gate.pictures(stranger(policy, number), images) for number in numbers))
    return sum(charge.is_admitted for charge in charges)


@pytest.mark.parametrize("images", [1, 3, 10])
async def test_edges_together_never_hand_out_more_than_the_budget_and_at_most_a_share_each_less(
    valkey_url: str, images: int
) -> None:
    policy, clock = plans(), Clock()
    async with Valkey.from_url(valkey_url) as one, Valkey.from_url(valkey_url) as other:
        gates = [gate_over(SharedLimiter(client, 10.0), policy, clock) for client in (one, other)]
        done = await asyncio.gather(
            *(drawn(gates[n % 2], policy, range(n * 50, n * 50 + 50), images) for n in range(4))
        )
        assert BUDGET - len(gates) * (SHARE + images) <= sum(done) * images <= BUDGET
        clock.advance(30)
        assert sum([await drawn(gate, policy, range(500, 510)) for gate in gates]) <= len(gates) * SHARE
        clock.advance(90)
        assert await drawn(gates[0], policy, range(600, 610)) == 10


async def test_an_edge_asks_for_a_share_and_hands_it_out_by_itself() -> None:
    policy, clock = plans(), Clock()
    limiter = CountingLimiter()
    gate = gate_over(limiter, policy, clock)
    assert await drawn(gate, policy, range(BUDGET)) == BUDGET
    assert await drawn(gate, policy, range(BUDGET, BUDGET + 5)) == 0


async def test_a_refused_caller_costs_no_round_trip_until_its_time_has_come() -> None:
    policy, clock = plans(), Clock()
    limiter = CountingLimiter()
    gate = gate_over(limiter, policy, clock)
    asker = stranger(policy, 1)
    assert (await gate.pictures(asker, 10)).is_admitted
    assert (await gate.pictures(asker, 10)).is_admitted
    refused = await gate.pictures(asker, 1)
    assert refused.refused_by
    asked = limiter.asked
    for _ in range(100):
        assert not (await gate.pictures(asker, 1)).is_admitted
        assert gate.remembered(asker, PICTURES)
    assert limiter.asked == asked
    assert (await gate.request(asker)).is_admitted  # reading goes on
    assert (await gate.pictures(stranger(policy, 2), 1)).is_admitted
    for _ in range(5):  # it is remembered for a while only
        clock.advance(20)
        if (charge := await gate.pictures(asker, 1)).is_admitted:
            break
    assert charge.is_admitted


async def test_whom_it_refused_is_forgotten_also_when_they_never_come_again() -> None:
    policy, clock = plans(), Clock()
    gate = gate_over(MemoryLimiter(), policy, clock)
    for number in (1, 2):
        for images in (10, 10, 1):
            charge = await gate.pictures(stranger(policy, number), images)
        assert not charge.is_admitted
        clock.advance(20)
    gate.forget()
    assert [subject for subject, _ in gate._refused] == [f"session:{2:032x}"]
    clock.advance(20)
    gate.forget()
    assert gate._refused == {}


async def test_what_comes_back_is_known_at_once() -> None:
    policy, clock = plans(), Clock()
    gate = gate_over(MemoryLimiter(), policy, clock)
    asker = stranger(policy, 1)
    assert (await gate.pictures(asker, 10)).is_admitted
    last = await gate.pictures(asker, 10)
    assert not (await gate.pictures(asker, 1)).is_admitted
    await gate.give_back(last)
    assert (await gate.pictures(asker, 10)).is_admitted


@pytest.mark.parametrize("shared", [False, True])
async def test_an_account_is_counted_by_itself_alone(shared: bool, valkey_url: str) -> None:
    policy, clock = plans(), Clock()
    async with Valkey.from_url(valkey_url) as client:
        limiter: Limiter = SharedLimiter(client, 10.0) if shared else MemoryLimiter()
        gate = gate_over(limiter, policy, clock)
        await drawn(gate, policy, range(BUDGET))
        account = Asker(Owner("account", OwnerId("a" * 32)), policy.plans["api"], ())
        charges = [await gate.pictures(account, 10) for _ in range(31)]
        assert [charge.is_admitted for charge in charges] == [True] * 30 + [False]
