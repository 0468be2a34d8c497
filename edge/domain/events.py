"""What a generation tells while it goes on, and who listens.

State events (where it waits, which image is ready, how it ended) are numbered and can be replayed until a while after
the end. Steps and previews are for those who listen now: a slow listener misses some, and never holds anybody up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol

from msgspec import Struct

from edge.domain.owner import JobId
from serve_app.contract import Preview, Queued, Step

MAX_WAITING_PREVIEWS = 30  # of a plain stream: ten images with three partial images each

Outcome = Literal["succeeded", "blocked", "failed", "cancelled"]


class ImageReady(Struct, frozen=True, tag="image_ready", tag_field="event"):
    """State only: what it looks like and where it lies is in the image row."""

    index: int
    image_id: str | None


class Ended(Struct, frozen=True, tag="ended", tag_field="event"):
    """`category` is of what was blocked."""

    status: Outcome
    error_code: str | None = None
    retry_after_s: float | None = None
    truncated: bool = False
    category: str | None = None


State = Queued | ImageReady | Ended
RunEvent = State | Step | Preview


class Told(Struct, frozen=True):
    """An event as a listener gets it; `number` is set on state events."""

    event: RunEvent
    number: int | None = None


class Listener:
    """One reader's mailbox. Bounded: the latest event of each name, and a few previews.

    `is_shut`: nothing more comes here, though the job goes on; whoever asks another edge hears the rest.
    """

    def __init__(self, leave: Callable[["Listener"], None]) -> None:
        self.is_shut = False
        self._leave = leave
        self._waiting: OrderedDict[object, Told] = OrderedDict()
        self._sleeping: asyncio.Future[None] | None = None  # less than an event has: there are very many idle ones

    def tell(self, told: Told) -> None:
        if isinstance(told.event, Preview):
            self._drop_oldest_preview()
        name = _name(told.event)
        self._waiting.pop(name, None)
        self._waiting[name] = told
        self._wake()

    async def take(self, within_s: float) -> list[Told]:
        """What arrived since the last time, in order; empty when nothing did. For one who asks at a time."""
        if not self._waiting and not self.is_shut:
            loop = asyncio.get_running_loop()
            self._sleeping = loop.create_future()
            too_late = loop.call_later(within_s, self._wake)
            try:
                await self._sleeping
            finally:
                too_late.cancel()
                self._sleeping = None
        return self.take_now()

    def take_now(self) -> list[Told]:
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def shut(self) -> None:
        self.is_shut = True
        self._wake()

    def close(self) -> None:
        self._leave(self)

    def _wake(self) -> None:
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    def _drop_oldest_preview(self) -> None:
        previews = [key for key, told in self._waiting.items() if isinstance(told.event, Preview)]
        if len(previews) >= MAX_WAITING_PREVIEWS:
            del self._waiting[previews[0]]


class Channel(Protocol):
    """The events of one generation."""

    def publish(self, event: RunEvent) -> None: ...

    def listen(self, after: int | None = None) -> Listener:
        """Starts with the states numbered above `after`, and with the step it is at."""
        ...

    def is_over(self, after: int) -> bool:
        """Whether nothing comes after the state of that number."""
        ...


class EventHub(Protocol):
    """Finds the channel of a job. In memory for one edge; `shared_events` where there are several."""

    def open(self, job_id: JobId, watched: Callable[[bool], None]) -> Channel:
        """`watched` hears when the first listener comes and the last one leaves, whichever edge they are at."""
        ...

    def find(self, job_id: JobId) -> Channel | None:
        """Of a job of this edge."""
        ...

    async def reach(self, job_id: JobId, *, is_open: bool) -> Channel | None:
        """Of a job of any edge. `is_open`: its row has not ended, so that there is something to wait for."""
        ...

    async def last_states(self, job_ids: Sequence[JobId]) -> dict[JobId, State]:
        """The newest state of each job of which one is known."""
        ...

    def close(self, job_id: JobId, now: float) -> None:
        """The job has ended: forget its events in a while."""
        ...

    def forget(self, now: float) -> None:
        """Drop what is due."""
        ...

    def joined(self, cancel: Callable[[JobId], None]) -> AbstractAsyncContextManager[None]:
        """While inside, this edge hears what others tell, and `cancel` of the jobs that others want cancelled."""
        ...

    async def cancel_elsewhere(self, job_id: JobId) -> bool:
        """Asks the edge that runs the job to cancel it. False where no other edge could hear that."""
        ...

    def leave(self) -> None:
        """This edge goes: listeners to jobs of other edges are shut."""
        ...


def nobody_cares(_watched: bool) -> None:
    """For a channel whose only listener is the call itself."""


class MemoryChannel:
    def __init__(self, watched: Callable[[bool], None] = nobody_cares) -> None:
        self._watched = watched
        self._listeners: set[Listener] = set()
        self._states: OrderedDict[object, Told] = OrderedDict()
        self._step: Step | None = None
        self._number = 0

    def publish(self, event: RunEvent) -> None:
        self.pass_on(Told(event) if isinstance(event, Step | Preview) else Told(event, self._number + 1))

    def pass_on(self, told: Told) -> None:
        """What was numbered already. A state that is known is not told again."""
        if told.number is not None and told.number <= self._number:
            return
        self._remember(told)
        for listener in self._listeners:
            listener.tell(told)

    def listen(self, after: int | None = None) -> Listener:
        listener = Listener(self._leave)
        for told in self.known():
            if (told.number or 0) > (after or 0) or told.number is None:
                listener.tell(told)
        self._listeners.add(listener)
        if len(self._listeners) == 1:
            self._watched(True)
        return listener

    def is_over(self, after: int) -> bool:
        return self.has_ended and after >= self._number

    def shut(self) -> None:
        for listener in self._listeners:
            listener.shut()

    def known(self) -> list[Told]:
        """The states, and the step it is at."""
        at = [Told(self._step)] if self._step is not None and not self.has_ended else []
        return [*self._states.values(), *at]

    @property
    def last_state(self) -> State | None:
        last = next(reversed(self._states.values()), None)
        return None if last is None or isinstance(last.event, Step | Preview) else last.event

    @property
    def has_ended(self) -> bool:
        return "ended" in self._states

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    def _remember(self, told: Told) -> None:
        match told.event:
            case Step() as step:
                self._step = step
            case Preview():
                pass
            case state:
                self._number = told.number or self._number
                name = _name(state)
                self._states.pop(name, None)
                self._states[name] = told

    def _leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._watched(False)


def _name(event: RunEvent) -> object:
    """A newer event of the same name takes the place of the older."""
    match event:
        case Step():
            return "step"
        case Queued():
            return "queued"
        case Ended():
            return "ended"
        case ImageReady(index=index):
            return "image", index
        case Preview(index=index, number=number):
            return "preview", index, number


class MemoryHub:
    def __init__(self, kept_after_end_s: float) -> None:
        self._kept_after_end_s = kept_after_end_s
        self._channels: dict[JobId, MemoryChannel] = {}
        self._due: OrderedDict[JobId, float] = OrderedDict()

    def open(self, job_id: JobId, watched: Callable[[bool], None]) -> Channel:
        channel = MemoryChannel(watched)
        self.keep(job_id, channel)
        return channel

    def keep(self, job_id: JobId, channel: MemoryChannel) -> None:
        self._channels[job_id] = channel

    def find(self, job_id: JobId) -> MemoryChannel | None:
        return self._channels.get(job_id)

    async def reach(self, job_id: JobId, *, is_open: bool) -> Channel | None:
        return self.find(job_id)

    async def last_states(self, job_ids: Sequence[JobId]) -> dict[JobId, State]:
        channels = [(job_id, self.find(job_id)) for job_id in job_ids]
        return {job_id: channel.last_state for job_id, channel in channels if channel and channel.last_state}

    def close(self, job_id: JobId, now: float) -> None:
        if job_id in self._channels:
            self._due[job_id] = now + self._kept_after_end_s

    def forget(self, now: float) -> None:
        while self._due and next(iter(self._due.values())) <= now:
            job_id, _ = self._due.popitem(last=False)
            self._channels.pop(job_id, None)

    @asynccontextmanager
    async def joined(self, cancel: Callable[[JobId], None]) -> AsyncGenerator[None]:
        yield

    async def cancel_elsewhere(self, job_id: JobId) -> bool:
        return False

    def leave(self) -> None: ...
