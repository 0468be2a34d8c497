"""E4 and E5: many short requests and a few long ones, below capacity: how long each class takes at its p95."""

from cluster.bench.figures import Figure, percentile, ratios
from cluster.bench.load import Outcome, completed_per_s, drive
from cluster.bench.stage import ENGINE, STEPS, TUNED, Stage
from cluster.bench.throughput import settle

SHORT, LONG = 4, 28
SHARES = {SHORT: 0.9, LONG: 0.1}
LOAD = 0.8
OVERLOAD = 1.5
WARM_S = 3.0
WINDOWS = 2  # of the usual length: the long class is a tenth of the arrivals
PATIENCE_S = 30.0
P = 0.95


async def measure_mixed(stage: Stage, rounds: int, seconds: float) -> list[Figure]:
    mean_steps = sum(steps * share for steps, share in SHARES.items())
    guess_per_s = stage.curve[stage.best_batch] * STEPS / mean_steps
    outcomes = await _drive(stage, TUNED, OVERLOAD * guess_per_s, WARM_S + seconds, 0.0, seed=1000)
    capacity_per_s = completed_per_s(outcomes, WARM_S, WARM_S + seconds)
    p95_s: dict[tuple[str, int], list[float]] = {(side, steps): [] for side in (ENGINE, TUNED) for steps in SHARES}
    for number in range(rounds):
        for side in (ENGINE, TUNED):
            until_s = WINDOWS * seconds
            outcomes = await _drive(stage, side, LOAD * capacity_per_s, until_s, PATIENCE_S, seed=number)
            for steps in SHARES:
                p95_s[side, steps].append(_p95_s(outcomes, steps))
        stage.say(
            f"mixed {number + 1}/{rounds}: " + ", ".join(f"{s} {n} steps {v[-1]:.3f} s" for (s, n), v in p95_s.items())
        )
    notes = (
        f"tuned batcher's capacity on the mix {capacity_per_s:.1f} images/s, offered {LOAD * capacity_per_s:.1f}/s "
        f"for {WINDOWS * seconds:g} s a round; latency from the intended arrival"
    )
    return [
        Figure(
            row=row,
            what=f"p95 of {steps}-step requests, 90 % {SHORT} and 10 % {LONG} steps at {LOAD:g} of the tuned "
            "batcher's capacity: engine / tuned batcher",
            reach=reach,
            rounds=ratios(p95_s[ENGINE, steps], p95_s[TUNED, steps]),
            sides={f"{side} {n}-step p95_s": values for (side, n), values in p95_s.items()},
            notes=notes,
        )
        for row, steps, reach in (("E4", SHORT, "≤ 0.3"), ("E5", LONG, "≤ 1.0"))
    ]


async def _drive(
    stage: Stage, side: str, rate_per_s: float, until_s: float, patience_s: float, seed: int
) -> list[Outcome]:
    arrivals = stage.orders.arrivals(side, SHARES, rate_per_s=rate_per_s, until_s=until_s, seed=seed)
    gateway = stage.gateway()
    try:
        outcomes = await drive(gateway, arrivals, until_s=until_s + patience_s)
        await settle(stage, gateway, side)
        return outcomes
    finally:
        await gateway.close()


def _p95_s(outcomes: list[Outcome], steps: int) -> float:
    return percentile([o.latency_s for o in outcomes if o.arrival.request.steps == steps], P)
