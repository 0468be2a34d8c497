"""What a deployment decides about the edge, read once from the environment. Promises and prices are in the policies."""

import base64
import binascii
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlsplit

from msgspec import Struct
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from edge.errors import SettingsError
from serve_app.storage.store import StoreSettings

MIN_SECRET_CHARACTERS = 32
USUAL_PORTS = {"http": 80, "https": 443}
TRAINING_KEY_BYTES = 32
VALKEY_SCHEMES = {"valkey", "valkeys"}


class Places(Struct, frozen=True, kw_only=True):
    """Where everything lies: all that the sweeper needs to know, which is no secret of the edge."""

    home: Path
    database_url: str
    store: StoreSettings
    policies: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Places":
        """Raises SettingsError."""
        return Places(**_places(env))

    def __repr__(self) -> str:
        return f"<places: {self.home}>"


class Settings(Places, frozen=True, kw_only=True):
    """`training_key` is the public half; without one nothing is copied for training. Without `valkey_url` this edge is
    the only one, and without `serve_secret` it draws by itself. Only `trusted_proxies` may say whom they speak for;
    `allowed_hosts` are names besides `public_url`'s.
    """

    port: int
    public_url: str
    secret: str
    serve_url: str
    serve_secret: str | None = None
    training_key: bytes | None = None
    valkey_url: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<edge settings: {self.public_url}>"

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def replicas_bearer(self) -> str:
        """`serve_secret`, of an edge that asks Ray Serve. Raises SettingsError."""
        if self.serve_secret is None:
            raise SettingsError("SFUMATO_SERVE_SECRET must be set: the bearer between edge and replicas")
        return self.serve_secret

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Raises SettingsError."""
        port = _port(env, "SFUMATO_PORT", 8080)
        return Settings(
            **_places(env),
            port=port,
            public_url=_url(env, "SFUMATO_PUBLIC_URL", f"http://localhost:{port}"),
            secret=_secret(env, "SFUMATO_SECRET"),
            serve_url=_url(env, "SFUMATO_SERVE_URL", "http://127.0.0.1:8000"),
            serve_secret=_secret(env, "SFUMATO_SERVE_SECRET") if env.get("SFUMATO_SERVE_SECRET") else None,
            training_key=_public_key(env, "SFUMATO_TRAINING_KEY"),
            valkey_url=_valkey_url(env, "SFUMATO_VALKEY_URL"),
            allowed_hosts=tuple(part.lower() for part in _parts(env, "SFUMATO_ALLOWED_HOSTS")),
            trusted_proxies=_networks(env, "SFUMATO_TRUSTED_PROXIES"),
        )


class _Places(TypedDict):
    home: Path
    database_url: str
    store: StoreSettings
    policies: Path | None


def _places(env: Mapping[str, str]) -> _Places:
    policies = env.get("SFUMATO_POLICIES")
    return _Places(
        home=_home(env),
        database_url=database_url(env),
        store=_store(env),
        policies=Path(policies) if policies else None,
    )


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("SFUMATO_HOME") or ".sfumato").absolute()


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"{name} is not a port: {text!r}")
    return int(text)


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    """An origin, in the one spelling that browsers send. Raises SettingsError."""
    parts = urlsplit((env.get(name) or default).rstrip("/"))
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in USUAL_PORTS or not host or parts.username or parts.path or parts.query:
        raise SettingsError(f"{name} must look like https://example.org, without a path")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, USUAL_PORTS[parts.scheme]) else "")


def _valkey_url(env: Mapping[str, str], name: str) -> str | None:
    """Raises SettingsError, which shows nothing of it: it may hold a password."""
    text = env.get(name)
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_named = parts.scheme in VALKEY_SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_named = False
    if not is_named:
        raise SettingsError(f"{name} must look like valkey://host:6379, or valkeys:// for TLS")
    return text


def _parts(env: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in env.get(name, "").split(",") if part.strip()]


def _networks(env: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Raises SettingsError."""
    try:
        return tuple(ip_network(part) for part in _parts(env, name))
    except ValueError as error:
        raise SettingsError(f"{name} must list networks, as in 10.0.0.0/8, fd00::/8: {error}") from error


def database_url(env: Mapping[str, str]) -> str:
    """Raises SettingsError."""
    text = env.get("SFUMATO_DATABASE_URL") or f"sqlite+aiosqlite:///{_home(env) / 'sfumato.db'}"
    try:
        dialect = make_url(text).get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, ImportError, ValueError) as error:
        raise SettingsError("SFUMATO_DATABASE_URL names no database that can be reached from here") from error
    if not dialect.is_async:
        raise SettingsError("SFUMATO_DATABASE_URL must name an async driver, as in postgresql+asyncpg://…")
    return text


def _store(env: Mapping[str, str]) -> StoreSettings:
    try:
        return StoreSettings.from_env(env)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _secret(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if len(value) < MIN_SECRET_CHARACTERS:
        raise SettingsError(f"{name} must be set, with at least {MIN_SECRET_CHARACTERS} characters")
    return value


def _public_key(env: Mapping[str, str], name: str) -> bytes | None:
    text = env.get(name)
    if not text:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != TRAINING_KEY_BYTES:
        raise SettingsError(f"{name} must be the public half of a key, {TRAINING_KEY_BYTES} bytes in base64")
    return key
