"""The rows of one traffic class, and how its tenants share it.

Each row carries a finish tag: the virtual time at which it would be done if all tenants of the class shared it equally
(weighted fair queueing, with the cost known in advance). Rows move in the order of their tags, so short work passes
long work, a tenant with much work stands behind its own, and nothing starves: tags stay, virtual time moves on.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import exp, inf

from serve_app.contract import Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import latent_area

LATELY_S = 10.0


@dataclass(slots=True, frozen=True)
class Demand:
    """The cost of a request, known before it runs."""

    turn: Turn
    key: BatchKey
    rows: int
    forward_rows: int
    steps: int

    @property
    def step_work(self) -> float:
        return self.forward_rows * latent_area(self.key)

    @property
    def row_work(self) -> float:
        return self.step_work * self.steps


@dataclass(slots=True, eq=False)
class Ticket:
    """One row, as the scheduler sees it. `work` is forward rows × latent cells, per step."""

    request_id: str
    index: int
    turn: Turn
    key: BatchKey
    forward_rows: int
    work: float
    steps_left: int
    finish_tag: float
    sequence: int
    started: bool = False

    @property
    def work_left(self) -> float:
        return self.work * self.steps_left

    @property
    def order(self) -> tuple[float, int]:
        return (self.finish_tag, self.sequence)


@dataclass(slots=True)
class Traffic:
    """The rows of one class by finish tag, the requests they are of in the order in which those came, and how far its
    virtual time has come; `served` is its work by weight, `per_s` what was done for it lately in a second of passes,
    `unserved_s` for how long nothing was."""

    weight: float
    max_step_slowdown: float | None
    tickets: list[Ticket] = field(default_factory=list[Ticket])
    requests: dict[str, list[Ticket]] = field(default_factory=dict[str, list[Ticket]])
    begun: set[str] = field(default_factory=set[str])  # of the requests, those of which a row is or was in a pass
    work_left: float = 0.0
    virtual_time: float = 0.0
    served: float = 0.0
    per_s: float = 0.0
    unserved_s: float = inf
    tenants: dict[str, int] = field(default_factory=dict[str, int])
    last_tag: dict[str, float] = field(default_factory=dict[str, float])

    def tag_of_new(self, tenant: str) -> float:
        """Where work that comes now begins in virtual time: at once, or behind the tenant's own."""
        return max(self.virtual_time, self.last_tag.get(tenant, 0.0))

    def enter(self, tickets: list[Ticket]) -> None:
        """All of one request, in the order of their tags."""
        request_id, tenant = tickets[-1].request_id, tickets[-1].turn.tenant
        for ticket in tickets:
            insort(self.tickets, ticket, key=_order)
            self.work_left += ticket.work_left
        self.requests[request_id] = list(tickets)
        self.tenants[tenant] = self.tenants.get(tenant, 0) + len(tickets)
        self.last_tag[tenant] = tickets[-1].finish_tag

    def moved(self, ticket: Ticket) -> bool:
        """One step; whether it was the last, with which the row left. Nothing of a row that left while it moved."""
        if ticket not in self.requests.get(ticket.request_id, ()):
            return False
        ticket.started = True
        ticket.steps_left -= 1
        self.work_left -= ticket.work
        if ticket.steps_left:
            return False
        self._leave(ticket)
        return True

    def cancel(self, request_id: str) -> list[Ticket]:
        """Its rows that were not finished leave, and their tenant is not charged."""
        tickets = list(self.requests.get(request_id, ()))
        if tickets:
            self._refund(tickets)
            for ticket in tickets:
                self._leave(ticket)
        return tickets

    def ahead(self, demand: Demand) -> tuple[int, float]:
        """Of a request that would come now: how many that have not begun are before its first row, and the work before
        its last. Counted from the nearer end: whoever comes now stands near the last."""
        first_tag = self.tag_of_new(demand.turn.tenant) + demand.row_work
        first, last = self._place(first_tag), self._place(first_tag + demand.row_work * (demand.rows - 1))
        behind = sum(ticket.index == 0 and ticket.request_id not in self.begun for ticket in self.tickets[first:])
        if last < len(self.tickets) - last:
            work = sum(ticket.work_left for ticket in self.tickets[:last])
        else:
            work = self.work_left - sum(ticket.work_left for ticket in self.tickets[last:])
        return len(self.requests) - len(self.begun) - behind, work

    def waiting(self) -> Iterator[tuple[str, Turn]]:
        """Requests that have not begun, the newest first."""
        for request_id, tickets in reversed(self.requests.items()):
            if request_id not in self.begun:
                yield request_id, tickets[0].turn

    def work_without(self, request_ids: Collection[str]) -> float:
        gone = sum(ticket.work_left for each in request_ids for ticket in self.requests.get(each, ()))
        return self.work_left - gone

    def advance(self, work: float, seconds: float) -> None:
        """`work` was done for this class in a pass of so many seconds: all its tenants come that much nearer, each by
        an equal part."""
        self.virtual_time += work / max(1, len(self.tenants))
        self.served += work / self.weight
        self.unserved_s = 0.0 if work else self.unserved_s + seconds
        if seconds > 0:
            self.per_s += (1 - exp(-seconds / LATELY_S)) * (work / seconds - self.per_s)

    def _place(self, tag: float) -> int:
        return bisect_right(self.tickets, tag, key=_finish_tag)

    def _leave(self, ticket: Ticket) -> None:
        del self.tickets[bisect_left(self.tickets, ticket.order, key=_order)]
        self.work_left -= ticket.work_left
        self._leave_request(ticket)
        tenant = ticket.turn.tenant
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]
        if len(self.last_tag) > 2 * len(self.tenants):
            self._forget_tenants()

    def _leave_request(self, ticket: Ticket) -> None:
        rest = self.requests[ticket.request_id]
        rest.remove(ticket)
        if not rest:
            del self.requests[ticket.request_id]
            self.begun.discard(ticket.request_id)

    def _refund(self, cancelled: list[Ticket]) -> None:
        """Their work will not be done: what the tenant asked for after them moves up, though not before what new work
        would get now."""
        tenant, last = cancelled[-1].turn.tenant, cancelled[-1].sequence
        work = sum(ticket.work_left for ticket in cancelled)
        tag = max(self.virtual_time, self.last_tag.get(tenant, 0.0) - work)
        if self.tenants[tenant] > len(cancelled):
            for ticket in self.tickets:
                if ticket.turn.tenant == tenant and ticket.sequence > last:
                    now = self.virtual_time + ticket.work_left
                    ticket.finish_tag = max(ticket.finish_tag - work, min(ticket.finish_tag, now))
                    tag = max(tag, ticket.finish_tag)
            self.tickets.sort(key=_order)
        self.last_tag[tenant] = tag

    def _forget_tenants(self) -> None:
        """Of those who wait for nothing, only a tag that is still ahead says anything; in an idle class none does."""
        self.last_tag = {
            tenant: tag
            for tenant, tag in self.last_tag.items()
            if tenant in self.tenants or (self.tickets and tag > self.virtual_time)
        }


def _order(ticket: Ticket) -> tuple[float, int]:
    return ticket.order


def _finish_tag(ticket: Ticket) -> float:
    return ticket.finish_tag
