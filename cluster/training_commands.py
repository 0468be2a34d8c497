"""`sfumato training …`: the parts are opened from the environment, and what happened is said in plain lines.

Needs the database, the store and the policies, and no secret of the edge.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from time import time

from cluster.opened_database import opened_database
from cluster.training_export import Source, export, list_withdrawn
from cluster.training_key import read_training_key
from edge.errors import SettingsError
from policies.load import load_policies
from serve_app.storage.opening import open_store
from serve_app.storage.store import StoreSettings

BADLY_SEALED = "sealed to another key than this one, and left out"


async def run_export(env: Mapping[str, str], directory: Path, key: Path) -> str:
    """What to say. Raises SettingsError, PolicyError, KeyFileError, and what `export` raises."""
    private = read_training_key(key)
    policies = load_policies(Path(env["SFUMATO_POLICIES"]) if env.get("SFUMATO_POLICIES") else None)
    store = open_store(_store(env))
    async with opened_database(env) as database:
        source = Source(store=store, database=database, mode=policies.retention.training.mode, clock=time)
        done = await export(directory, private, source, _progress(sys.stderr.isatty()))
    if sys.stderr.isatty():
        sys.stderr.write("\r")
    lines = [f"{done.written} pictures written to {directory}, {done.kept} were there, {done.dropped} removed"]
    if source.mode == "never":
        lines.append("the policy's training mode is `never`: nothing may be exported")
    if done.unopened:
        lines.append(f"{done.unopened} copies are {BADLY_SEALED}")
    return "\n".join(lines)


async def run_withdrawn(env: Mapping[str, str], since: date | None) -> str:
    """A line for each: id and day. Raises SettingsError, DatabaseUnavailable."""
    midnight = datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None
    async with opened_database(env) as database:
        found = await list_withdrawn(database, midnight)
    return "\n".join(f"{each.id} {each.at:%Y-%m-%d}" for each in found)


def _store(env: Mapping[str, str]) -> StoreSettings:
    try:
        return StoreSettings.from_env(env)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _progress(is_terminal: bool) -> Callable[[int], None]:
    def tell(written: int) -> None:
        sys.stderr.write(f"\r{written} pictures")
        sys.stderr.flush()

    return tell if is_terminal else lambda _: None
