"""The `sfumato` command. Each command imports what it needs when it runs, so that none needs the others' libraries."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

app = App(name="sfumato", help="Self-hosted image generation that forgets.", version_flags=["--version"])
policies = App(name="policies", help="The files that the code obeys.")
app.command(policies)


@app.command
def up(
    *,
    no_ray: Annotated[bool, Parameter(negative=())] = False,
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

    try:
        sys.exit(run_up(os.environ, no_ray=no_ray, home=home, port=port))
    except HomeError as error:
        _stop(error)


@app.command
def edge(*, host: str = "127.0.0.1", in_process: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Serve the page and the API, against Ray Serve at SFUMATO_SERVE_URL.

    Parameters
    ----------
    host
        Address to listen on. Put a TLS proxy in front of anything but loopback.
    in_process
        Run the engine in this process instead.
    """
    import asyncio

    from cluster.edge_server import run_edge, serve_in_process
    from edge.errors import SettingsError
    from edge.settings import Settings

    _log_to_stderr()
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        _stop(error)
    if in_process:
        from policies.load import load_policies
        from serve_app.compose import build_engines
        from serve_app.settings import Settings as EngineSettings

        engines = build_engines(EngineSettings.from_env(os.environ), load_policies(settings.policies))
        asyncio.run(serve_in_process(settings, host, engines))
    else:
        run_edge(settings, host)


@app.command
def serve(*, address: str | None = None) -> None:
    """Serve the models of SFUMATO_MODELS with Ray Serve.

    Parameters
    ----------
    address
        Ray cluster to join, for example `auto`. Default: start Ray on this machine.
    """
    from cluster.ray_environment import set_ray_environment

    set_ray_environment(os.environ)
    from cluster.serving import run_serve
    from serve_app.settings import Settings, SettingsError

    _log_to_stderr()
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        _stop(error)
    run_serve(settings, address)


@app.command
def sweep() -> None:
    """Delete what is due, at each minute, until stopped."""
    import asyncio

    from cluster.compose_edge import run_sweeper_from
    from edge.errors import SettingsError
    from edge.settings import Settings

    _log_to_stderr()
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        _stop(error)
    asyncio.run(run_sweeper_from(settings))


@app.command
def bench(*rows: str, rounds: int = 5, seconds: float = 8.0) -> None:
    """Measure the rows that are named, or all, and write them to `cluster/bench/results`.

    Parameters
    ----------
    rows
        E1 to E5, E7, E9, D1, D4, D6.
    rounds
        How often each side is measured, in turns.
    seconds
        Length of one measuring window.
    """
    from cluster.ray_environment import set_ray_environment

    set_ray_environment(os.environ)
    from cluster.bench.bench import UnknownRow, run_bench

    _log_to_stderr()
    try:
        run_bench(rows, rounds=rounds, seconds=seconds)
    except UnknownRow as error:
        _stop(error)


@policies.command
def check(directory: Path | None = None) -> None:
    """Read the policy files and say whether they hold together.

    Parameters
    ----------
    directory
        Where they lie. Default: SFUMATO_POLICIES or the package's own.
    """
    from policies.load import PolicyError, load_policies

    place = directory or (Path(os.environ["SFUMATO_POLICIES"]) if os.environ.get("SFUMATO_POLICIES") else None)
    try:
        loaded = load_policies(place)
    except PolicyError as error:
        _stop(error)
    print(f"{len(loaded.plans.plans)} plans, {len(loaded.models.models)} models: all agree")  # noqa: T201  its answer


def main() -> None:
    app()


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def _stop(error: Exception) -> NoReturn:
    sys.stderr.write(f"sfumato: {error}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
