"""What the jobs of this edge tell, carried to the store that edges share.

Beside the work and never in its way: a channel notes what is to be sent, one task sends it, many jobs in one round
trip. A store that was away, or that forgot, gets every state of a job again; steps and previews of that time are lost.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from valkey.asyncio import Valkey
from valkey.asyncio.client import Pipeline
from valkey.exceptions import ValkeyError

from edge.domain.event_wire import channel_of, encode, stream_of
from edge.domain.events import Listener, MemoryChannel, Told
from edge.domain.owner import JobId
from serve_app.contract import Queued

RETRY_S = 0.5
MOST_JOBS = 256  # in one round trip
TELL = (Path(__file__).parent / "tell_job_events.lua").read_text("utf-8")


class SharedChannel(MemoryChannel):
    """Of a job that runs here: whoever listens here hears at once, the others by the store."""

    def __init__(self, job_id: JobId, watched: Callable[[bool], None], wake: Callable[["SharedChannel"], None]) -> None:
        super().__init__(self._watched_here)
        self.job_id = job_id
        self.is_stored = False
        self.stored_queued: int | None = None
        self.ended_at_s: float | None = None  # of the event loop's clock
        self._watched_anywhere = watched
        self._watched_elsewhere = False
        self._wake = wake
        self._outgoing = Listener(lambda _: None)

    def pass_on(self, told: Told) -> None:
        super().pass_on(told)
        if self.has_ended and self.ended_at_s is None:
            self.ended_at_s = asyncio.get_running_loop().time()
        if told.number is not None or self._watched_elsewhere:
            self._send([told])

    def take_outgoing(self) -> list[Told]:
        return self._outgoing.take_now()

    def was_not_stored(self) -> None:
        """All that is known goes out again."""
        self.is_stored = False
        self.stored_queued = None
        self._send(self.known())

    def watch_elsewhere(self, is_watched: bool) -> None:
        """Whether anybody listens at another edge: who came just now is told the step it is at."""
        if is_watched == self._watched_elsewhere:
            return
        self._watched_elsewhere = is_watched
        if is_watched:
            self._send([told for told in self.known() if told.number is None])
        if not self.has_listeners:
            self._watched_anywhere(is_watched)

    def _watched_here(self, is_watched: bool) -> None:
        if not self._watched_elsewhere:
            self._watched_anywhere(is_watched)

    def _send(self, told: Sequence[Told]) -> None:
        for each in told:
            self._outgoing.tell(each)
        if told:
            self._wake(self)


class Sender:
    def __init__(self, store: Valkey, kept_after_end_s: float) -> None:
        self._store = store
        self._kept_after_end_s = kept_after_end_s
        self._due: OrderedDict[SharedChannel, None] = OrderedDict()
        self._woken = asyncio.Event()

    def wake(self, channel: SharedChannel) -> None:
        self._due[channel] = None
        self._woken.set()

    def forget(self, channel: SharedChannel) -> None:
        self._due.pop(channel, None)

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.send_due()

    async def send_due(self) -> None:
        while self._due:
            count = min(MOST_JOBS, len(self._due))
            await self._send([self._due.popitem(last=False)[0] for _ in range(count)])

    async def renew(self, channels: Sequence[SharedChannel]) -> None:
        """A stream lives on while its job does, however long it waits for its next state. Raises ValkeyError."""
        stored = [channel for channel in channels if channel.is_stored]
        async with self._store.pipeline(transaction=False) as pipeline:
            for channel in stored:
                pipeline.pexpire(stream_of(channel.job_id), self._left_ms(channel))
            replies = await pipeline.execute()
        for channel, is_there in zip(stored, replies, strict=True):
            if not is_there:
                channel.was_not_stored()

    async def _send(self, channels: Sequence[SharedChannel]) -> None:
        replies: list[object]
        try:
            async with self._store.pipeline(transaction=False) as pipeline:
                for channel in channels:
                    self._tell(pipeline, channel, channel.take_outgoing())
                replies = await pipeline.execute(raise_on_error=False)
        except (ValkeyError, OSError) as error:
            replies = [error] * len(channels)
        for channel, reply in zip(channels, replies, strict=True):
            if isinstance(reply, Exception) or reply == -1:
                channel.was_not_stored()
        if any(isinstance(reply, Exception) for reply in replies):
            await asyncio.sleep(RETRY_S)

    def _tell(self, pipeline: Pipeline, channel: SharedChannel, told: Sequence[Told]) -> None:
        """One command, whose reply is -1 where the store has forgotten the stream."""
        body, name = encode(told), channel_of(channel.job_id)
        states = [each for each in told if each.number is not None]
        if not states:
            pipeline.publish(name, body)
            return
        replaced, queued = 0, [state.number for state in states if isinstance(state.event, Queued)]
        if queued:
            replaced, channel.stored_queued = channel.stored_queued or 0, queued[-1]
        left_ms, is_new = self._left_ms(channel), int(not channel.is_stored)
        arguments: list[str | bytes | int] = [name, body, left_ms, is_new, replaced]
        for state in states:
            arguments += [f"{state.number}-0", encode([state])]
        channel.is_stored = True
        pipeline.eval(TELL, 1, stream_of(channel.job_id), *arguments)  # pyright: ignore[reportArgumentType]  bytes too

    def _left_ms(self, channel: SharedChannel) -> int:
        ended_s = channel.ended_at_s
        since_end_s = 0.0 if ended_s is None else asyncio.get_running_loop().time() - ended_s
        return max(1, int((self._kept_after_end_s - since_end_s) * 1000))
