"""The requests that benchmarks send, as plain calls do: one image, inline, nothing stored, each caller a visitor."""

import random
from collections.abc import Mapping
from itertools import count

from cluster.bench.load import Arrival, poisson_times
from edge.domain.orders import CALL_NEWS_S
from policies.load import model_digest
from policies.schema import Policies
from policies.size import parse_size
from serve_app.contract import GenerateRequest, Prompt, Turn

MODEL = "sfumato-embedded"
NO_DEADLINE_S = 86_400.0  # an overload is meant here, and a refusal would not show what it costs
PROMPTS = ("a red apple", "a blue car", "a sunflower", "a green tree", "a yellow house", "a white cat")


class Orders:
    """Seeded, so that every side gets the same work at the same times."""

    def __init__(self, policies: Policies) -> None:
        self._model = policies.models.models[MODEL]
        self._digest = model_digest(self._model, policies.moderation.images)
        self._traffic = policies.plans.traffic
        self._numbers = count()

    def one(
        self, to: str, steps: int, *, prompt: str = PROMPTS[0], seed: int = 0, previews: int = 0,
        traffic: str = "anonymous", deadline_s: float = NO_DEADLINE_S,
    ) -> GenerateRequest:  # fmt: skip
        """`to` is the application that shall answer."""
        number = next(self._numbers)
        rank = self._traffic[traffic]
        width_px, height_px = parse_size(self._model.auto_size)
        return GenerateRequest(
            job_id=f"bench-{number}",
            model=to,
            policy_digest=self._digest,
            prompt=Prompt(prompt),
            n=1,
            width_px=width_px,
            height_px=height_px,
            steps=steps,
            guidance=1.0,
            seed=seed,
            turn=Turn(traffic, f"visitor-{number}", rank.weight, deadline_s, rank.max_step_slowdown),
            previews=previews,
            inline=True,
            news_every_s=CALL_NEWS_S,
        )

    def arrivals(
        self, to: str, shares: Mapping[int, float], *, rate_per_s: float, until_s: float, seed: int,
        traffic: str = "anonymous", deadline_s: float = NO_DEADLINE_S,
    ) -> list[Arrival]:  # fmt: skip
        """Poisson arrivals; `shares` says how often each number of steps is asked for."""
        chance = random.Random(f"{seed} what")
        arrivals: list[Arrival] = []
        for at_s in poisson_times(rate_per_s, until_s, seed):
            steps = chance.choices(list(shares), list(shares.values()))[0]
            request = self.one(
                to, steps, prompt=chance.choice(PROMPTS), seed=chance.randrange(2**32), traffic=traffic,
                deadline_s=deadline_s,
            )  # fmt: skip
            arrivals.append(Arrival(at_s, request))
        return arrivals
