"""`sfumato bench`: the rows that were asked for, each figure written to `results/` as soon as it is known.

A raised stage is needed only by the rows that compare deployments; everything that was started has ended when this
returns.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cluster.bench.crowds import measure_flood, measure_overload
from cluster.bench.deleting import measure_deletions
from cluster.bench.edge_cost import measure_accepted_jobs, measure_added_latency, measure_start
from cluster.bench.figures import Figure, Measured, save, table, this_device
from cluster.bench.judging import measure_found, measure_words
from cluster.bench.limits import measure_counting, measure_refusals
from cluster.bench.meaning import measure_judging
from cluster.bench.mixed import measure_mixed
from cluster.bench.orders import Orders
from cluster.bench.stage import Stage, raised_stage
from cluster.bench.steps import logged_engine, measure_cancel, measure_preview
from cluster.bench.streams import measure_streams
from cluster.bench.throughput import measure_throughput
from cluster.home import prepare_home
from policies.load import load_policies

THREADS = 2
ROWS = ("E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9", "D1", "D2", "D3", "D4", "D5", "D6", "F1", "M1", "M2")
NEED_STAGE = {"E1", "E2", "E3", "E4", "E5", "E9", "D4"}


class UnknownRow(Exception):
    """The message names the rows there are."""


def run_bench(rows: Sequence[str], *, rounds: int, seconds: float) -> None:
    """Raises UnknownRow. Changes this process's environment: replicas and servers inherit it."""
    wanted = {row.upper() for row in rows or ROWS}
    if unknown := wanted - set(ROWS):
        raise UnknownRow(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as home:
        os.environ.update(prepare_home(Path(home)))
        os.environ.update(SFUMATO_HOME=home, SFUMATO_TORCH_THREADS=str(THREADS))
        asyncio.run(_without_stage(wanted, rounds, seconds))
        if wanted & NEED_STAGE:
            with raised_stage(Orders(load_policies()), os.environ["SFUMATO_SERVE_SECRET"], _say) as stage:
                asyncio.run(_on_stage(stage, wanted, rounds, seconds))


async def _without_stage(wanted: set[str], rounds: int, seconds: float) -> None:
    if "D6" in wanted:
        _keep(*await measure_start(rounds))
    if "D1" in wanted:
        _keep(await measure_accepted_jobs(rounds, seconds / 2))
    if "D2" in wanted:
        _keep(await measure_refusals(rounds, seconds / 2))
    if "D3" in wanted:
        _keep(await measure_counting(rounds, seconds / 4))
    if "D5" in wanted:
        _keep(*await measure_streams(rounds))
    if "F1" in wanted:
        _keep(*await measure_deletions(rounds, os.environ))
    if "M1" in wanted:
        _keep(measure_words(rounds), *await measure_judging(rounds))
    if "M2" in wanted:
        _keep(*await measure_found())
    if wanted & {"E6", "E7", "E8"}:
        await _on_engine(wanted, rounds, seconds)


async def _on_engine(wanted: set[str], rounds: int, seconds: float) -> None:
    engine, log = await asyncio.to_thread(logged_engine)
    orders = Orders(load_policies())
    try:
        if "E7" in wanted:
            _keep(await measure_cancel(engine, log, orders, rounds))
        if "E6" in wanted:
            _keep(*await measure_flood(engine, orders, rounds, seconds))
        if "E8" in wanted:
            _keep(*await measure_overload(engine, orders, rounds, seconds))
    finally:
        await engine.close()


async def _on_stage(stage: Stage, wanted: set[str], rounds: int, seconds: float) -> None:
    if wanted & {"E1", "E2", "E3"}:
        _keep(*await measure_throughput(stage, rounds, seconds))
    if wanted & {"E4", "E5"}:
        _keep(*await measure_mixed(stage, rounds, seconds))
    if not wanted & {"E9", "D4"}:
        return
    engine, log = await asyncio.to_thread(logged_engine)
    try:
        if "E9" in wanted:
            _keep(await measure_preview(stage, engine, log, rounds))
        if "D4" in wanted:
            _keep(await measure_added_latency(stage, engine, rounds))
    finally:
        await engine.close()


def _keep(*figures: Figure) -> None:
    device = this_device()
    for figure in figures:
        save(figure, device)
        low, high = min(figure.rounds), max(figure.rounds)
        _say(table([Measured(figure=figure, median=figure.median, low=low, high=high, device=device)]).strip())


def _say(text: str) -> None:
    sys.stderr.write(f"sfumato bench: {text}\n")
    sys.stderr.flush()
