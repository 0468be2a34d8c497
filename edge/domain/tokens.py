"""Fixed-width tokens: packed fields and a MAC, in base64url without padding. One token has exactly one spelling."""

import base64
import binascii
import hmac
from collections.abc import Callable
from struct import Struct as Layout

from edge.domain.keyring import MAC_BYTES

Mac = Callable[[bytes], bytes]


def seal_token(claims: bytes, mac: Mac) -> str:
    return base64.urlsafe_b64encode(claims + mac(claims)).decode()


def open_token(text: str, layout: Layout, mac: Mac) -> bytes | None:
    """The claims, or None for anything that we did not issue."""
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    if len(raw) != layout.size + MAC_BYTES:
        return None
    claims = raw[: layout.size]
    return claims if hmac.compare_digest(raw[layout.size :], mac(claims)) else None
