"""E6 and E8: an engine that more is asked of than it can draw. What paying callers feel of it, and what is still drawn
in time.

Both are the engine's own, so they are measured on an engine in this process, under an open loop of arrivals.
"""

import asyncio
import statistics
from collections.abc import Sequence

from cluster.bench.figures import Figure, percentile, ratios
from cluster.bench.load import Arrival, Outcome, completed_per_s, drive
from cluster.bench.orders import Orders
from cluster.bench.stage import ENGINE, STEPS
from serve_app.contract import Generator

P = 0.95
PAID_LOAD, FLOOD = 0.2, 4.0  # of what one request at a time would keep busy
PAID_STEPS = {28: "≤ 1.2", 4: "≤ 1.5"}
PAID_WINDOWS = 6  # of the usual length: paid arrivals are few
TAIL_S = 3.0  # the flood outlasts the paid requests that came last
ALONE_CALLS = 5

OVERLOADS = (2.0, 5.0)
SATURATING = 1.5  # of the engine's own estimate
PAID_SHARE = 0.2
DEADLINES_S = {"anonymous": 18.0, "paid": 12.0}  # a tenth of the plans', so that a round sees them pass
WARM_S = 18.0


async def measure_flood(engine: Generator, orders: Orders, rounds: int, seconds: float) -> list[Figure]:
    return [await _measure_flood(engine, orders, steps, reach, rounds, seconds) for steps, reach in PAID_STEPS.items()]


async def measure_overload(engine: Generator, orders: Orders, rounds: int, seconds: float) -> list[Figure]:
    until_s = WARM_S + seconds
    capacity_per_s = await _capacity_per_s(engine, orders, seconds)
    goodput: dict[float, list[float]] = {load: [] for load in (1.0, *OVERLOADS)}
    for number in range(rounds):
        for load, measured in goodput.items():
            arrivals = _mixed(orders, load * capacity_per_s, until_s, seed=number)
            measured.append(goodput_per_s(await drive(engine, arrivals, until_s=until_s, may_shed=True), until_s))
    deadlines = ", ".join(f"{traffic} {seconds:g} s" for traffic, seconds in DEADLINES_S.items())
    return [
        Figure(
            row=f"E8-{load:g}x",
            what=f"images/s within their deadline, {STEPS} steps, arrivals at {load:g}x capacity / at capacity",
            reach="≥ 0.95",
            rounds=ratios(goodput[load], goodput[1.0]),
            sides={f"at {each:g}x capacity images_per_s": rates for each, rates in goodput.items()},
            notes=f"engine in process, with load generator and encoders on its cores; capacity {capacity_per_s:.1f} "
            f"images/s under overload without deadlines; {PAID_SHARE:.0%} of arrivals paid; deadlines {deadlines}; "
            f"window {seconds:g} s after {WARM_S:g} s",
        )
        for load in OVERLOADS
    ]


def goodput_per_s(outcomes: Sequence[Outcome], until_s: float) -> float:
    return completed_per_s([o for o in outcomes if o.latency_s <= o.arrival.request.turn.deadline_s], WARM_S, until_s)


async def _measure_flood(
    engine: Generator, orders: Orders, steps: int, reach: str, rounds: int, seconds: float
) -> Figure:
    until_s = PAID_WINDOWS * seconds
    busy_per_s = 1 / await _alone_s(engine, orders, steps)
    p95_s: dict[str, list[float]] = {"alone": [], "under the flood": []}
    for number in range(rounds):
        for side, flood_per_s in zip(p95_s, (0.0, FLOOD * busy_per_s), strict=True):
            paid = orders.arrivals(
                ENGINE, {steps: 1.0}, rate_per_s=PAID_LOAD * busy_per_s, until_s=until_s, seed=number, traffic="paid"
            )
            flood = _flood(orders, steps, flood_per_s, until_s + TAIL_S, seed=number)
            outcomes, _ = await asyncio.gather(
                drive(engine, paid, until_s=until_s + TAIL_S), drive(engine, flood, until_s=until_s + TAIL_S)
            )
            p95_s[side].append(percentile([o.latency_s for o in outcomes], P))
    return Figure(
        row=f"E6-{steps}",
        what=f"paid p95, {steps} steps, under a {FLOOD:g}x anonymous flood of the same work / paid alone",
        reach=reach,
        rounds=ratios(p95_s["under the flood"], p95_s["alone"]),
        sides={f"{side} p95_s": values for side, values in p95_s.items()},
        notes=f"engine in process; one request at a time would draw {busy_per_s:.2f} images/s: paid arrivals at "
        f"{PAID_LOAD:g} of that, the flood at {FLOOD:g} times that; {until_s:g} s a side and round",
    )


async def _alone_s(engine: Generator, orders: Orders, steps: int) -> float:
    outcomes = [await drive(engine, [Arrival(0.0, orders.one(ENGINE, steps))], until_s=60) for _ in range(ALONE_CALLS)]
    return statistics.median(outcome.latency_s for [outcome] in outcomes)


async def _capacity_per_s(engine: Generator, orders: Orders, seconds: float) -> float:
    status = await engine.status(ENGINE)
    until_s, rate_per_s = WARM_S + seconds, SATURATING * status.rows_per_s / STEPS
    arrivals = orders.arrivals(ENGINE, {STEPS: 1.0}, rate_per_s=rate_per_s, until_s=until_s, seed=1000)
    return completed_per_s(await drive(engine, arrivals, until_s=until_s), WARM_S, until_s)


def _flood(orders: Orders, steps: int, rate_per_s: float, until_s: float, seed: int) -> list[Arrival]:
    if not rate_per_s:
        return []
    return orders.arrivals(ENGINE, {steps: 1.0}, rate_per_s=rate_per_s, until_s=until_s, seed=seed + 1)


def _mixed(orders: Orders, rate_per_s: float, until_s: float, seed: int) -> list[Arrival]:
    shares = {"anonymous": 1 - PAID_SHARE, "paid": PAID_SHARE}
    arrivals = [
        arrival
        for number, (traffic, share) in enumerate(shares.items())
        for arrival in orders.arrivals(
            ENGINE,
            {STEPS: 1.0},
            rate_per_s=share * rate_per_s,
            until_s=until_s,
            seed=10 * seed + number,
            traffic=traffic,
            deadline_s=DEADLINES_S[traffic],
        )
    ]
    return sorted(arrivals, key=lambda arrival: arrival.at_s)
