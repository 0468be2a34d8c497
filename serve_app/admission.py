"""Who is let in, and who gives way: a request whose estimate misses its deadline is not drawn for nothing.

What has made a step never gives way. At the door nothing of a class does before all that waits in the classes below it;
of what waits already, only what would come too late. Pure decisions on the scheduler's estimates; `engine.py` carries
them out, and tells whoever it meets.
"""

from bisect import bisect_left
from collections.abc import Callable

from serve_app.errors import BadRequest, Overloaded
from serve_app.scheduler import Outlook, Scheduler
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
    weight = demand.turn.weight
    lower = [each.request_id for each in scheduler.waiting() if each.weight < weight]

    def fits(count: int) -> bool:
        return scheduler.outlook(demand, set(lower[:count])).eta_s <= _limit_s(demand)

    if not fits(len(lower)):
        raise overloaded(scheduler, demand)
    giving_way = lower[: bisect_left(range(len(lower)), True, key=fits)]
    return scheduler.outlook(demand, set(giving_way)), giving_way


def too_late(scheduler: Scheduler, waited_s: Callable[[str], float]) -> list[str]:
    """Of all that has not begun, whose picture would come after its deadline: the newest of the lowest class first, and
    as few as make the others come in time."""
    waiting = {each.request_id: each.turn.deadline_s for each in scheduler.waiting()}

    def late(without: set[str]) -> set[str]:
        return {
            request_id
            for request_id, outlook in scheduler.news(without).items()
            if waited_s(request_id) + outlook.eta_s > waiting[request_id]
        }

    now_late = late(set())
    if not now_late:
        return []
    ordered = [request_id for request_id in waiting if request_id in now_late]
    count = bisect_left(range(len(ordered)), True, key=lambda count: not late(set(ordered[:count])))
    return ordered[:count]


def overloaded(scheduler: Scheduler, demand: Demand) -> Overloaded:
    """With the time after which the same would be let in, if nothing else came."""
    late_s = scheduler.outlook(demand).eta_s - _limit_s(demand)
    return Overloaded("too much is waiting already", retry_after_s=max(LEAST_RETRY_S, late_s))


def _limit_s(demand: Demand) -> float:
    return HEADROOM * demand.turn.deadline_s
