"""E6 and E8 tell a server that sheds and keeps classes apart from one that does not, on a clock that jumps."""

from collections.abc import AsyncGenerator

import pytest

from cluster.bench import crowds
from cluster.bench.orders import Orders
from cluster.bench.stage import STEPS
from policies.load import load_policies
from serve_app.contract import Event, Failed, GenerateRequest, ModelStatus
from tests.cluster.test_bench import OneServer, on_virtual_time

SERVICE_S = 0.1
HEADROOM = 0.9


class Hoarder(OneServer):
    """Takes all that comes, first come first served."""

    def __init__(self) -> None:
        super().__init__(SERVICE_S)

    async def status(self, model: str) -> ModelStatus:
        rows_per_s = STEPS / SERVICE_S
        return ModelStatus(model, True, running_rows=0, waiting_rows=0, rows_per_s=rows_per_s, step_s=1, batch_rows=1)


class Shedder(Hoarder):
    """Refuses what would come too late."""

    waiting = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        if (self.waiting + 1) * SERVICE_S > HEADROOM * request.turn.deadline_s:
            yield Failed("overloaded", "too much is waiting", 1.0)
            return
        self.waiting += 1
        try:
            async for event in super().generate(request):
                yield event
        finally:
            self.waiting -= 1


class TwoServers(Hoarder):
    """One for each class."""

    def __init__(self) -> None:
        super().__init__()
        self._of_paid = Hoarder()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        chosen = self._of_paid.generate(request) if request.turn.traffic == "paid" else super().generate(request)
        async for event in chosen:
            yield event


def goodput_at_5x(server: Hoarder) -> float:
    figures = on_virtual_time(crowds.measure_overload(server, Orders(load_policies()), rounds=1, seconds=40.0))
    assert [figure.row for figure in figures] == ["E8-2x", "E8-5x"]
    return figures[-1].median


def paid_under_flood(server: Hoarder) -> float:
    figures = on_virtual_time(crowds.measure_flood(server, Orders(load_policies()), rounds=1, seconds=4.0))
    assert [figure.row for figure in figures] == ["E6-28", "E6-4"]
    return figures[0].median


def test_goodput_falls_where_all_is_taken_and_holds_where_the_late_is_refused() -> None:
    assert goodput_at_5x(Hoarder()) < 0.5
    assert goodput_at_5x(Shedder()) == pytest.approx(1.0, abs=0.1)


def test_paid_work_behind_a_flood_shows_and_apart_from_it_does_not() -> None:
    assert paid_under_flood(Hoarder()) > 5
    assert paid_under_flood(TwoServers()) == pytest.approx(1.0)
