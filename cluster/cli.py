"""The `sfumato` command. Each command imports what it needs when it runs, so that none needs the others' libraries."""

import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cluster.terminal import one_line

Flag = Annotated[bool, Parameter(negative=())]
Tied = Annotated[bool, Parameter(show=False, negative=())]  # for `up`: end when standard input closes

app = App(name="sfumato", help="Self-hosted image generation that forgets.", version_flags=["--version"])
policies = App(name="policies", help="The files that the code obeys.")
store = App(name="store", help="What the object store deletes by itself: the backstop behind the sweeper.")
prompts = App(name="prompts", help="Sealed prompts: read by a person with a reason, and each reading is written down.")
training = App(name="training", help="Copies that callers allowed for training: key, export, what was taken back.")
for group in (policies, store, prompts, training):
    app.command(group)
app.command("cluster.receipt_check:receipt", name="receipt")  # by name: loaded when it is used
app.command("cluster.rights_desk:requests", name="requests")
app.command("cluster.keys_commands:keys", name="keys")
app.command("cluster.moderation_commands:moderation", name="moderation")


@app.command
def up(
    *,
    no_ray: Flag = False,
    home: Path | None = None,
    port: int | None = None,
) -> None:
    """Start everything on this machine, make a first picture, serve until Ctrl-C.

    Parameters
    ----------
    no_ray
        Run the engine inside the edge process instead of Ray Serve: starts faster, uses less memory.
    home
        Directory for database, objects, keys and logs. Default: SFUMATO_HOME or `.sfumato`.
    port
        Port of the page and the API. Default: SFUMATO_PORT or 8080.
    """
    from cluster.home import HomeError
    from cluster.up import run_up
    from policies.load import PolicyError, load_policies

    with one_line(HomeError, PolicyError):
        sys.exit(run_up(os.environ, load_policies(_own_policies()), no_ray=no_ray, home=home, port=port))


@app.command
def edge(*, host: str = "127.0.0.1", in_process: Flag = False, tied: Tied = False) -> None:
    """Serve the page and the API, against Ray Serve at SFUMATO_SERVE_URL.

    Parameters
    ----------
    host
        Address to listen on. Put a TLS proxy in front of anything but loopback.
    in_process
        Run the engine in this process instead.
    """
    import asyncio

    from cluster.edge_server import run_edge
    from cluster.home import HomeError
    from cluster.traces import keep_temporary_files
    from edge.errors import DatabaseUnavailable, SettingsError
    from edge.gateway import RayServeGateway
    from edge.settings import Settings
    from policies.load import PolicyError, load_policies

    _tie(tied)
    with one_line(SettingsError, PolicyError, HomeError):
        settings = Settings.from_env(os.environ)
        policies = load_policies(settings.policies)
        keep_temporary_files(settings.home)
    if not in_process:
        with one_line(SettingsError, HomeError, DatabaseUnavailable):
            gateway = RayServeGateway(settings.serve_url, settings.replicas_bearer)
            asyncio.run(run_edge(settings, policies, host, gateway))
        return

    from serve_app.compose import build_engines
    from serve_app.pipelines.weights import ModelLoadError
    from serve_app.settings import Settings as EngineSettings
    from serve_app.settings import SettingsError as EngineSettingsError
    from serve_app.settings import require_models

    with one_line(EngineSettingsError, ModelLoadError):
        engine_settings = EngineSettings.from_env(os.environ)
        require_models(engine_settings.models, policies.models.models)
        engines = build_engines(engine_settings, policies)
    with one_line(HomeError, DatabaseUnavailable):
        asyncio.run(run_edge(settings, policies, host, engines))


@app.command
def serve(*, address: str | None = None, tied: Tied = False) -> None:
    """Serve the models of SFUMATO_MODELS with Ray Serve.

    Parameters
    ----------
    address
        Ray cluster to join, for example `auto`. Default: start Ray on this machine, for this machine only.
    """
    from cluster.home import HomeError
    from cluster.ray_environment import set_ray_environment
    from cluster.traces import keep_temporary_files
    from policies.load import PolicyError, load_policies
    from serve_app.settings import Settings, SettingsError, require_models

    _tie(tied)
    with one_line(SettingsError, PolicyError, HomeError):
        settings = Settings.from_env(os.environ)
        if not settings.serve_secret:
            raise SettingsError("SFUMATO_SERVE_SECRET must be set: the bearer between edge and replicas")
        policies = load_policies(settings.policies)
        require_models(settings.models, policies.models.models)
        keep_temporary_files(settings.home)
    set_ray_environment(os.environ, alone=address is None)

    from cluster.serving import run_serve

    run_serve(settings, address, policies)


