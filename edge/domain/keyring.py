"""The keys that SFUMATO_SECRET derives: for signing, pseudonyms and wrapping. What must die is never derived."""

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edge.domain.owner import Owner

MAC_BYTES = 18  # 144 bits, and every token a whole number of base64 groups: one spelling for one token


class Keyring:
    def __init__(self, secret: str) -> None:
        root = secret.encode()
        self._session_key = _derive(root, b"sfumato session token")
        self._address_key = _derive(root, b"sfumato image address")
        self._tenant_key = _derive(root, b"sfumato tenant")
        self._page_key = _derive(root, b"sfumato page token")
        self._request_key = _derive(root, b"sfumato rights request")
        self._subject_key = _derive(root, b"sfumato moderation subject")
        self.proof_key = _derive(root, b"sfumato proof of work")
        self._api_key_pepper = _derive(root, b"sfumato api key digest")
        self._sign_in_pepper = _derive(root, b"sfumato sign-in digest")
        self._sign_in_key = _derive(root, b"sfumato sign-in token")
        self._recovery_pepper = _derive(root, b"sfumato recovery code digest")
        self._challenge_key = _derive(root, b"sfumato passkey challenge")
        self.wrapping_key = _derive(root, b"sfumato viewing secret")
        self.receipt_seed = _derive(root, b"sfumato deletion receipt")

    def session_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._session_key, claims, hashlib.sha256)[:MAC_BYTES]

    def address_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._address_key, claims, hashlib.sha256)[:MAC_BYTES]

    def page_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._page_key, claims, hashlib.sha256)[:MAC_BYTES]

    def request_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._request_key, claims, hashlib.sha256)[:MAC_BYTES]

    def api_key_digest(self, text: str) -> bytes:
        return hmac.digest(self._api_key_pepper, text.encode(), hashlib.sha256)

    def sign_in_digest(self, text: str) -> bytes:
        return hmac.digest(self._sign_in_pepper, text.encode(), hashlib.sha256)

    def sign_in_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._sign_in_key, claims, hashlib.sha256)[:MAC_BYTES]

    def recovery_digest(self, code: str) -> bytes:
        return hmac.digest(self._recovery_pepper, code.encode(), hashlib.sha256)

    def challenge_mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._challenge_key, claims, hashlib.sha256)[:MAC_BYTES]

    def tenant(self, owner: Owner) -> str:
        """An opaque name for the scheduler, the same for one owner, leading back to none."""
        return hmac.digest(self._tenant_key, f"{owner.kind}:{owner.id}".encode(), hashlib.sha256)[:16].hex()

    def subject(self, owner: Owner) -> str:
        """Of a moderation decision: the same for one owner, so that they can be taken off it."""
        return hmac.digest(self._subject_key, f"{owner.kind}:{owner.id}".encode(), hashlib.sha256)[:16].hex()


def _derive(root: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(root)
