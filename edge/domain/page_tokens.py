"""One-time tokens that our pages put into their forms: who posts one has seen the page, and sees it once.

Spent tokens are remembered until they expire, in this process. Another edge would take one again: everything they
allow does no harm when it is done twice, and the guard against other sites stands before them.
"""

import hashlib
import secrets
from collections import OrderedDict
from struct import Struct as Layout

from edge.domain.keyring import Keyring
from edge.domain.owner import Owner
from edge.domain.tokens import open_token, seal_token

LIFETIME_S = 15 * 60
MOST_REMEMBERED = 100_000
_CLAIMS = Layout(">15s16sQ")  # nonce, digest of owner and purpose, expiry in Unix seconds


class PageTokens:
    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._spent: OrderedDict[bytes, float] = OrderedDict()

    def issue(self, owner: Owner, purpose: str, now: float) -> str:
        claims = _CLAIMS.pack(secrets.token_bytes(15), _binding(owner, purpose), int(now + LIFETIME_S))
        return seal_token(claims, self._keyring.page_mac)

    def spend(self, token: str, owner: Owner, purpose: str, now: float) -> bool:
        """True once, for the owner and the purpose that it was issued for."""
        claims = open_token(token, _CLAIMS, self._keyring.page_mac)
        if claims is None:
            return False
        nonce, binding, expires_at = _CLAIMS.unpack(claims)
        if binding != _binding(owner, purpose) or expires_at <= now or nonce in self._spent:
            return False
        self._forget(now)
        self._spent[nonce] = expires_at
        return True

    def _forget(self, now: float) -> None:
        while self._spent and (next(iter(self._spent.values())) <= now or len(self._spent) >= MOST_REMEMBERED):
            self._spent.popitem(last=False)


def _binding(owner: Owner, purpose: str) -> bytes:
    return hashlib.sha256(f"{purpose}:{owner.kind}:{owner.id}".encode()).digest()[:16]
