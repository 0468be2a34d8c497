"""E1-E3: completed images a second when more arrives than the best static batch could draw.

Every side sees the same arrivals. The window opens after a warm-up; what has not finished when it closes is cancelled.
"""

from cluster.bench.figures import Figure, ratios
from cluster.bench.load import Arrival, completed_per_s, drive
from cluster.bench.stage import ENGINE, ONE_AT_A_TIME, SERVE_BATCH, STATIC, STEPS, TUNED, Stage
from edge.gateway import RayServeGateway

OVERLOAD = 1.5
WARM_S = 3.0
SETTLE_STEPS = 4
SETTLE_LIMIT_S = 60.0
SIDES = (ENGINE, ONE_AT_A_TIME, TUNED, SERVE_BATCH)
WHAT = f"images/s, {STEPS} steps, guidance 1, arrivals at {OVERLOAD:g}x the best static batch"


async def measure_throughput(stage: Stage, rounds: int, seconds: float) -> list[Figure]:
    rate_per_s = OVERLOAD * stage.curve[stage.best_batch]
    images_per_s: dict[str, list[float]] = {side: [] for side in (*SIDES, STATIC)}
    for number in range(rounds):
        images_per_s[STATIC].append(await stage.best_static(seconds / 2))
        for side in SIDES:
            rate = await _saturate(stage, side, rate_per_s, seconds, seed=number)
            images_per_s[side].append(rate)
        stage.say(f"throughput {number + 1}/{rounds}: {_last(images_per_s)}")
    notes = (
        f"images/s by static batch size: {', '.join(f'{n}: {rate:.1f}' for n, rate in stage.curve.items())}; "
        f"best {stage.best_batch}; offered {rate_per_s:.1f}/s; window {seconds:g} s after {WARM_S:g} s. "
        "The static side has no network, queue or load generator on its cores; every other side has."
    )
    against = {"E1": (ONE_AT_A_TIME, "≥ 2.0"), "E2": (STATIC, "≥ 0.95"), "E3": (TUNED, "≥ 0.95")}
    return [
        Figure(
            row=row,
            what=f"{WHAT}: engine / {rival}",
            reach=reach,
            rounds=ratios(images_per_s[ENGINE], images_per_s[rival]),
            sides={f"{side} images_per_s": rates for side, rates in images_per_s.items()},
            notes=notes,
        )
        for row, (rival, reach) in against.items()
    ]


async def _saturate(stage: Stage, side: str, rate_per_s: float, seconds: float, seed: int) -> float:
    until_s = WARM_S + seconds
    arrivals = stage.orders.arrivals(side, {STEPS: 1.0}, rate_per_s=rate_per_s, until_s=until_s, seed=seed)
    gateway = stage.gateway()
    try:
        outcomes = await drive(gateway, arrivals, until_s=until_s)
        await settle(stage, gateway, side)
    finally:
        await gateway.close()
    return completed_per_s(outcomes, WARM_S, until_s)


async def settle(stage: Stage, gateway: RayServeGateway, side: str) -> None:
    """Returns once the side answers a new request: what was cancelled no longer takes the next side's time."""
    probe = Arrival(0.0, stage.orders.one(side, SETTLE_STEPS))
    if (await drive(gateway, [probe], until_s=SETTLE_LIMIT_S))[0].finished_s is None:
        stage.say(f"{side} does not answer after its overload")


def _last(by_side: dict[str, list[float]]) -> str:
    return ", ".join(f"{side} {values[-1]:.3g}" for side, values in by_side.items())
