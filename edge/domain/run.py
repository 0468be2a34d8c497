"""One generation on its way, as the replies see it, and the watch that ends a job which nobody looks at."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from edge.db.rows import ImageRow, JobRow
from edge.domain.events import Channel, Ended
from edge.domain.orders import Order
from edge.domain.owner import Caller, JobId
from edge.domain.training import Permission
from serve_app.contract import Image, Queued
from serve_app.errors import EngineFailed


class Made(Struct, frozen=True):
    """A finished image: its row where it is stored, its bytes where they were asked for."""

    image: Image
    row: ImageRow | None

    def __repr__(self) -> str:
        return repr(self.image)


class Run:
    """`made` fills up by index; `ended` is set last, once the job row says the same.

    `keeps_some`: images that were finished stay when the rest fails, because somebody has heard of them.
    `permission`: to make copies for training; None where none is made.
    """

    def __init__(
        self, job: JobRow, caller: Caller, order: Order, channel: Channel, *, keeps_some: bool,
        permission: Permission | None = None,
    ) -> None:  # fmt: skip
        self.job = job
        self.job_id = JobId(job.id)
        self.caller = caller
        self.order = order
        self.channel = channel
        self.keeps_some = keeps_some
        self.permission = permission
        self.made: dict[int, Made] = {}
        self.queued: Queued | None = None
        self.is_running = False
        self.was_retried = False
        self.ended: Ended | None = None
        self.cancelled_as: Ended | None = None
        self._drawing: asyncio.Task[Ended] | None = None
        self._conducting: asyncio.Task[None] | None = None

    def begin(self, drawing: asyncio.Task[Ended], conducting: asyncio.Task[None]) -> None:
        self._drawing = drawing
        self._conducting = conducting

    def cancel(self, ended: Ended = Ended("cancelled", "cancelled")) -> None:  # noqa: B008  frozen
        """Stops the drawing. Nothing happens when that is over already, and its end is being written."""
        if self._drawing is not None and self.cancelled_as is None and not self._drawing.done():
            self.cancelled_as = ended
            self._drawing.cancel()

    async def finished(self) -> Ended:
        """Waits for the end, whoever brings it about."""
        if self._conducting is not None:
            await asyncio.wait([self._conducting])
        return self.ended or Ended("failed", EngineFailed.code)


class Watch:
    """Calls `leave` when nobody has listened for `patience_s`."""

    def __init__(self, patience_s: float, leave: Callable[[], None]) -> None:
        self._patience_s = patience_s
        self._leave = leave
        self._waiting: asyncio.TimerHandle | None = None

    def changed(self, is_watched: bool) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if not is_watched:
            self._waiting = asyncio.get_running_loop().call_later(self._patience_s, self._leave)
