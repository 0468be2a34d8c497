"""Who moves one step next.

The one idea: *a request is rows, and a row waits for nobody's batch. At every tick the rows whose turn it is, and which
may share a forward pass, move one step; the next tick decides anew.*

Two levels of fairness. Between classes the pass goes to the class that has had the least work for its weight. A class
that comes back stands level with the one that is served: it is owed nothing for the time away, and not charged for what
it had while the machine was free.

Within a class the tenants share: `traffic.py` keeps its rows in the order in which they move.

No torch, no asyncio, no clock: durations are told, so a simulator drives this same object on a virtual clock.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from serve_app.contract import Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import StepTimes, latent_area
from serve_app.traffic import Demand, Ticket, Traffic

ROUNDS = 4  # of an estimate that comes down to its value
PATIENCE_STEPS = 3  # of one row: what a class with bounded steps waits for the end of a lower one's pass
EXPECTED_S = 10.0  # so long after its last pass such a class may come again at any moment


@dataclass(slots=True, frozen=True)
class Pass:
    """Rows that make one step together. The first is of the class whose pass it is. `begins`: requests of which no row
    was in a pass before."""

    key: BatchKey
    tickets: list[Ticket]
    begins: frozenset[str] = frozenset()

    @property
    def forward_rows(self) -> int:
        return sum(ticket.forward_rows for ticket in self.tickets)


class Outlook(NamedTuple):
    """What is ahead of a request that has not begun: such requests of its class, and seconds to its last image."""

    position: int
    eta_s: float


class Waiting(NamedTuple):
    """A request that has not begun."""

    request_id: str
    turn: Turn
    weight: float


class _Rival(NamedTuple):
    """Another class: its weight by one's own, the work that it has here, and what comes of it in a second."""

    weight: float
    work: float
    per_s: float


class _Pace(NamedTuple):
    """How fast rows of one batch key move now: seconds of a likely step, and work per second at the best batch."""

    step_s: float
    work_per_s: float


