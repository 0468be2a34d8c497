"""The home directory of an embedded installation: made once, with its secrets, and checked before anything starts."""

import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from cluster.training_key import KeyFileError, make_training_key, public_half, read_training_key

MIN_FREE_BYTES = 512 * 1024 * 1024
OPERATOR_TOKEN = "SFUMATO_OPERATOR_TOKEN"
TRAINING_KEY = "SFUMATO_TRAINING_KEY"  # the public half; the private one may be taken elsewhere
SECRET_NAMES = ("SFUMATO_SECRET", "SFUMATO_SERVE_SECRET", "RAY_AUTH_TOKEN")


class HomeError(Exception):
    """The machine is not ready; the message is one line that says what to do."""


def prepare_home(home: Path) -> dict[str, str]:
    """Makes `home` (0700) and `secrets.env` (0600) where they are missing. Returns the secrets. Raises HomeError."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "logs").mkdir(mode=0o700, exist_ok=True)
        file = home / "secrets.env"
        if not file.exists():
            _write_secrets(file)
        known = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
        if OPERATOR_TOKEN not in known:
            known[OPERATOR_TOKEN] = _add(file, OPERATOR_TOKEN, secrets.token_urlsafe(32))
        if TRAINING_KEY not in known:
            known[TRAINING_KEY] = _make_training_key(home / "training.key", file)
    except KeyFileError as error:
        raise HomeError(str(error)) from error
    except OSError as error:
        raise HomeError(f"{home} cannot be used ({error.strerror}): choose another with --home") from error
    missing = [name for name in SECRET_NAMES if not known.get(name)]
    if missing:
        raise HomeError(f"{home}/secrets.env lacks {', '.join(missing)}: restore it, or remove the file to start anew")
    if shutil.disk_usage(home).free < MIN_FREE_BYTES:
        raise HomeError(f"less than {MIN_FREE_BYTES >> 20} MiB are free at {home}: make room or choose another --home")
    return known


def own_secret(env: Mapping[str, str], name: str) -> str:
    """From the environment, or from what `up` wrote in its home. Raises HomeError."""
    file = Path(env.get("SFUMATO_HOME") or ".sfumato") / "secrets.env"
    written = file.read_text().splitlines() if file.exists() else []
    known = dict(line.split("=", 1) for line in written if "=" in line)
    if not (secret := env.get(name) or known.get(name)):
        raise HomeError(f"{name} is needed: set it, or SFUMATO_HOME to where `sfumato up` keeps its own")
    return secret


def port_from(env: Mapping[str, str], variable: str, default: int) -> int:
    """Raises HomeError."""
    text = env.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise HomeError(f"{variable} is not a port: {text!r}")
    return int(text)


def require_free_port(port: int, variable: str) -> None:
    """Raises HomeError when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise HomeError(f"port {port} is not allowed here: choose one above 1023 with {variable}") from error
        except OSError as error:
            raise HomeError(f"port {port} is in use: stop what listens there, or set {variable}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _write_secrets(file: Path) -> None:
    text = "".join(f"{name}={secrets.token_urlsafe(32)}\n" for name in SECRET_NAMES)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(text)


def _make_training_key(private: Path, secrets_file: Path) -> str:
    """The public half, written down. Where a start was cut off between the two, the private one is there already."""
    public = public_half(read_training_key(private) if private.exists() else make_training_key(private))
    return _add(secrets_file, TRAINING_KEY, public)


def _add(file: Path, name: str, value: str) -> str:
    """To a file of an older release, or of a start that was cut off."""
    end = "" if file.read_text().endswith("\n") else "\n"
    with file.open("a") as out:
        out.write(f"{end}{name}={value}\n")
    return value
