"""Open-loop load: requests leave at Poisson times whatever becomes of the earlier ones.

A latency counts from the moment the request was meant to leave, so a generator that falls behind cannot hide a queue.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from serve_app.contract import Failed, GenerateRequest, Generator, Succeeded
from serve_app.errors import Overloaded


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    request: GenerateRequest


@dataclass(frozen=True, slots=True)
class Outcome:
    """`finished_s` is None for a request that had not ended when the run did, or was refused where that is part of what
    is measured. Seconds count from the run's begin."""

    arrival: Arrival
    finished_s: float | None

    @property
    def latency_s(self) -> float:
        """Infinite for what never finished, so that no percentile can forget it."""
        return float("inf") if self.finished_s is None else self.finished_s - self.arrival.at_s


class RequestFailed(Exception):
    """A benchmark's request was refused or failed: the run shows nothing."""


def poisson_times(rate_per_s: float, until_s: float, seed: int) -> Iterator[float]:
    chance = random.Random(seed)
    at_s = chance.expovariate(rate_per_s)
    while at_s < until_s:
        yield at_s
        at_s += chance.expovariate(rate_per_s)


async def drive(
    target: Generator, arrivals: Sequence[Arrival], *, until_s: float, may_shed: bool = False
) -> list[Outcome]:
    """Sends every request at its time; at `until_s` cancels what is still on its way. Raises RequestFailed, unless it
    `may_shed` and says that it is overloaded."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    asked: list[asyncio.Task[Outcome]] = []
    for arrival in arrivals:
        await asyncio.sleep(max(0.0, began_s + arrival.at_s - loop.time()))
        asked.append(asyncio.create_task(_ask(target, arrival, began_s, may_shed)))
    if asked:
        _, late = await asyncio.wait(asked, timeout=max(0.0, began_s + until_s - loop.time()))
        for task in late:
            task.cancel()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    return [_outcome(arrival, end) for arrival, end in zip(arrivals, ended, strict=True)]


def completed_per_s(outcomes: Sequence[Outcome], from_s: float, to_s: float) -> float:
    finished = [o.finished_s for o in outcomes if o.finished_s is not None and from_s <= o.finished_s < to_s]
    return len(finished) / (to_s - from_s)


def _outcome(arrival: Arrival, end: Outcome | BaseException) -> Outcome:
    match end:
        case Outcome():
            return end
        case asyncio.CancelledError():
            return Outcome(arrival, None)
        case _:
            raise end


async def _ask(target: Generator, arrival: Arrival, began_s: float, may_shed: bool) -> Outcome:
    async with aclosing(target.generate(arrival.request)) as events:
        async for event in events:
            if isinstance(event, Failed):
                if may_shed and event.code == Overloaded.code:
                    return Outcome(arrival, None)
                raise RequestFailed(f"{event.code}: {event.message}")
            if isinstance(event, Succeeded):
                return Outcome(arrival, asyncio.get_running_loop().time() - began_s)
    raise RequestFailed("the stream ended without an end")
