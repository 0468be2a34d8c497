"""The address of a picture: everything that finds, opens and dates it, and a MAC. The database keeps only a digest.

Whoever holds the address may look, download and delete; the owner's credential can ask for it again, because the
image's secret comes from the owner's viewing secret.
"""

import hashlib
from datetime import UTC, datetime
from struct import Struct as Layout

from msgspec import Struct

from edge.domain.keyring import Keyring
from edge.domain.owner import ImageId
from edge.domain.tokens import open_token, seal_token
from policies.publish import IMAGES
from serve_app.storage.keys import ImageKey, parse_key
from serve_app.storage.sealing import image_secret

VERSION = 1
PREFIX = IMAGES
DAYS_BITS = 12
# version in 4 bits and backstop class in days in 12, image id, delete-at in Unix seconds, image secret
_CLAIMS = Layout(">H16sI32s")


class Address(Struct, frozen=True):
    image_id: ImageId
    delete_at: int
    class_days: int
    secret: bytes

    def __repr__(self) -> str:
        return f"<address:{self.image_id}>"

    @property
    def key(self) -> str:
        return str(ImageKey(PREFIX, self.class_days, datetime.fromtimestamp(self.delete_at, UTC), self.image_id))


def address_for(key: str, viewing_secret: bytes) -> Address:
    """Of a stored image, for the owner whose secret it was made under. Raises ValueError for a key of another shape."""
    place = parse_key(key)
    secret = image_secret(viewing_secret, place.image_id)
    return Address(ImageId(place.image_id), int(place.delete_at.timestamp()), place.class_days, secret)


def address_token(address: Address, keyring: Keyring) -> str:
    claims = _CLAIMS.pack(
        VERSION << DAYS_BITS | address.class_days, bytes.fromhex(address.image_id), address.delete_at, address.secret
    )
    return seal_token(claims, keyring.address_mac)


def read_address(token: str, keyring: Keyring) -> Address | None:
    """None for anything that we did not issue."""
    claims = open_token(token, _CLAIMS, keyring.address_mac)
    if claims is None:
        return None
    word, image_id, delete_at, secret = _CLAIMS.unpack(claims)
    version, class_days = divmod(word, 1 << DAYS_BITS)
    return Address(ImageId(image_id.hex()), delete_at, class_days, secret) if version == VERSION else None


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
