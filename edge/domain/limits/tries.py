"""How often something is tried from one part of the network, whoever it would be for.

For what a new session must not escape: it costs nothing to have another one.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from edge.domain.limits.limiter import Ask, Limiter, Take
from edge.domain.limits.networks import Network
from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Window
from edge.errors import RateLimited


class TryLimit(Struct, frozen=True):
    """`most` by the level of a network. `refusal` is what the one too many reads."""

    name: str
    length_ms: int
    most: Mapping[str, int]
    refusal: str


RECOVERY = TryLimit(  # for the work alone: a code is a hundred random bits
    "recovery-per-ten-minutes",
    10 * MINUTE_MS,
    {"ipv4_32": 200, "ipv6_64": 100, "ipv6_56": 400, "ipv6_48": 1_000},
    "too many recovery codes were tried from one network",
)
SIGN_UPS = TryLimit(  # each account may ask for more than a session may, and counts by itself alone
    "sign-ups-per-day",
    DAY_MS,
    {"ipv4_32": 40, "ipv6_64": 20, "ipv6_56": 40, "ipv6_48": 100},
    "too many accounts were made from one network today; drawing needs none",
)


class Tries:
    def __init__(self, limit: TryLimit, limiter: Limiter, clock: Callable[[], float]) -> None:
        self._refusal = limit.refusal
        self._windows = {level: Window(limit.name, most, limit.length_ms) for level, most in limit.most.items()}
        self._limiter = limiter
        self._clock = clock

    async def count(self, networks: Sequence[Network]) -> None:
        """One more. Raises RateLimited, and counts nothing then."""
        takes = tuple(Take(network.subject, self._windows[network.level], 1) for network in networks)
        answer = await self._limiter.take(Ask(int(self._clock() * 1000), takes))
        if not answer.is_admitted:
            wait_ms = max(standing.wait_ms(1) for standing in answer.standings)
            raise RateLimited(self._refusal, retry_after_s=max(1.0, wait_ms / 1000))