class Scheduler:
    """Decides which rows step together. `times` is what it learns from."""

    def __init__(self, times: StepTimes) -> None:
        self.times = times
        self._classes: dict[str, Traffic] = {}
        self._rows_of: Counter[BatchKey] = Counter()  # forward rows that are here
        self._level = 0.0  # `served` of the class whose pass was the last: no class that comes back stands before it
        self._sequence = 0

    def add(self, request_id: str, demand: Demand) -> list[Ticket]:
        """A ticket for each row of the request."""
        queue = self._class_of(demand.turn)
        queue.weight, queue.max_step_slowdown = demand.turn.weight, demand.turn.max_step_slowdown  # plans may be newer
        if not queue.tickets:
            queue.served = max(queue.served, self._level)
        tag = queue.tag_of_new(demand.turn.tenant)
        tickets = [
            Ticket(
                request_id=request_id,
                index=index,
                turn=demand.turn,
                key=demand.key,
                forward_rows=demand.forward_rows,
                work=demand.step_work,
                steps_left=demand.steps,
                finish_tag=tag + demand.row_work * (index + 1),
                sequence=self._sequence + index,
            )
            for index in range(demand.rows)
        ]
        self._sequence += demand.rows
        self._rows_of[demand.key] += demand.rows * demand.forward_rows
        queue.enter(tickets)
        return tickets

    def remove(self, request_id: str) -> list[Ticket]:
        """Cancel: the rows of the request that were not finished leave at once, and their tenant is not charged."""
        tickets = [ticket for queue in self._classes.values() for ticket in queue.cancel(request_id)]
        for ticket in tickets:
            self._rows_of[ticket.key] -= ticket.forward_rows
        return tickets

    def pick(self) -> Pass | None:
        """The next pass, or None when no row waits. Its requests have begun; `done` or `did_not_fit` follows."""
        waiting = [queue for queue in self._classes.values() if queue.tickets]
        if not waiting:
            return None
        waiting.sort(key=lambda queue: (queue.served, -queue.weight))
        lead = waiting[0].tickets[0]
        limit = max(self.times.batch_rows(lead.key), lead.forward_rows)
        longest_s = self._longest_s(lead.key, waiting[0])
        chosen: list[Ticket] = []
        rows_of: dict[int, int] = {}
        new_rows = 0
        for number, queue in enumerate(waiting):
            for ticket in queue.tickets:
                total = sum(rows_of.values()) + ticket.forward_rows
                if total > limit:
                    break
                if ticket.key != lead.key:
                    continue
                new = new_rows + (not ticket.started)
                if chosen and self.times.pass_s(lead.key, total, new) > longest_s:
                    break
                proposed = {**rows_of, number: rows_of.get(number, 0) + ticket.forward_rows}
                if len(proposed) > 1 and not self._is_bearable(lead.key, waiting, proposed):
                    break
                chosen.append(ticket)
                rows_of, new_rows = proposed, new
        begins = {t.request_id for t in chosen if t.request_id not in self._class_of(t.turn).begun}
        for ticket in chosen:
            self._class_of(ticket.turn).begun.add(ticket.request_id)
        return Pass(lead.key, chosen, frozenset(begins))

    def done(self, made: Pass, seconds: float) -> list[Ticket]:
        """The pass was made and took `seconds`. Returns the tickets that made their last step; they have left."""
        self.times.observe(made.key, made.forward_rows, seconds)
        self._level = max(self._level, self._class_of(made.tickets[0].turn).served)
        for traffic, queue in self._classes.items():
            queue.advance(sum(t.work for t in made.tickets if t.turn.traffic == traffic), seconds)
        finished = [ticket for ticket in made.tickets if self._class_of(ticket.turn).moved(ticket)]
        for ticket in finished:
            self._rows_of[ticket.key] -= ticket.forward_rows
        return finished

    def rested(self, seconds: float) -> None:
        """No pass was made for so long: what came lately is no longer what to expect."""
        for queue in self._classes.values():
            queue.advance(0.0, seconds)

    def did_not_fit(self, tried: Pass) -> None:
        """The pass ran out of memory: no row moved, and the next ones are smaller."""
        self.times.out_of_memory(tried.key, tried.forward_rows)
        for ticket in tried.tickets:
            if ticket.request_id in tried.begins:
                self._class_of(ticket.turn).begun.discard(ticket.request_id)

    def outlook(self, demand: Demand, without: Collection[str] = ()) -> Outlook:
        """Of a request that would come now, if those of lower classes in `without` were not here."""
        queue = self._class_of(demand.turn)
        position, work = queue.ahead(demand)
        pace = self._pace(demand.key, queue, self._rows_of[demand.key] + demand.rows * demand.forward_rows)
        work += demand.row_work * demand.rows
        return Outlook(position, _eta_s(work, demand.steps, pace, self._rivals(queue, without)))

    def alone_s(self, demand: Demand) -> float:
        """Seconds that the request would take with the machine to itself."""
        rows = demand.rows * demand.forward_rows
        step_s = self.times.predict(demand.key, min(self.times.batch_rows(demand.key), rows))
        pace = _Pace(step_s, self.times.rows_per_s(demand.key) * latent_area(demand.key))
        return _eta_s(demand.row_work * demand.rows, demand.steps, pace, [])

    def news(self, without: Collection[str] = ()) -> dict[str, Outlook]:
        """For every request that has not begun, if those of `without` were not here. One walk over the rows: thousands
        may wait."""
        news: dict[str, Outlook] = {}
        for queue in self._classes.values():
            paces = {key: self._pace(key, queue, rows) for key, rows in self._rows_of.items() if rows}
            rivals = self._rivals(queue, without)
            work, waiting = 0.0, 0
            for ticket in queue.tickets:
                if ticket.request_id in without:
                    continue
                work += ticket.work_left
                if ticket.request_id in queue.begun:
                    continue
                known = news.get(ticket.request_id)
                position = waiting if known is None else known.position
                waiting += known is None
                eta_s = _eta_s(work, ticket.steps_left, paces[ticket.key], rivals)
                news[ticket.request_id] = Outlook(position, eta_s)  # the last row's stands in the end
        return news

    def waiting(self) -> list[Waiting]:
        """All that has not begun, in the order in which it gives way: the lowest class first, of each the newest."""
        return [
            Waiting(request_id, turn, queue.weight)
            for queue in sorted(self._classes.values(), key=lambda queue: queue.weight)
            for request_id, turn in queue.waiting()
        ]

    @property
    def waiting_rows(self) -> int:
        return sum(not ticket.started for ticket in self._tickets())

    @property
    def running_rows(self) -> int:
        return sum(ticket.started for ticket in self._tickets())

    def _tickets(self) -> Iterator[Ticket]:
        for queue in self._classes.values():
            yield from queue.tickets

    def _class_of(self, turn: Turn) -> Traffic:
        queue = self._classes.get(turn.traffic)
        if queue is None:
            queue = self._classes[turn.traffic] = Traffic(turn.weight, turn.max_step_slowdown)
        return queue

    def _is_bearable(self, key: BatchKey, waiting: list[Traffic], rows_of: dict[int, int]) -> bool:
        """Whether every class in the pass steps at most its `max_step_slowdown` slower than it would alone."""
        together_s = self.times.predict(key, sum(rows_of.values()))
        for number, rows in rows_of.items():
            bound = waiting[number].max_step_slowdown
            if bound is not None and together_s > bound * self.times.predict(key, rows):
                return False
        return True

    def _longest_s(self, key: BatchKey, queue: Traffic) -> float:
        """Of a pass of this class. While a class above it comes whose steps are bounded, whoever comes of that class
        does not wait long for its end."""
        is_awaited = any(other.weight > queue.weight and _is_expected(other) for other in self._classes.values())
        return PATIENCE_STEPS * self.times.predict(key, 1) if is_awaited else inf

    def _best_rows(self, key: BatchKey, queue: Traffic) -> int:
        """Of a pass of this class whose rows have begun."""
        rows, longest_s = self.times.batch_rows(key), self._longest_s(key, queue)
        return next((fewer for fewer in range(rows, 1, -1) if self.times.predict(key, fewer) <= longest_s), 1)

    def _rivals(self, queue: Traffic, without: Collection[str]) -> list[_Rival]:
        """Of lower classes only what is here counts: what comes of them meets a door that knows of this."""
        return [
            _Rival(
                weight=other.weight / queue.weight,
                work=other.work_without(without),
                per_s=other.per_s if other.weight > queue.weight else 0.0,
            )
            for other in self._classes.values()
            if other is not queue and (other.tickets or other.per_s)
        ]

    def _pace(self, key: BatchKey, queue: Traffic, rows: int) -> _Pace:
        """Of this class, with so many forward rows to fill the passes."""
        best = self._best_rows(key, queue)
        work_per_s = best / self.times.predict(key, best) * latent_area(key)
        return _Pace(self.times.predict(key, min(best, rows)), work_per_s)


def _eta_s(work: float, steps: int, pace: _Pace, rivals: Collection[_Rival]) -> float:
    """A fluid estimate: `work`, and what rivals get done until then, which is their share by weight, or all they have
    and all that comes of them. Found from above, so that it errs late. Never less than the steps themselves take."""
    total = work * (1 + sum(rival.weight for rival in rivals))
    for _ in range(ROUNDS if rivals else 0):
        until_s = total / pace.work_per_s
        total = work + sum(min(work * rival.weight, rival.work + rival.per_s * until_s) for rival in rivals)
    return max(steps * pace.step_s, total / pace.work_per_s)


def _is_expected(queue: Traffic) -> bool:
    return queue.max_step_slowdown is not None and queue.unserved_s < EXPECTED_S
