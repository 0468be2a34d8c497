"""Proof of work: what a stranger's machine computes before it may ask for pictures while very many do.

ALTCHA's challenges (version 2), made and checked here; no third party is asked. A challenge names nobody and is kept by
nobody: it carries our signature. That a solution counts once is counted like any limit, as one use of its own window.
"""

import asyncio
import binascii
from collections.abc import Callable
from typing import Any

from altcha import Payload, create_challenge, verify_solution

from edge.domain.limits.limiter import Take
from edge.domain.limits.windows import MINUTE_MS, Window
from edge.errors import ProofRequired

ALGORITHM = "PBKDF2/SHA-256"
LIVES_S = 300
MOST_CHARACTERS = 2_000
ASKED = (
    "very many are asking: solve `challenge`, as any ALTCHA library does, and send challenge and solution in the "
    "header `Sfumato-Proof`; an API key needs none"
)
ONCE = Window("proof", 1, 10 * MINUTE_MS)  # counts for at least as long as a challenge lives


class Proofs:
    def __init__(self, key: bytes, cost: int, clock: Callable[[], float]) -> None:
        self._key = key
        self._cost = cost
        self._clock = clock

    def required(self, why: str) -> ProofRequired:
        return ProofRequired(why, self._challenge())

    async def use_of(self, solution: str | None) -> Take:
        """What is to be taken with the pictures. Raises ProofRequired, with another challenge."""
        if solution is None:
            raise self.required(ASKED)
        payload = _payload(solution)
        if payload is None or not await asyncio.to_thread(self._is_solved, payload):
            raise self.required("that is no solution of a challenge of ours that is still open")
        return Take(f"proof:{payload.challenge.parameters.nonce}", ONCE, 1)

    def _challenge(self) -> dict[str, Any]:
        made = create_challenge(ALGORITHM, self._cost, expires_at=int(self._clock()) + LIVES_S, hmac_secret=self._key)
        return made.to_dict()

    def _is_solved(self, payload: Payload) -> bool:
        """The library goes by the machine's clock for the expiry, we go by ours. The signature is looked at before
        any work is done, so that nobody makes us do theirs."""
        expires_at = payload.challenge.parameters.expires_at
        if not isinstance(expires_at, int) or expires_at <= self._clock():
            return False
        return verify_solution(payload, self._key).verified


def _payload(text: str) -> Payload | None:
    if len(text) > MOST_CHARACTERS:
        return None
    try:
        return Payload.from_base64(text)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
