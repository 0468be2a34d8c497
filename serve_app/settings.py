"""Where the GPU side runs: read once from the environment, frozen, and silent about secrets."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from serve_app.storage.store import StoreSettings


class SettingsError(Exception):
    """A variable is missing or malformed; the message names it and, where it is a secret, never its value."""


class Settings(Struct, frozen=True, kw_only=True):
    """`policies` is None for the package's own files; `torch_threads` None for torch's default."""

    home: Path
    store: StoreSettings
    models: list[str]
    serve_port: int
    serve_secret: str
    policies: Path | None = None
    torch_threads: int | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        home = Path(env.get("SFUMATO_HOME", ".sfumato"))
        threads = env.get("SFUMATO_TORCH_THREADS")
        return cls(
            home=home,
            store=StoreSettings.from_env(env),
            models=[name.strip() for name in env.get("SFUMATO_MODELS", "sfumato-embedded").split(",") if name.strip()],
            serve_port=number(env, "SFUMATO_SERVE_PORT", 8000),
            serve_secret=env.get("SFUMATO_SERVE_SECRET", ""),
            policies=Path(env["SFUMATO_POLICIES"]) if env.get("SFUMATO_POLICIES") else None,
            torch_threads=number(env, "SFUMATO_TORCH_THREADS", 1) if threads else None,
        )

    def __repr__(self) -> str:
        return f"<settings:{self.home}>"


def number(env: Mapping[str, str], name: str, default: int) -> int:
    """A whole number above 0. Raises SettingsError."""
    text = env.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} must be a whole number above 0, not {text!r}")
    return int(text)
