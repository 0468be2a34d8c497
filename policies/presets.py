"""Policies to start from: the shipped files, with a few lines that another law or house asks for.

`european`: pictures are used for training only where a person said yes, on the ground of that consent.
"""

from importlib import resources
from pathlib import Path

FILES = ("retention.toml", "plans.toml", "models.toml", "moderation.toml")
PRESETS: dict[str, list[tuple[str, str]]] = {
    "european": [
        ('mode = "opt_out" # opt_out:', 'mode = "opt_in" # opt_out:'),
        ('ground = "legitimate interest" # consent', 'ground = "consent" # consent'),
    ],
}


class PresetError(Exception):
    """There is no such preset, or something lies where it should go."""


def write_preset(name: str, directory: Path) -> None:
    """A complete set of policy files for SFUMATO_POLICIES. Overwrites nothing. Raises PresetError."""
    if name not in PRESETS:
        raise PresetError(f"no preset is called {name}; there is {', '.join(PRESETS)}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if taken := [file for file in FILES if (directory / file).exists()]:
            raise PresetError(f"{directory} has {', '.join(taken)} already: choose another directory")
        for file in FILES:
            (directory / file).write_text(_text(name, file), "utf-8")
    except OSError as error:
        raise PresetError(f"{directory} cannot be written ({error.strerror})") from error


def _text(name: str, file: str) -> str:
    text = (resources.files("policies") / file).read_text("utf-8")
    if file == "retention.toml":
        for shipped, instead in PRESETS[name]:
            text = text.replace(shipped, instead)
    return text
