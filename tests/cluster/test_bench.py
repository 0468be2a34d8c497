"""The arithmetic of the benchmarks, and their load generator on a clock that jumps."""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from cluster.bench.figures import Device, Figure, Measured, percentile, ratios, save
from cluster.bench.load import Arrival, Outcome, RequestFailed, completed_per_s, drive, poisson_times
from cluster.bench.orders import MODEL, Orders
from policies.load import load_policies
from serve_app.contract import Event, Failed, GenerateRequest, ModelStatus, Queued, Succeeded

T = TypeVar("T")
DEVICE = Device(cpu="abacus", cores=2, measured_at="2026-11-24T00:00:00+00:00", load=0.1)


class JumpingSelector(selectors.DefaultSelector):
    """Never waits: the time that would have passed is added to `now_s`."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now_s += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class OneServer:
    """Implements `contract.Generator`: one request at a time, `service_s` each, first come first served."""

    def __init__(self, service_s: float, failure: Failed | None = None) -> None:
        self._service_s = service_s
        self._failure = failure
        self._turn = asyncio.Lock()
        self.abandoned = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        try:
            yield Queued(0, 0.0)
            async with self._turn:
                await asyncio.sleep(self._service_s)
            yield self._failure or Succeeded()
        except asyncio.CancelledError:
            self.abandoned += 1
            raise

    async def status(self, model: str) -> ModelStatus:
        return ModelStatus(model, True, running_rows=0, waiting_rows=0, rows_per_s=1.0, step_s=1.0, batch_rows=1)


def on_virtual_time(work: Coroutine[None, None, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def arrivals_at(*times_s: float) -> list[Arrival]:
    orders = Orders(load_policies())
    return [Arrival(at_s, orders.one(MODEL, 4)) for at_s in times_s]


def figure(row: str, *rounds: float) -> Figure:
    return Figure(row=row, what="ours / theirs", reach="≥ 2", rounds=list(rounds), sides={"ours": list(rounds)})


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(n) for n in range(20, 0, -1)]
    assert percentile(values, 0.95) == 19
    assert percentile(values, 0.5) == 10
    assert percentile(values, 1.0) == 20
    assert percentile([3.0], 0.95) == 3


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_ratios_go_round_by_round() -> None:
    assert ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finished nothing"):
        ratios([1.0], [0.0])


def test_a_saved_figure_names_its_median_spread_and_machine(tmp_path: Path) -> None:
    save(figure("E2", 3.0), DEVICE, tmp_path)
    save(figure("E1", 2.0, 9.12345, 3.0), DEVICE, tmp_path)
    kept = msgspec.json.decode((tmp_path / "E1.json").read_bytes(), type=Measured)
    assert (kept.median, kept.low, kept.high, kept.device.cpu) == (3.0, 2.0, 9.123, "abacus")
    rows = (tmp_path / "README.md").read_text().splitlines()[-2:]
    assert [row.split(" | ")[0] for row in rows] == ["| E1", "| E2"]
    assert "3 [2, 9.12]" in rows[0]


def test_arrivals_are_the_same_for_the_same_seed_and_near_their_rate() -> None:
    times_s = list(poisson_times(50.0, 100.0, seed=7))
    assert times_s == list(poisson_times(50.0, 100.0, seed=7))
    assert times_s != list(poisson_times(50.0, 100.0, seed=8))
    assert times_s == sorted(times_s)
    assert times_s[-1] < 100
    assert 4_700 < len(times_s) < 5_300


def test_every_side_gets_the_same_work_at_the_same_times() -> None:
    def asked(to: str) -> list[tuple[float, int, int, str]]:
        arrivals = Orders(load_policies()).arrivals(to, {4: 0.9, 28: 0.1}, rate_per_s=100, until_s=20, seed=3)
        return [(a.at_s, a.request.steps, a.request.seed, a.request.prompt.text) for a in arrivals]

    ours = asked(MODEL)
    assert ours == asked("tuned-batcher")
    assert 0.06 < sum(steps == 28 for _, steps, _, _ in ours) / len(ours) < 0.14


def test_a_latency_counts_from_the_intended_arrival_so_a_queue_shows() -> None:
    async def run() -> list[Outcome]:
        return await drive(OneServer(service_s=1.0), arrivals_at(0.5, 0.5, 0.5), until_s=60)

    assert [round(o.latency_s, 6) for o in on_virtual_time(run())] == [1, 2, 3]


def test_what_has_not_finished_is_cancelled_and_counts_as_endless() -> None:
    async def run() -> tuple[list[Outcome], int]:
        server = OneServer(service_s=1.0)
        outcomes = await drive(server, arrivals_at(0.0, 0.1, 0.2, 0.3), until_s=2.5)
        return outcomes, server.abandoned

    outcomes, abandoned = on_virtual_time(run())
    assert [o.finished_s is not None for o in outcomes] == [True, True, False, False]
    assert percentile([o.latency_s for o in outcomes], 0.95) == float("inf")
    assert abandoned == 2


def test_throughput_counts_only_what_finished_inside_the_window() -> None:
    async def run() -> list[Outcome]:
        return await drive(OneServer(service_s=1.0), arrivals_at(*[0.0] * 30), until_s=10.5)

    assert completed_per_s(on_virtual_time(run()), 2.5, 10.5) == 1.0


def test_a_refused_request_ends_the_run_loudly() -> None:
    async def run() -> list[Outcome]:
        refusing = OneServer(service_s=0.1, failure=Failed("overloaded", "too much is waiting"))
        return await drive(refusing, arrivals_at(0.0), until_s=5)

    with pytest.raises(RequestFailed, match="overloaded"):
        on_virtual_time(run())
