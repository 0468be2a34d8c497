"""A scheduler on a virtual clock: a pass of n rows takes what a small GPU-like curve says."""

from collections.abc import Iterator

from serve_app.contract import Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.scheduler import Pass, Scheduler
from serve_app.step_times import StepTimes, ladder
from serve_app.traffic import Demand

SMALL = BatchKey("m", (4, 8, 8), 16)
LARGE = BatchKey("m", (4, 16, 16), 16)
MAX_ROWS = 16


def seconds(rows: int) -> float:
    return 0.01 + 0.005 * rows


def scheduler(max_rows: int = MAX_ROWS) -> Scheduler:
    times = StepTimes(max_forward_rows=max_rows, max_step_s=1.0)
    for key in (SMALL, LARGE):
        for rows in ladder(max_rows):
            times.observe(key, rows, seconds(rows))
    return Scheduler(times)


def demand(
    tenant: str = "t",
    traffic: str = "anonymous",
    *,
    steps: int = 4,
    rows: int = 1,
    guided: bool = False,
    key: BatchKey = SMALL,
) -> Demand:
    weight, slowdown = (8.0, 1.2) if traffic == "paid" else (1.0, None)
    turn = Turn(traffic, tenant, weight, 60.0, slowdown)
    return Demand(turn, key, rows, 2 if guided else 1, steps)


def run(queue: Scheduler, passes: int = 10_000) -> list[Pass]:
    made: list[Pass] = []
    while len(made) < passes and (picked := queue.pick()) is not None:
        queue.done(picked, seconds(picked.forward_rows))
        made.append(picked)
    return made


def each(queue: Scheduler) -> Iterator[Pass]:
    """Every pass as it is about to be made."""
    while (picked := queue.pick()) is not None:
        yield picked
        queue.done(picked, seconds(picked.forward_rows))


def finish_order(made: list[Pass]) -> list[str]:
    last = {ticket.request_id: number for number, picked in enumerate(made) for ticket in picked.tickets}
    return sorted(last, key=lambda request: last[request])
