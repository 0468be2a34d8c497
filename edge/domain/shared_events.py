"""The events of jobs where several edges share a store: heard at any edge, wherever the job runs.

Implements `events.EventHub`. While the store is down, listeners at the job's own edge hear everything and others
nothing; once it is back, those hear every state that they missed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from edge.domain.event_receiver import Entries, Receiver
from edge.domain.event_sender import Sender, SharedChannel
from edge.domain.event_wire import CANCEL, FIELD, channel_of, decode, stream_of
from edge.domain.events import Channel, MemoryHub, State
from edge.domain.owner import JobId
from serve_app.contract import Preview, Step

log = logging.getLogger(__name__)

LOOK_S = 0.5  # how soon a listener at another edge gets steps and previews, and counts as one
RENEW_EVERY = 10  # looks
LAST_WORDS_S = 1.0
AFTER_BUG_S = 1.0


class SharedHub:
    def __init__(self, store: Valkey, kept_after_end_s: float, look_s: float = LOOK_S) -> None:
        self._store = store
        self._look_s = look_s
        self._here = MemoryHub(kept_after_end_s)
        self._channels: dict[JobId, SharedChannel] = {}
        self._sender = Sender(store, kept_after_end_s)
        self._receiver: Receiver | None = None

    def open(self, job_id: JobId, watched: Callable[[bool], None]) -> Channel:
        self._channels[job_id] = channel = SharedChannel(job_id, watched, self._sender.wake)
        self._here.keep(job_id, channel)
        return channel

    def find(self, job_id: JobId) -> Channel | None:
        return self._here.find(job_id)

    async def reach(self, job_id: JobId, *, is_open: bool) -> Channel | None:
        if here := self._here.find(job_id):
            return here
        return await self._receiver.mirror(job_id, is_open=is_open) if self._receiver else None

    async def last_states(self, job_ids: Sequence[JobId]) -> dict[JobId, State]:
        here = await self._here.last_states(job_ids)
        elsewhere = [job_id for job_id in job_ids if self._here.find(job_id) is None]
        return here | await self._last_states_elsewhere(elsewhere)

    def close(self, job_id: JobId, now: float) -> None:
        self._here.close(job_id, now)

    def forget(self, now: float) -> None:
        self._here.forget(now)
        for job_id in [job_id for job_id in self._channels if self._here.find(job_id) is None]:
            self._sender.forget(self._channels.pop(job_id))

    @asynccontextmanager
    async def joined(self, cancel: Callable[[JobId], None]) -> AsyncGenerator[None]:
        self._receiver = receiver = Receiver(self._store, cancel)
        loops = (self._sender.run, receiver.run, self._look_for_ever)
        tasks = [asyncio.create_task(_unending(loop)) for loop in loops]
        try:
            yield
        finally:
            self.leave()
            await _stop(tasks)
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._sender.send_due()

    async def cancel_elsewhere(self, job_id: JobId) -> bool:
        try:
            heard = await self._store.publish(CANCEL, job_id)
        except (ValkeyError, OSError):
            return False
        return heard > bool(self._receiver and self._receiver.is_listening)

    def leave(self) -> None:
        if self._receiver:
            self._receiver.shut()
            self._receiver = None

    async def _last_states_elsewhere(self, job_ids: Sequence[JobId]) -> dict[JobId, State]:
        if not job_ids:
            return {}
        try:
            async with self._store.pipeline(transaction=False) as pipeline:
                for job_id in job_ids:
                    pipeline.xrevrange(stream_of(job_id), count=1)
                ends = cast("list[Entries]", await pipeline.execute())
        except (ValkeyError, OSError):
            return {}
        return {job_id: state for job_id, entries in zip(job_ids, ends, strict=True) for state in _states(entries)}

    async def _look_for_ever(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(self._look_s)
            looks += 1
            going_on = [channel for channel in self._channels.values() if not channel.has_ended]
            if going_on:
                await self._look(going_on, renews=looks % RENEW_EVERY == 0)

    async def _look(self, channels: Sequence[SharedChannel], *, renews: bool) -> None:
        """The store counts who listens: an edge that dies takes its listeners along. One that is down may have some."""
        try:
            counts = await self._store.pubsub_numsub(*(channel_of(channel.job_id) for channel in channels))
            if renews:
                await self._sender.renew(channels)
        except (ValkeyError, OSError):
            counts = [(b"", 1)] * len(channels)
        for channel, (_, listening) in zip(channels, counts, strict=True):
            channel.watch_elsewhere(listening > 0)


async def _unending(loop: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001  other edges must hear again, whatever one message did
            log.error("events of other edges: %s", type(error).__name__)
            await asyncio.sleep(AFTER_BUG_S)


async def _stop(tasks: Sequence[asyncio.Task[None]]) -> None:
    """The store's client may lose a cancel that meets the end of an answer: it is said until it is heard."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


def _states(entries: Entries) -> list[State]:
    told = [each for _, fields in entries for each in decode(fields[FIELD])]
    return [each.event for each in told if not isinstance(each.event, Step | Preview)]
