"""What a passkey signs: a challenge of ours that carries its own end, for one browser, one purpose and one use.

Nothing is kept of it until it is used: the challenge has a MAC, and its use is counted like any limit, as one use of a
window of its own. Whoever answers it twice is refused by every edge that shares the counter store.
"""

import hashlib
import secrets
from struct import Struct as Layout
from typing import Literal

from msgspec import Struct

from edge.domain.conduct import Clock
from edge.domain.keyring import Keyring
from edge.domain.limits.limiter import Ask, Limiter, Take
from edge.domain.limits.windows import MINUTE_MS, Window
from edge.domain.owner import Owner
from edge.domain.tokens import open_token, seal_token

LIVES_S = 300
ONCE = Window("challenge", 1, 10 * MINUTE_MS)  # counts for at least as long as a challenge lives
_CLAIMS = Layout(">17s16s16sQ")  # nonce, account, digest of browser and purpose, end in Unix seconds

Purpose = Literal["sign_up", "sign_in", "add_passkey"]


class Answered(Struct, frozen=True):
    """A challenge that was ours, for this browser, and not answered before. `account_id`: whose passkey it was for."""

    challenge: bytes
    account_id: str


class Challenges:
    def __init__(self, keyring: Keyring, limiter: Limiter, clock: Clock) -> None:
        self._keyring = keyring
        self._limiter = limiter
        self._clock = clock

    def issue(self, purpose: Purpose, browser: Owner, account_id: str) -> bytes:
        ends_at = int(self._clock() + LIVES_S)
        nonce = secrets.token_bytes(17)
        claims = _CLAIMS.pack(nonce, bytes.fromhex(account_id), _binding(purpose, browser), ends_at)
        return seal_token(claims, self._keyring.challenge_mac).encode()

    async def spend(self, challenge: bytes, purpose: Purpose, browser: Owner) -> Answered | None:
        """None for one that is not ours, too old, another browser's or purpose's, or answered before."""
        claims = open_token(challenge.decode("latin-1"), _CLAIMS, self._keyring.challenge_mac)
        if claims is None:
            return None
        nonce, account_id, binding, ends_at = _CLAIMS.unpack(claims)
        if binding != _binding(purpose, browser) or ends_at <= self._clock():
            return None
        use = Take(f"challenge:{nonce.hex()}", ONCE, 1)
        answer = await self._limiter.take(Ask(int(self._clock() * 1000), (use,)))
        return Answered(challenge, account_id.hex()) if answer.is_admitted else None


def _binding(purpose: Purpose, browser: Owner) -> bytes:
    return hashlib.sha256(f"{purpose}:{browser.kind}:{browser.id}".encode()).digest()[:16]