@app.command
def sweep(*, tied: Tied = False) -> None:
    """Delete what is due, at each minute, until stopped; tell how it goes at /metrics of SFUMATO_OPERATOR_PORT."""
    import asyncio

    from cluster.compose_edge import run_sweeper_from
    from cluster.day_keys import DayKeys
    from cluster.home import HomeError
    from cluster.operator_app import OperatorSettings
    from cluster.traces import keep_temporary_files
    from edge.errors import SettingsError
    from edge.settings import Places
    from policies.load import PolicyError

    _tie(tied)
    with one_line(SettingsError, PolicyError, HomeError):
        places, operator = Places.from_env(os.environ), OperatorSettings.from_env(os.environ)
        keep_temporary_files(places.home)
        asyncio.run(run_sweeper_from(places, DayKeys.from_env(os.environ), operator))


@store.command(name="init")
def init_store() -> None:
    """Install the policy's lifecycle rules in the bucket of SFUMATO_S3_URL, read them back, say what was found.

    Needs credentials that may set rules: once, and when the classes of the policy change. Status 1 means that the
    backstop does not hold.
    """
    _look_at_store(install=True)


@store.command(name="check")
def check_store() -> None:
    """Say what the bucket's rules are against the policy's, and change nothing."""
    _look_at_store(install=False)


@app.command
def bench(*rows: str, rounds: int = 5, seconds: float = 8.0) -> None:
    """Measure the rows that are named, or all, and write them to `cluster/bench/results`.

    Parameters
    ----------
    rows
        E1 to E9, D1 to D6, M1, M2; F1, on SFUMATO_S3_URL and SFUMATO_DATABASE_URL too where they are set.
    rounds
        How often each side is measured, in turns.
    seconds
        Length of one measuring window.
    """
    from cluster.ray_environment import set_ray_environment

    set_ray_environment(os.environ, alone=True)
    from cluster.bench.bench import UnknownRow, run_bench

    with one_line(UnknownRow):
        run_bench(rows, rounds=rounds, seconds=seconds)


@policies.command
def check(directory: Path | None = None) -> None:
    """Read the policy files and say whether they hold together; and each model's digest, for `previous_digest`.

    Parameters
    ----------
    directory
        Where they lie. Default: SFUMATO_POLICIES or the package's own.
    """
    from policies.load import PolicyError, load_policies, model_digest

    with one_line(PolicyError):
        loaded = load_policies(directory or _own_policies())
    for name, model in loaded.models.models.items():
        print(f"{name}: digest {model_digest(model, loaded.moderation.images)}")  # noqa: T201
    print(f"{len(loaded.plans.plans)} plans, {len(loaded.models.models)} models: all agree")  # noqa: T201  its answer


@policies.command
def diff(old: Path, new: Path, *, accept: Flag = False) -> None:
    """Say in plain words what changes for whom. Status 1: a promise is loosened; 2: and its history does not say so.

    Parameters
    ----------
    old, new
        Directories of policy files, or JSON as GET /v1/privacy/retention gave it.
    accept
        Loosening is meant. It needs a raised `version` and a line in `changes` all the same.
    """
    from policies.diff import differences, mistakes, read_published
    from policies.load import PolicyError

    with one_line(PolicyError):
        before, after = read_published(old), read_published(new)
        found = differences(before, after)
        print("\n".join(map(str, found)) or "nothing changes for anyone")  # noqa: T201  its answer
        if wrong := mistakes(before, after):
            raise PolicyError("\n".join(wrong))
    if not accept and any(difference.effect == "loosens" for difference in found):
        print("a promise is loosened: say --accept if that is meant")  # noqa: T201
        sys.exit(1)


@policies.command
def preset(name: str, directory: Path) -> None:
    """Write a complete set of policy files to start from, for SFUMATO_POLICIES.

    Parameters
    ----------
    name
        `european`: training only where a person said yes.
    directory
        Where to write them; nothing is overwritten.
    """
    from policies.presets import PresetError, write_preset

    with one_line(PresetError):
        write_preset(name, directory)
    print(f"written: set SFUMATO_POLICIES={directory}")  # noqa: T201  its answer


@training.command
def key(file: Path) -> None:
    """Make a training key: the private half in FILE, the public half said for SFUMATO_TRAINING_KEY.

    `up` makes one by itself, as `training.key` in its home. Whoever holds the file can read every copy: keep it away
    from the machines that serve, and keep it, since nothing else opens what was sealed to it.

    Parameters
    ----------
    file
        Where to write the private half; nothing is overwritten.
    """
    from cluster.training_key import KeyFileError, make_training_key, public_half

    with one_line(KeyFileError):
        made = make_training_key(file)
    print(f"SFUMATO_TRAINING_KEY={public_half(made)}")  # noqa: T201  its answer


