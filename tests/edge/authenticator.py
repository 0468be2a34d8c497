"""A device that makes passkeys and signs with them, as a browser hands its answers on: a real one, in a few lines."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from tests.edge.edges import BASE_URL

VERIFIED, PRESENT, ATTESTED = 0x04, 0x01, 0x40


def in_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Authenticator:
    """With one passkey. `counts`: whether it counts its signatures, as few do."""

    origin: str = BASE_URL
    rp_id: str = "testserver.local"
    is_verified: bool = True
    counts: bool = False
    sign_count: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def make(
        self, options: dict[str, Any], public_key: object = None, attestation: tuple[str, object] = ("none", {})
    ) -> dict[str, Any]:
        """`public_key`, `attestation`: instead of its own, and of none."""
        public_key = self._public_key() if public_key is None else public_key
        attested = bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id + cbor2.dumps(public_key)
        fmt, statement = attestation
        attested_by = {"fmt": fmt, "attStmt": statement, "authData": self._data(ATTESTED) + attested}
        client_data = self._client_data("webauthn.create", options["challenge"])
        return self._answer(clientDataJSON=client_data, attestationObject=cbor2.dumps(attested_by))

    def sign(self, options: dict[str, Any]) -> dict[str, Any]:
        self.sign_count += self.counts
        data, client_data = self._data(0), self._client_data("webauthn.get", options["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._answer(clientDataJSON=client_data, authenticatorData=data, signature=signature)

    def _public_key(self) -> dict[int, object]:
        numbers = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}

    def _data(self, flags: int) -> bytes:
        flags |= PRESENT | (VERIFIED if self.is_verified else 0)
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4)

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, **response: bytes) -> dict[str, Any]:
        name = in_base64url(self.credential_id)
        encoded = {key: in_base64url(value) for key, value in response.items()}
        return {"id": name, "rawId": name, "type": "public-key", "response": encoded, "clientExtensionResults": {}}
