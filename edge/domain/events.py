"""What a generation tells while it goes on, and who listens.

State events (where it waits, which image is ready, how it ended) are numbered and can be replayed until a while after
the end. Steps and previews are for those who listen now: a slow listener misses some, and never holds anybody up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, Protocol

from msgspec import Struct

from edge.domain.owner import JobId
from serve_app.contract import Preview, Queued, Step

MAX_WAITING_PREVIEWS = 30  # of a plain stream: ten images with three partial images each

Outcome = Literal["succeeded", "blocked", "failed", "cancelled"]


class ImageReady(Struct, frozen=True):
    """State only: what it looks like and where it lies is in the image row."""

    index: int
    image_id: str | None


class Ended(Struct, frozen=True):
    status: Outcome
    error_code: str | None = None
    retry_after_s: float | None = None
    truncated: bool = False


State = Queued | ImageReady | Ended
RunEvent = State | Step | Preview


class Told(Struct, frozen=True):
    """An event as a listener gets it; `number` is set on state events."""

    event: RunEvent
    number: int | None = None


class Listener:
    """One reader's mailbox. Bounded: the latest event of each name, and a few previews."""

    def __init__(self, leave: Callable[["Listener"], None]) -> None:
        self._leave = leave
        self._waiting: OrderedDict[object, Told] = OrderedDict()
        self._arrived = asyncio.Event()

    def tell(self, told: Told) -> None:
        if isinstance(told.event, Preview):
            self._drop_oldest_preview()
        name = _name(told.event)
        self._waiting.pop(name, None)
        self._waiting[name] = told
        self._arrived.set()

    async def take(self, within_s: float) -> list[Told]:
        """What arrived since the last time, in order; empty when nothing did."""
        if not self._waiting:
            self._arrived.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def close(self) -> None:
        self._leave(self)

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
    """Finds the channel of a job. In memory for one edge; a shared store when there are several."""

    def open(self, job_id: JobId, watched: Callable[[bool], None]) -> Channel:
        """`watched` hears when the first listener comes and the last one leaves."""
        ...

    def find(self, job_id: JobId) -> Channel | None: ...

    def close(self, job_id: JobId, now: float) -> None:
        """The job has ended: forget its events in a while."""
        ...

    def forget(self, now: float) -> None:
        """Drop what is due."""
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
        told = self._remembered(event)
        for listener in self._listeners:
            listener.tell(told)

    def listen(self, after: int | None = None) -> Listener:
        listener = Listener(self._leave)
        for told in self._states.values():
            if told.number is not None and told.number > (after or 0):
                listener.tell(told)
        if self._step is not None and "ended" not in self._states:
            listener.tell(Told(self._step))
        self._listeners.add(listener)
        if len(self._listeners) == 1:
            self._watched(True)
        return listener

    def is_over(self, after: int) -> bool:
        return "ended" in self._states and after >= self._number

    def _remembered(self, event: RunEvent) -> Told:
        match event:
            case Step():
                self._step = event
                return Told(event)
            case Preview():
                return Told(event)
            case state:
                self._number += 1
                name = _name(state)
                self._states.pop(name, None)
                self._states[name] = told = Told(state, self._number)
                return told

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
        self._channels[job_id] = channel = MemoryChannel(watched)
        return channel

    def find(self, job_id: JobId) -> Channel | None:
        return self._channels.get(job_id)

    def close(self, job_id: JobId, now: float) -> None:
        if job_id in self._channels:
            self._due[job_id] = now + self._kept_after_end_s

    def forget(self, now: float) -> None:
        while self._due and next(iter(self._due.values())) <= now:
            job_id, _ = self._due.popitem(last=False)
            self._channels.pop(job_id, None)