@training.command(name="export")
def export_training(directory: Path, *, key: Path) -> None:
    """Open the copies into DIRECTORY: `pictures/`, and a line for each in `manifest.jsonl`.

    Each consent is checked again at that moment: not withdrawn, its session there, the policy's mode as it was or a
    yes that was said. Run it again with the same directory to go on after a stop, to add what is new, and to remove
    what was taken back or is past its `drop_by`. What you copied elsewhere is yours to clean: `sfumato training
    withdrawn` lists it.

    Parameters
    ----------
    directory
        Made where it is missing, readable for you only. Nothing that no export wrote is touched.
    key
        File of the private half, as `up` or `sfumato training key` made it.
    """
    import asyncio

    from cluster.training_commands import run_export
    from cluster.training_export import ForeignDirectory
    from cluster.training_key import KeyFileError
    from edge.errors import DatabaseUnavailable, SettingsError
    from policies.load import PolicyError
    from serve_app.errors import StoreUnavailable

    with one_line(
        KeyFileError, ForeignDirectory, SettingsError, PolicyError, DatabaseUnavailable, StoreUnavailable, OSError
    ):
        print(asyncio.run(run_export(os.environ, directory, key)))  # noqa: T201  its answer


@training.command
def withdrawn(*, since: date | None = None) -> None:
    """List the pictures that earlier exports must drop: an id and the day it was taken back, a line each.

    An entry stays as long as other proofs (`retention.toml`). A model that was trained is not untrained by it.

    Parameters
    ----------
    since
        Only those taken back from this day on, UTC, as 2026-11-24.
    """
    import asyncio

    from cluster.training_commands import run_withdrawn
    from edge.errors import DatabaseUnavailable, SettingsError

    with one_line(SettingsError, DatabaseUnavailable):
        if listed := asyncio.run(run_withdrawn(os.environ, since)):
            print(listed)  # noqa: T201  its answer


@prompts.command
def read(wanted_id: str, /, *, reader: str, reason: str) -> None:
    """Write down who reads and why, then show the prompt. Needs the database and SFUMATO_KEYS only.

    Parameters
    ----------
    wanted_id
        Of a job, or of a record.
    reader
        Who reads.
    reason
        Why: a report, a complaint, a question of law.
    """
    import asyncio

    from cluster.day_keys import KeyGone
    from cluster.prompt_reader import CannotRead, run_read
    from edge.domain.day_seal import DaySealBroken
    from edge.errors import DatabaseUnavailable, SettingsError
    from policies.load import PolicyError, load_policies

    with one_line(SettingsError, PolicyError, DatabaseUnavailable, CannotRead, KeyGone, DaySealBroken):
        kept_for = load_policies(_own_policies()).retention.classes.proofs.duration
        shown = asyncio.run(run_read(os.environ, wanted_id, reader, reason, kept_for))
    print(shown)  # noqa: T201  its answer


@prompts.command
def reads() -> None:
    """List who read which record, when and why, newest first."""
    import asyncio

    from cluster.prompt_reader import run_reads
    from edge.errors import DatabaseUnavailable, SettingsError

    with one_line(SettingsError, DatabaseUnavailable):
        lines = asyncio.run(run_reads(os.environ))
    print("\n".join(lines) or "nobody has read a prompt")  # noqa: T201  its answer


def main() -> None:
    """Any command may hold pictures, prompts or keys: none leaves a dump, and none logs a library's words."""
    from cluster.traces import forbid_core_dumps
    from serve_app.logs import configure_logging

    forbid_core_dumps()
    configure_logging()
    app()


def _tie(tied: bool) -> None:
    from cluster.tie import end_with_starter

    if tied:
        end_with_starter()


def _own_policies() -> Path | None:
    """The operator's directory; None where there is none, which means the package's."""
    return Path(place) if (place := os.environ.get("SFUMATO_POLICIES")) else None


def _look_at_store(*, install: bool) -> None:
    import asyncio

    from cluster.store_init import look_at_store
    from policies.load import PolicyError, load_policies
    from serve_app.errors import StoreUnavailable

    with one_line(PolicyError, StoreUnavailable, ValueError):
        lines, is_held = asyncio.run(look_at_store(os.environ, load_policies(_own_policies()), install=install))
    print("\n".join(lines))  # noqa: T201  its answer
    sys.exit(0 if is_held else 1)


if __name__ == "__main__":
    main()
