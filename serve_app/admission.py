"""Who is let in, and who gives way: a request whose estimate misses its deadline is not drawn for nothing.

What has begun never gives way, and nothing of a class does before all that waits in the classes below it, where that
would help: at the door for whoever comes, later for whoever would come too late by now. Pure decisions on the
scheduler's estimates; `engine.py` carries them out, and tells whoever it meets.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence

from serve_app.errors import BadRequest, Overloaded
from serve_app.scheduler import Outlook, Scheduler, Waiting
from serve_app.traffic import Demand

HEADROOM = 0.9  # of a deadline: an estimate that is just met at the door is missed by every second one
LEAST_RETRY_S = 1.0


def make_room(scheduler: Scheduler, demand: Demand) -> tuple[Outlook, list[str]]:
    """Where the request will stand, once those have given way that are named: as few as will do.

    Raises Overloaded where that is not enough, BadRequest where no emptiness would be.
    """
    outlook = scheduler.outlook(demand)
    if outlook.eta_s <= _limit_s(demand):
        return outlook, []
    if scheduler.alone_s(demand) > _limit_s(demand):
        raise BadRequest("this takes longer than its deadline even alone on this machine")
    lower = _below(demand.turn.weight, scheduler.waiting())

    def fits(giving_way: Sequence[str]) -> bool:
        return scheduler.outlook(demand, set(giving_way)).eta_s <= _limit_s(demand)

    if not lower or not fits(lower):
        raise overloaded(scheduler, demand)
    giving_way = _as_few_of(lower, fits)
    return scheduler.outlook(demand, set(giving_way)), giving_way


def too_late(scheduler: Scheduler, waited_s: Callable[[str], float]) -> list[str]:
    """Of all that has not begun, who gives way so that the others come in time: the highest class is seen to first."""
    waiting = scheduler.waiting()
    deadline_s = {each.request_id: each.turn.deadline_s for each in waiting}

    def late(without: Collection[str]) -> set[str]:
        return {
            request_id
            for request_id, outlook in scheduler.news(without).items()
            if waited_s(request_id) + outlook.eta_s > deadline_s[request_id]
        }

    gone: set[str] = set()
    for weight in sorted({each.weight for each in waiting}, reverse=True):
        gone |= _giving_way_for(weight, waiting, late, gone)
    return [request_id for request_id in deadline_s if request_id in gone]


def _giving_way_for(
    weight: float, waiting: Sequence[Waiting], late: Callable[[Collection[str]], set[str]], gone: Collection[str]
) -> set[str]:
    """As few as make a class come in time: of its own only what would be late without all of the lower ones."""
    own = [each.request_id for each in waiting if each.weight == weight and each.request_id not in gone]
    lower = [request_id for request_id in _below(weight, waiting) if request_id not in gone]

    def in_time(giving_way: Sequence[str]) -> bool:
        return late({*gone, *giving_way}).isdisjoint(own)

    if in_time([]):
        return set()
    late_anyway = late({*gone, *lower})
    hopeless = [request_id for request_id in own if request_id in late_anyway]
    lost = _as_few_of(hopeless, lambda part: in_time([*lower, *part]))
    return {*lost, *_as_few_of(lower, lambda part: in_time([*lost, *part]))}


def overloaded(scheduler: Scheduler, demand: Demand) -> Overloaded:
    """With the time after which the same would be let in, if nothing else came."""
    late_s = scheduler.outlook(demand).eta_s - _limit_s(demand)
    return Overloaded("too much is waiting already", retry_after_s=max(LEAST_RETRY_S, late_s))


def _below(weight: float, waiting: Sequence[Waiting]) -> list[str]:
    return [each.request_id for each in waiting if each.weight < weight]


def _as_few_of(ordered: Sequence[str], suffice: Callable[[Sequence[str]], bool]) -> list[str]:
    """Its first ones; all of them do."""
    count = bisect_left(range(len(ordered)), True, key=lambda count: suffice(ordered[:count]))
    return list(ordered[:count])


def _limit_s(demand: Demand) -> float:
    return HEADROOM * demand.turn.deadline_s
