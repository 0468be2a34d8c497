"""What the jobs of other edges tell, as somebody here wants to hear it.

One connection for all of them. Each confirmed subscription is followed by a look at the stream: a new listener, and
one whose store was away for a while, thus hear every state once, in order.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol, TypedDict, cast

from valkey.asyncio import Valkey
from valkey.exceptions import ConnectionError as NoConnection
from valkey.exceptions import ValkeyError

from edge.domain.event_wire import CANCEL, FIELD, channel_of, decode, job_of, stream_of
from edge.domain.events import MemoryChannel
from edge.domain.owner import JobId

log = logging.getLogger(__name__)

CATCH_UP_S = 1.0  # a listener waits no longer for what came before it
GATHER_S = 0.002  # subscriptions that are confirmed together are looked up together
MOST_JOBS = 256
RETRY_S = 0.5
SILENCE_S = 5.0  # then the store is asked whether it is there; after as much again, it is not

Entries = list[tuple[bytes, dict[bytes, bytes]]]


class Message(TypedDict):
    type: str
    channel: bytes
    data: bytes


class Subscriptions(Protocol):
    """What is used of valkey's `PubSub`, which says little of its types."""

    async def subscribe(self, *names: str) -> None: ...
    async def unsubscribe(self, *names: str) -> None: ...
    async def ping(self) -> None: ...
    async def get_message(self, *, timeout: float) -> Message | None: ...  # noqa: ASYNC109  theirs


class Mirror(MemoryChannel):
    """Of a job that runs elsewhere."""

    def __init__(self, watched: Callable[[bool], None]) -> None:
        super().__init__(watched)
        self.has_caught_up = asyncio.Event()
        self.seekers = 0  # who want to listen, and do not yet


class Receiver:
    def __init__(self, store: Valkey, cancel: Callable[[JobId], None]) -> None:
        self._store = store
        self._cancel = cancel
        self._mirrors: dict[JobId, Mirror] = {}
        self._subscriptions: Subscriptions | None = None
        self._changing = asyncio.Lock()
        self._partings: set[asyncio.Task[None]] = set()

    @property
    def is_listening(self) -> bool:
        return self._subscriptions is not None

    async def run(self) -> None:
        while True:
            try:
                async with self._subscribed() as subscriptions:
                    await self._hear(subscriptions)
            except (ValkeyError, OSError) as error:
                log.warning("nothing is heard of other edges: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def mirror(self, job_id: JobId, *, is_open: bool) -> MemoryChannel | None:
        """None where the job has ended, and of its end nothing is known but its row. Who gets one listens at once."""
        mirror = self._mirrors.get(job_id)
        if is_new := mirror is None:
            mirror = self._mirrors[job_id] = Mirror(partial(self._watched, job_id))
        mirror.seekers += 1
        is_useful = False
        try:
            if is_new:
                await self._subscribe(job_id)
            with suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_S if self.is_listening else 0):
                    await mirror.has_caught_up.wait()
            is_useful = is_open or mirror.has_ended
        finally:
            mirror.seekers -= 1
            if mirror.has_ended or not is_useful:
                self._part(job_id)
        return mirror if is_useful else None

    def shut(self) -> None:
        for mirror in self._mirrors.values():
            mirror.shut()

    @asynccontextmanager
    async def _subscribed(self) -> AsyncGenerator[Subscriptions]:
        async with self._store.pubsub() as opened:
            subscriptions = cast("Subscriptions", opened)
            async with self._changing:
                await subscriptions.subscribe(CANCEL, *map(channel_of, self._mirrors))
                self._subscriptions = subscriptions
            try:
                yield subscriptions
            finally:
                self._subscriptions = None

    async def _hear(self, subscriptions: Subscriptions) -> None:
        confirmed: list[JobId] = []
        was_asked = False
        while True:
            message = await subscriptions.get_message(timeout=GATHER_S if confirmed else SILENCE_S)
            is_told = message is not None and message["type"] == "message"
            if confirmed and (message is None or is_told or len(confirmed) >= MOST_JOBS):
                await self._catch_up(confirmed)
                confirmed = []
            elif message is None:
                if was_asked:
                    raise NoConnection("the store is silent")
                await subscriptions.ping()
                was_asked = True
            if message is not None:
                was_asked = False
                confirmed += self._take(message)

    def _take(self, message: Message) -> list[JobId]:
        """Answers whose subscription it confirms."""
        kind, channel = message["type"], message["channel"]
        if kind == "message" and channel == CANCEL.encode():
            self._cancel(JobId(message["data"].decode()))
        elif kind == "message" and (mirror := self._mirrors.get(job_of(channel))):
            for told in decode(message["data"]):
                mirror.pass_on(told)
        elif kind == "subscribe" and channel != CANCEL.encode():
            return [job_of(channel)]
        return []

    async def _catch_up(self, job_ids: Sequence[JobId]) -> None:
        async with self._store.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.xrange(stream_of(job_id))
            streams = cast("list[Entries]", await pipeline.execute())
        for job_id, entries in zip(job_ids, streams, strict=True):
            if (mirror := self._mirrors.get(job_id)) is None:
                continue
            for _, fields in entries:
                for told in decode(fields[FIELD]):
                    mirror.pass_on(told)
            mirror.has_caught_up.set()

    def _watched(self, job_id: JobId, is_watched: bool) -> None:
        if not is_watched:
            self._part(job_id)

    def _part(self, job_id: JobId) -> None:
        """Unless somebody else is there, or about to be."""
        mirror = self._mirrors.get(job_id)
        if mirror is None or mirror.has_listeners or mirror.seekers:
            return
        del self._mirrors[job_id]
        parting = asyncio.get_running_loop().create_task(self._unsubscribe(job_id))
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)

    async def _subscribe(self, job_id: JobId) -> None:
        async with self._changing:
            if self._subscriptions is not None:
                with suppress(ValkeyError, OSError):  # `run` meets the same, and subscribes anew
                    await self._subscriptions.subscribe(channel_of(job_id))

    async def _unsubscribe(self, job_id: JobId) -> None:
        async with self._changing:
            if self._subscriptions is not None and job_id not in self._mirrors:
                with suppress(ValkeyError, OSError):
                    await self._subscriptions.unsubscribe(channel_of(job_id))
