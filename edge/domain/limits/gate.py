"""Who may ask for how much now: the windows of each kind of call, taken together, and what is remembered of refusals.

Answers facts. `edge.guards.limits` turns them into headers and refusals.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from msgspec import Struct

from edge.domain.limits.budget import Budget
from edge.domain.limits.limiter import Answer, Ask, Lease, Limiter, Take
from edge.domain.limits.networks import Network
from edge.domain.limits.proof import ONCE, Proofs
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Standing, Window
from edge.domain.owner import Owner
from edge.domain.run import Run
from policies.schema import Allowance, Plan, PlansPolicy

HOLD_S = 10.0  # a third of a lease
MOST_REMEMBERED = 50_000
REMEMBERED_MS = 30_000  # a plan may change, and pictures may come back, before a day is over

PICTURES, REQUESTS, MODERATIONS = "pictures", "requests", "moderations"


class Asker(Struct, frozen=True):
    """`networks` are empty for an account, which counts by itself alone; without `owner` they are all that counts."""

    owner: Owner | None
    plan: Plan | None
    networks: tuple[Network, ...]

    @property
    def is_anonymous(self) -> bool:
        return self.owner is None or self.owner.kind == "session"


class Charge(Struct, frozen=True):
    """What a call was charged, or why it was not. `refused_by` is the window that has no room for `cost`;
    `is_crowded`: as many jobs as may be are under way."""

    ask: Ask
    answer: Answer
    refused_by: Standing | None = None
    cost: int = 0
    is_crowded: bool = False
    pictures: tuple[Take, ...] = ()
    of_budget: int = 0

    @property
    def is_admitted(self) -> bool:
        return self.answer.is_admitted


class Gate:
    """Use as a context: while inside, the places of running jobs are renewed."""

    def __init__(self, limiter: Limiter, plans: PlansPolicy, proofs: Proofs, clock: Callable[[], float]) -> None:
        self._limiter = limiter
        self._proofs = proofs
        self._clock = clock
        self._budget = Budget(plans.anonymous_budget)
        self._of_plans = {id(plan): _windows(plan.allowance) for plan in plans.plans.values()}
        self._of_networks = {level: _windows(each, "network-") for level, each in plans.networks.levels().items()}
        self._refused: dict[tuple[str, str], Charge] = {}
        self._leases: dict[str, Lease] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._holding: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._holding = asyncio.create_task(self._hold_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._holding is not None:
            self._holding.cancel()
            with suppress(asyncio.CancelledError):
                await self._holding
        if self._following:
            await asyncio.wait(self._following)

    @property
    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def remembered(self, asker: Asker, kind: str) -> Charge | None:
        """A refusal that still holds, for any call of this kind: it costs no round trip."""
        takes = self._takes(asker, kind, 1)
        return self._recall(takes + self._of_budget(asker, 1) if kind == PICTURES else takes)

    async def request(self, asker: Asker, kind: str = REQUESTS) -> Charge:
        """One call: for anything but pictures."""
        takes = self._takes(asker, kind, 1)
        return self._recall(takes) or self._charged(Ask(self.now_ms, takes), await self._ask(takes))

    async def pictures(self, asker: Asker, images: int, solution: str | None = None) -> Charge:
        """A call for so many pictures, its place among the caller's jobs included. Follow it, or give it back.

        Raises ProofRequired where very many ask: `solution` is one of its challenge.
        """
        takes = self._takes(asker, PICTURES, images)
        own = tuple(take for take in takes if take.window.unit == "images")
        if refused := self._recall(takes + self._of_budget(asker, images)):
            return refused
        if not asker.is_anonymous:
            return await self._take_pictures(asker, images, takes, own)
        if self._budget.is_busy(self.now_ms):
            takes += (await self._proofs.use_of(solution),)
        async with self._budget.turn(images, self.now_ms):
            refused = self._recall(self._of_budget(asker, images))
            charge = refused or await self._take_pictures(asker, images, takes, own)
        if charge.refused_by is not None and charge.refused_by.window == ONCE:
            raise self._proofs.required("this solution has been used: each counts once")
        return charge

    async def give_back(self, charge: Charge) -> None:
        """The pictures did not begin, through no fault of the caller's. The request stays counted."""
        if charge.is_admitted:
            if charge.of_budget:
                self._budget.settle(charge.of_budget, charge.answer.standings[-1])
            await self._limiter.give_back(charge.ask, charge.pictures, is_local=charge.answer.is_local)
            for take in charge.pictures:  # only now: until it is back, whoever asks is refused and remembered
                self._refused.pop((take.subject, take.window.name), None)
            await self._release(charge)

    def follow(self, charge: Charge, run: Run) -> None:
        """Until it is over: then its place is free, and what never began to be drawn comes back."""
        following = asyncio.create_task(self._follow(charge, run))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def hold(self) -> None:
        """Renews the places of all jobs that are under way here."""
        await self._limiter.hold(list(self._leases.values()), self.now_ms)

    def _of_budget(self, asker: Asker, images: int) -> tuple[Take, ...]:
        return (self._budget.wanted(images),) if asker.is_anonymous else ()

    async def _take_pictures(self, asker: Asker, images: int, takes: tuple[Take, ...], own: tuple[Take, ...]) -> Charge:
        now_ms = self.now_ms
        lease, most = None, 0
        if asker.owner is not None and asker.plan is not None:
            lease = Lease(_subject(asker.owner), secrets.token_hex(8), now_ms)
            most = asker.plan.concurrent_jobs
        reserved = 0
        if asker.is_anonymous:
            reserved, wanted = self._budget.reserve(images, now_ms)
            takes += (wanted,)
        ask = Ask(now_ms, takes, lease, most)
        answer = await self._limiter.take(ask)
        if asker.is_anonymous:
            beyond = answer.granted[-1] - takes[-1].cost if answer.is_admitted else reserved
            self._budget.settle(beyond, answer.standings[-1])
        if lease is not None and answer.is_admitted:
            self._leases[lease.id] = lease
        return self._charged(ask, answer, own, images if asker.is_anonymous else 0)

    async def _ask(self, takes: tuple[Take, ...]) -> Answer:
        return await self._limiter.take(Ask(self.now_ms, takes))

    def _charged(self, ask: Ask, answer: Answer, pictures: tuple[Take, ...] = (), of_budget: int = 0) -> Charge:
        if answer.is_admitted:
            return Charge(ask, answer, pictures=pictures, of_budget=of_budget)
        full = [
            (standing, take)
            for standing, take in zip(answer.standings, ask.takes, strict=True)
            if standing.available < take.cost
        ]
        if not full:
            return Charge(ask, answer, is_crowded=True)
        standing, take = max(full, key=lambda pair: pair[0].wait_ms(pair[1].cost))
        charge = Charge(ask, answer, refused_by=standing, cost=take.cost)
        if not answer.is_local:  # what one edge allows alone says nothing about a moment later
            self._remember(take, charge)
        return charge

    def _remember(self, take: Take, charge: Charge) -> None:
        while len(self._refused) >= MOST_REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._refused.pop((take.subject, take.window.name), None)  # the oldest stay first
        self._refused[take.subject, take.window.name] = charge

    def forget(self) -> None:
        """Whom nobody asks for again is not remembered either: a subject is a part of somebody's address."""
        now_ms = self.now_ms
        for name, charge in list(self._refused.items()):
            if 0 <= now_ms - charge.ask.now_ms < REMEMBERED_MS:
                break
            del self._refused[name]

    def _recall(self, takes: tuple[Take, ...]) -> Charge | None:
        now_ms = self.now_ms
        for take in takes:
            charge = self._refused.get((take.subject, take.window.name))
            if charge is None or charge.refused_by is None:
                continue
            if not 0 <= now_ms - charge.ask.now_ms < REMEMBERED_MS:
                del self._refused[take.subject, take.window.name]
            elif charge.refused_by.at(now_ms).available < take.cost:
                return charge
        return None

    def _takes(self, asker: Asker, kind: str, images: int) -> tuple[Take, ...]:
        takes = list[Take]()
        if asker.owner is not None and asker.plan is not None:
            windows = self._of_plans.get(id(asker.plan)) or _windows(asker.plan.allowance)
            takes += _each(_subject(asker.owner), windows[kind], images)
        if asker.is_anonymous:
            for network in asker.networks:
                takes += _each(network.subject, self._of_networks[network.level][kind], images)
        return tuple(takes)

    async def _follow(self, charge: Charge, run: Run) -> None:
        ended = await run.finished()
        if ended.status == "failed" and not run.is_running:
            await self.give_back(charge)
        else:
            await self._release(charge)

    async def _release(self, charge: Charge) -> None:
        if charge.ask.lease is not None and self._leases.pop(charge.ask.lease.id, None):
            await self._limiter.release(charge.ask.lease)

    async def _hold_for_ever(self) -> None:
        while True:
            await asyncio.sleep(HOLD_S)
            self.forget()
            if self._leases:
                await self.hold()


def _subject(owner: Owner) -> str:
    return f"{owner.kind}:{owner.id}"


def _windows(allowance: Allowance, prefix: str = "") -> dict[str, tuple[Window, ...]]:
    requests = Window(f"{prefix}requests-per-minute", allowance.requests_per_minute, MINUTE_MS)
    return {
        PICTURES: (
            Window(f"{prefix}images-per-minute", allowance.images_per_minute, MINUTE_MS, "images"),
            Window(f"{prefix}images-per-day", allowance.images_per_day, DAY_MS, "images"),
            requests,
        ),
        REQUESTS: (requests,),
        MODERATIONS: (Window(f"{prefix}moderations-per-minute", allowance.moderations_per_minute, MINUTE_MS),),
    }


def _each(subject: str, windows: tuple[Window, ...], images: int) -> list[Take]:
    return [Take(subject, window, images if window.unit == "images" else 1) for window in windows]
