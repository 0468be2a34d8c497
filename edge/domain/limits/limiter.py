"""What counting is asked and answers: all windows of a call at once, all of them taken or none."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from edge.domain.limits.windows import Standing, Window
from edge.errors import EdgeError

LEASE_MS = 30_000


class StoreDown(EdgeError):
    """The counter store does not answer, or not in time."""


class Take(Struct, frozen=True):
    """`cost` is needed, or nothing is taken at all; up to `want` is taken where there is so much."""

    subject: str
    window: Window
    cost: int
    want: int = 0


class Lease(Struct, frozen=True):
    """A place among those of a subject that may be held at once, until it is released or its edge is gone."""

    subject: str
    id: str
    taken_at_ms: int


class Ask(Struct, frozen=True):
    """`lease` is wanted besides, where fewer than `most_leases` are held."""

    now_ms: int
    takes: tuple[Take, ...]
    lease: Lease | None = None
    most_leases: int = 0


class Answer(Struct, frozen=True):
    """`standings` and `granted` are in the order of the takes: after the call where it is admitted, else as found.

    `leased` counts the places that are held, this call's included.
    """

    is_admitted: bool
    standings: tuple[Standing, ...]
    granted: tuple[int, ...]
    leased: int = 0
    is_local: bool = False


class Limiter(Protocol):
    """Each method but `close` may raise StoreDown."""

    async def take(self, ask: Ask) -> Answer: ...

    async def give_back(self, ask: Ask, takes: Sequence[Take], *, is_local: bool) -> None:
        """The cost of these takes, to the buckets that `ask` took them from."""
        ...

    async def hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        """For another while. A lease that was lost is there again."""
        ...

    async def release(self, lease: Lease) -> None: ...
