"""One turn of the deleter: what it works with, and what it found. Each item of it goes by itself."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cluster.day_keys import DayKeys
from edge.db.database import Database
from edge.domain.reports import SweepReport
from edge.errors import EdgeError
from policies.schema import Policies
from serve_app.errors import ServeError
from serve_app.storage.store import ObjectStore, StoreSettings

log = logging.getLogger(__name__)

ITEM_S = 240.0  # one that hangs leaves a turn time for its report before that is missed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`removed` counts what this process has deleted since it started, by kind."""

    clock: Callable[[], float]
    store: ObjectStore
    store_settings: StoreSettings
    database: Database
    policies: Policies
    keys: DayKeys
    removed: Counter[str] = field(default_factory=Counter[str])


class Sweep:
    """`now` is when it began, and decides what is due; `limit_s` is how long one item of it may take."""

    def __init__(self, parts: Parts, limit_s: float = ITEM_S) -> None:
        self.parts = parts
        self.limit_s = limit_s
        self.now = parts.clock()
        self.removed: Counter[str] = Counter()
        self.left: set[str] = set()
        self._lag_s: float | None = None
        self._oldest_due_at: float | None = None

    @property
    def forget_after_s(self) -> float:
        """How long a job's bare state outlives its last picture."""
        return self.parts.policies.retention.classes.job_state.duration_s

    async def item(self, kind: str, work: Awaitable[None], *, due_at: float | None = None) -> None:
        """Never raises. `due_at`: since when what this item removes should be gone."""
        try:
            async with asyncio.timeout(self.limit_s):
                await work
        except Exception as error:  # noqa: BLE001  deleting must go on whatever one item met
            _give_way(error)
            is_ours = isinstance(error, ServeError | EdgeError)  # whose texts are safe to log
            log.error("%s are left for the next sweep: %s", kind, error if is_ours else type(error).__name__)
            self.left.add(kind)
            if due_at is not None:
                self.leave(due_at)

    def leave(self, due_at: float) -> None:
        """Something that was due then is still there."""
        self._oldest_due_at = min(due_at, self._oldest_due_at or due_at)

    def note(self, kind: str, count: int, *, due_at: float | None = None) -> None:
        """So many have gone now, which were due then."""
        if not count:
            return
        self.removed[kind] += count
        self.parts.removed[kind] += count
        if due_at is not None:
            self._lag_s = max(self.parts.clock() - due_at, self._lag_s or 0.0)

    def report(self) -> SweepReport:
        return SweepReport(
            at=int(self.now),
            removed=dict(self.removed),
            took_s=max(0.0, self.parts.clock() - self.now),
            lag_s=self._lag_s,
            oldest_due_at=None if self._oldest_due_at is None else int(self._oldest_due_at),
            left=sorted(self.left),
        )


def _give_way(error: Exception) -> None:
    """A library may answer a cancel with an error of its own; a sweeper that is to end would then go on for ever."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
