"""The operator's training key: a file that only exports open, and a public half that edges are given.

The file is PEM, as `openssl genpkey -algorithm X25519` writes it. Keep it off the machines that serve: whoever holds it
can read every copy.
"""

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


class KeyFileError(Exception):
    """The message names the file and says what is wrong with it."""


def make_training_key(file: Path) -> X25519PrivateKey:
    """A new one, in `file` (0600). Raises KeyFileError; never overwrites."""
    key = X25519PrivateKey.generate()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            os.fsync(out.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{file} is there already: what was sealed to it could not be opened any more") from error
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written ({error.strerror})") from error
    return key


def read_training_key(file: Path) -> X25519PrivateKey:
    """Raises KeyFileError."""
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise KeyFileError(f"{file} cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{file} holds no private key in PEM") from error
    if not isinstance(key, X25519PrivateKey):
        raise KeyFileError(f"{file} holds a key of another kind: X25519 is needed")
    return key


def public_half(key: X25519PrivateKey) -> str:
    """As SFUMATO_TRAINING_KEY has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()
