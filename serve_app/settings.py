"""Where the GPU side runs: read once from the environment, frozen, and silent about secrets."""

from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import Struct

from serve_app.storage.store import StoreSettings

MAX_PORT = 65535
MAX_THREADS = 1024


class SettingsError(Exception):
    """A variable is missing or malformed; the message names it and, where it is a secret, never its value."""


class Settings(Struct, frozen=True, kw_only=True):
    """`policies` is None for the package's own files; `torch_threads` None for torch's default. `image_hashes`: the
    operator's list, which need not be there."""

    home: Path
    store: StoreSettings
    models: list[str]
    serve_host: str
    serve_port: int
    serve_secret: str
    image_hashes: Path
    policies: Path | None = None
    torch_threads: int | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Raises SettingsError."""
        policies = env.get("SFUMATO_POLICIES")
        home = Path(env.get("SFUMATO_HOME") or ".sfumato").absolute()
        return cls(
            home=home,
            store=_store(env),
            models=_models(env),
            serve_host=env.get("SFUMATO_SERVE_HOST") or "127.0.0.1",
            serve_port=_number(env, "SFUMATO_SERVE_PORT", MAX_PORT) or 8000,
            serve_secret=env.get("SFUMATO_SERVE_SECRET", ""),
            image_hashes=Path(env.get("SFUMATO_IMAGE_HASHES") or home / "image-hashes.txt").absolute(),
            policies=Path(policies) if policies else None,
            torch_threads=_number(env, "SFUMATO_TORCH_THREADS", MAX_THREADS),
        )

    def __repr__(self) -> str:
        return f"<settings:{self.home}>"


def require_models(wanted: Collection[str], offered: Collection[str]) -> None:
    """Raises SettingsError for what `models.toml` lacks."""
    if unknown := sorted(set(wanted) - set(offered)):
        raise SettingsError(f"SFUMATO_MODELS names {', '.join(unknown)}, which models.toml lacks")


def _store(env: Mapping[str, str]) -> StoreSettings:
    try:
        return StoreSettings.from_env(env)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _models(env: Mapping[str, str]) -> list[str]:
    names = [name.strip() for name in (env.get("SFUMATO_MODELS") or "sfumato-embedded").split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise SettingsError("SFUMATO_MODELS must be names with commas between them, each once")
    return names


def _number(env: Mapping[str, str], name: str, maximum: int) -> int | None:
    """None where the variable is not set or empty."""
    text = env.get(name)
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) <= maximum:
        raise SettingsError(f"{name} must be a whole number from 1 to {maximum}, not {text!r}")
    return int(text)
