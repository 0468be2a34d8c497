"""The rows of one traffic class, and how its tenants share it.

Each row carries a finish tag: the virtual time at which it would be done if all tenants of the class shared it equally
(weighted fair queueing, with the cost known in advance). Rows move in the order of their tags, so short work passes
long work, a tenant with much work stands behind its own, and nothing starves: tags stay, virtual time moves on.
"""

from bisect import insort
from dataclasses import dataclass, field
from math import exp

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
    """The rows of one class by finish tag, and how far its virtual time has come; `served` is its work by weight, and
    `per_s` what was done for it lately in a second of passes."""

    weight: float
    max_step_slowdown: float | None
    tickets: list[Ticket] = field(default_factory=list[Ticket])
    virtual_time: float = 0.0
    served: float = 0.0
    per_s: float = 0.0
    tenants: dict[str, int] = field(default_factory=dict[str, int])
    last_tag: dict[str, float] = field(default_factory=dict[str, float])

    def tag_of_new(self, tenant: str) -> float:
        """Where work that comes now begins in virtual time: at once, or behind the tenant's own."""
        return max(self.virtual_time, self.last_tag.get(tenant, 0.0))

    def enter(self, tickets: list[Ticket]) -> None:
        """All of one tenant, in the order of their tags."""
        tenant = tickets[-1].turn.tenant
        for ticket in tickets:
            insort(self.tickets, ticket, key=lambda t: t.order)
        self.tenants[tenant] = self.tenants.get(tenant, 0) + len(tickets)
        self.last_tag[tenant] = tickets[-1].finish_tag

    def leave(self, ticket: Ticket) -> None:
        self.tickets.remove(ticket)
        tenant = ticket.turn.tenant
        self.tenants[tenant] -= 1
        if not self.tenants[tenant]:
            del self.tenants[tenant]
        if len(self.last_tag) > 2 * len(self.tenants):
            self._forget_tenants()

    def refund(self, cancelled: list[Ticket]) -> None:
        """Their work will not be done: what the tenant asked for after them moves up, though not before what new work
        would get now."""
        tenant, last = cancelled[-1].turn.tenant, cancelled[-1].sequence
        work = sum(ticket.work_left for ticket in cancelled)
        tag = max(self.virtual_time, self.last_tag.get(tenant, 0.0) - work)
        for ticket in self.tickets:
            if ticket.turn.tenant == tenant and ticket.sequence > last:
                now = self.virtual_time + ticket.work_left
                ticket.finish_tag = max(ticket.finish_tag - work, min(ticket.finish_tag, now))
                tag = max(tag, ticket.finish_tag)
        self.tickets.sort(key=lambda ticket: ticket.order)
        self.last_tag[tenant] = tag

    def advance(self, work: float, seconds: float) -> None:
        """`work` was done for this class in a pass of so many seconds: all its tenants come that much nearer, each by
        an equal part."""
        self.virtual_time += work / max(1, len(self.tenants))
        self.served += work / self.weight
        if seconds > 0:
            self.per_s += (1 - exp(-seconds / LATELY_S)) * (work / seconds - self.per_s)

    def _forget_tenants(self) -> None:
        """Of those who wait for nothing, only a tag that is still ahead says anything; in an idle class none does."""
        self.last_tag = {
            tenant: tag
            for tenant, tag in self.last_tag.items()
            if tenant in self.tenants or (self.tickets and tag > self.virtual_time)
        }
