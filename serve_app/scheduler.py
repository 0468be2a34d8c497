"""Who moves one step next.

The one idea: *a request is rows, and a row waits for nobody's batch. At every tick the rows whose turn it is, and which
may share a forward pass, move one step; the next tick decides anew.*

Two levels of fairness. Between classes the pass goes to the class that has had the least work for its weight. A class
that comes back stands level with the one that is served: it is owed nothing for the time away, and not charged for what
it had while the machine was free.

Within a class the tenants share: `traffic.py` keeps its rows in the order in which they move.

No torch, no asyncio, no clock: durations are told, so a simulator drives this same object on a virtual clock.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from serve_app.contract import Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import StepTimes, latent_area
from serve_app.traffic import Demand, Ticket, Traffic

ROUNDS = 4  # of an estimate that comes down to its value


@dataclass(slots=True, frozen=True)
class Pass:
    """Rows that make one step together. The first is of the class whose pass it is."""

    key: BatchKey
    tickets: list[Ticket]

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
        self._requests: dict[str, list[Ticket]] = {}
        self._begun: set[str] = set()  # of these, those of which a row has moved
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
        queue.enter(tickets)
        self._requests[request_id] = list(tickets)
        return tickets

    def remove(self, request_id: str) -> list[Ticket]:
        """Cancel: the rows of the request that were not finished leave at once, and their tenant is not charged."""
        tickets = self._requests.pop(request_id, [])
        self._begun.discard(request_id)
        if tickets:
            queue = self._class_of(tickets[0].turn)
            queue.refund(tickets)
            for ticket in tickets:
                queue.leave(ticket)
        return tickets

    def pick(self) -> Pass | None:
        """The next pass, or None when no row waits. Choosing changes nothing: `done` or `did_not_fit` follows."""
        waiting = [queue for queue in self._classes.values() if queue.tickets]
        if not waiting:
            return None
        waiting.sort(key=lambda queue: (queue.served, -queue.weight))
        lead = waiting[0].tickets[0]
        limit = max(self.times.batch_rows(lead.key), lead.forward_rows)
        chosen: list[Ticket] = []
        rows_of: dict[int, int] = {}
        for number, queue in enumerate(waiting):
            for ticket in queue.tickets:
                total = sum(rows_of.values()) + ticket.forward_rows
                if total > limit:
                    break
                if ticket.key != lead.key:
                    continue
                proposed = {**rows_of, number: rows_of.get(number, 0) + ticket.forward_rows}
                if len(proposed) > 1 and not self._is_bearable(lead.key, waiting, proposed):
                    break
                chosen.append(ticket)
                rows_of = proposed
        return Pass(lead.key, chosen)

    def done(self, made: Pass, seconds: float) -> list[Ticket]:
        """The pass was made and took `seconds`. Returns the tickets that made their last step; they have left."""
        self.times.observe(made.key, made.forward_rows, seconds)
        self._level = max(self._level, self._class_of(made.tickets[0].turn).served)
        for traffic, queue in self._classes.items():
            queue.advance(sum(t.work for t in made.tickets if t.turn.traffic == traffic), seconds)
        known = [ticket for ticket in made.tickets if self._is_known(ticket)]
        for ticket in known:
            ticket.started = True
            ticket.steps_left -= 1
            self._begun.add(ticket.request_id)
        finished = [ticket for ticket in known if not ticket.steps_left]
        for ticket in finished:
            self._finish(ticket)
        return finished

    def rested(self, seconds: float) -> None:
        """No pass was made for so long: what came lately is no longer what to expect."""
        for queue in self._classes.values():
            queue.advance(0.0, seconds)

    def did_not_fit(self, tried: Pass) -> None:
        """The pass ran out of memory: no row moved, and the next ones are smaller."""
        self.times.out_of_memory(tried.key, tried.forward_rows)

    def outlook(self, demand: Demand, without: Collection[str] = ()) -> Outlook:
        """Of a request that would come now, if those of lower classes in `without` were not here."""
        queue = self._class_of(demand.turn)
        first_tag = queue.tag_of_new(demand.turn.tenant) + demand.row_work
        last_tag = first_tag + demand.row_work * (demand.rows - 1)
        ahead = [ticket for ticket in queue.tickets if ticket.finish_tag <= last_tag]
        waiting = {ticket.request_id for ticket in ahead if ticket.finish_tag <= first_tag}
        work = sum(ticket.work_left for ticket in ahead) + demand.row_work * demand.rows
        pace = self._pace(demand.key, self._rows_here(demand.key) + demand.rows * demand.forward_rows)
        eta_s = _eta_s(work, demand.steps, pace, self._rivals(queue, without))
        return Outlook(len(waiting - self._begun), eta_s)

    def alone_s(self, demand: Demand) -> float:
        """Seconds that the request would take with the machine to itself."""
        pace = self._pace(demand.key, demand.rows * demand.forward_rows)
        return _eta_s(demand.row_work * demand.rows, demand.steps, pace, [])

    def news(self, without: Collection[str] = ()) -> dict[str, Outlook]:
        """For every request that has not begun, if those of `without` were not here. One walk over the rows: thousands
        may wait."""
        paces = {key: self._pace(key, self._rows_here(key)) for key in {ticket.key for ticket in self._tickets()}}
        news: dict[str, Outlook] = {}
        for queue in self._classes.values():
            rivals = self._rivals(queue, without)
            work, waiting = 0.0, 0
            for ticket in queue.tickets:
                if ticket.request_id in without:
                    continue
                work += ticket.work_left
                if ticket.request_id in self._begun:
                    continue
                known = news.get(ticket.request_id)
                position = waiting if known is None else known.position
                waiting += known is None
                eta_s = _eta_s(work, ticket.steps_left, paces[ticket.key], rivals)
                news[ticket.request_id] = Outlook(position, eta_s)  # the last row's stands in the end
        return news

    def waiting(self) -> list[Waiting]:
        """All that has not begun, in the order in which it gives way: the lowest class first, of each the newest."""
        found = [
            Waiting(request_id, tickets[0].turn, self._class_of(tickets[0].turn).weight)
            for request_id, tickets in reversed(self._requests.items())
            if request_id not in self._begun
        ]
        return sorted(found, key=lambda each: each.weight)

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

    def _rivals(self, queue: Traffic, without: Collection[str]) -> list[_Rival]:
        """Of lower classes only what is here counts: what comes of them meets a door that knows of this."""
        return [
            _Rival(
                weight=other.weight / queue.weight,
                work=sum(ticket.work_left for ticket in other.tickets if ticket.request_id not in without),
                per_s=other.per_s if other.weight > queue.weight else 0.0,
            )
            for other in self._classes.values()
            if other is not queue and (other.tickets or other.per_s)
        ]

    def _pace(self, key: BatchKey, rows: int) -> _Pace:
        """With so many forward rows to fill the passes."""
        step_s = self.times.predict(key, min(self.times.batch_rows(key), rows))
        return _Pace(step_s, self.times.rows_per_s(key) * latent_area(key))

    def _rows_here(self, key: BatchKey) -> int:
        return sum(ticket.forward_rows for ticket in self._tickets() if ticket.key == key)

    def _is_known(self, ticket: Ticket) -> bool:
        """False when its request was cancelled while the pass ran."""
        return ticket in self._requests.get(ticket.request_id, ())

    def _finish(self, ticket: Ticket) -> None:
        self._class_of(ticket.turn).leave(ticket)
        rest = self._requests[ticket.request_id]
        rest.remove(ticket)
        if not rest:
            del self._requests[ticket.request_id]
            self._begun.discard(ticket.request_id)


def _eta_s(work: float, steps: int, pace: _Pace, rivals: Collection[_Rival]) -> float:
    """A fluid estimate: `work`, and what rivals get done until then, which is their share by weight, or all they have
    and all that comes of them. Found from above, so that it errs late. Never less than the steps themselves take."""
    total = work * (1 + sum(rival.weight for rival in rivals))
    for _ in range(ROUNDS if rivals else 0):
        until_s = total / pace.work_per_s
        total = work + sum(min(work * rival.weight, rival.work + rival.per_s * until_s) for rival in rivals)
    return max(steps * pace.step_s, total / pace.work_per_s)
