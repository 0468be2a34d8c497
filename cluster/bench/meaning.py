"""M1, the whole of it: how long one prompt is judged, by its words and by its meaning, none of it seen before."""

import random
from collections.abc import Sequence
from time import perf_counter

from cluster.bench.figures import Figure, percentile
from edge.domain.moderation.judge import Judge
from edge.domain.moderation.semantics import Semantics
from policies.load import load_policies
from serve_app.contract import Prompt

PROMPTS = 300  # in a round
WARM_PROMPTS = 20
START_S = 60.0
NEGATIVES = 0.2  # of all prompts have a negative one
SUBJECTS = (
    "an old fisherman", "a lighthouse", "two dogs", "a glass teapot", "a mountain village", "an astronaut",
    "a street market", "a paper boat", "a red tram", "a violin", "a greenhouse", "a steam engine",
)  # fmt: skip
PLACES = (
    "in the snow",
    "at dawn",
    "by the harbour",
    "under a bridge",
    "in a walled garden",
    "on a blue table",
    "in fog",
)
STYLES = (
    "oil painting", "soft light", "highly detailed", "isometric", "watercolour on rough paper", "35 mm photograph",
    "muted colours", "wide angle", "long shadows", "in the manner of a Dutch still life", "low sun", "grainy",
)  # fmt: skip
UNWANTED = ("blurry", "text", "watermark", "frame", "low quality", "extra fingers", "cropped", "noise")


async def measure_judging(rounds: int) -> tuple[Figure, Figure]:
    policy = load_policies().moderation
    exemplars = {name: category.exemplars for name, category in policy.categories.items()}
    taken_s: list[list[float]] = []
    async with Semantics(exemplars) as semantics:
        await semantics.scores(["a red apple"], deadline_s=START_S)
        judge = Judge(policy, semantics)
        await _judged_s(judge, _prompts(-1, WARM_PROMPTS))
        for number in range(rounds):
            taken_s.append(await _judged_s(judge, _prompts(number, PROMPTS)))
    return _figure("p50", 0.5, "≤ 10 ms", taken_s), _figure("p99", 0.99, "≤ 40 ms", taken_s)


def _figure(name: str, share: float, reach: str, taken_s: Sequence[Sequence[float]]) -> Figure:
    took_ms = [percentile(round_s, share) * 1e3 for round_s in taken_s]
    return Figure(
        row=f"M1-prompt-{name}",
        what=f"ms to judge a prompt by words and by meaning, {name}",
        reach=reach,
        rounds=took_ms,
        sides={f"{name}_ms": took_ms},
        notes=f"one after another, {PROMPTS} a round, each prompt new and of 4 to 50 words, every fifth with a "
        "negative one; the encoder in its own process on one core",
    )


def _prompts(round_number: int, count: int) -> list[Prompt]:
    chance = random.Random(round_number)
    return [_prompt(chance) for _ in range(count)]


def _prompt(chance: random.Random) -> Prompt:
    styles = chance.sample(STYLES, chance.randint(0, len(STYLES)))
    text = ", ".join([f"{chance.choice(SUBJECTS)} {chance.choice(PLACES)} {chance.randrange(10**6)}", *styles])
    is_negated = chance.random() < NEGATIVES
    return Prompt(text, ", ".join(chance.sample(UNWANTED, chance.randint(1, 5))) if is_negated else "")


async def _judged_s(judge: Judge, prompts: Sequence[Prompt]) -> list[float]:
    """Raises RuntimeError where a harmless prompt is blocked: that would cost less."""
    taken_s: list[float] = []
    for prompt in prompts:
        began_s = perf_counter()
        found = await judge.find(prompt, is_adult=False)
        taken_s.append(perf_counter() - began_s)
        if found is not None:
            raise RuntimeError(f"a harmless prompt is blocked: {found.category}")
    return taken_s
