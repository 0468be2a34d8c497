"""Counting in Valkey, where edges share it: one script for all windows of a call, run once for many calls.

The day's key lies beside what it names. Each call brings the key as this edge knows it, so that two edges never count
under different names: not on a new day, and not after the store was restarted and has forgotten everything.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from importlib import resources
from typing import cast

import msgspec
from msgspec import Struct
from valkey.asyncio import Valkey
from valkey.exceptions import NoScriptError, ValkeyError

from edge.db.counter_store import ANSWER_S
from edge.domain.limits.limiter import LEASE_MS, Answer, Ask, Lease, StoreDown, Take
from edge.domain.limits.names import DayKeys
from edge.domain.limits.windows import DAY_MS, Standing

KEY_LIVES_S = 48 * 3600
MOST_TOGETHER = 256  # calls in one round trip: Valkey answers so many in a few milliseconds
TRIES = 3  # the script or the day's key may be unknown, each once
UNKNOWN_KEY = [-1]

HERE = resources.files("edge.domain.limits")
TAKE = (HERE / "take.lua").read_text()
GIVE_BACK = (HERE / "give_back.lua").read_text()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[list[int]])


class _Call(Struct, frozen=True, eq=False):
    ask: Ask
    answer: asyncio.Future[Answer]


class SharedLimiter:
    """Implements `Limiter`. Every method raises StoreDown where there is no answer within `answer_s`."""

    def __init__(self, store: Valkey, answer_s: float = ANSWER_S) -> None:
        self._store = store
        self._answer_s = answer_s
        self._keys = DayKeys()
        self._take_script = ""
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def take(self, ask: Ask) -> Answer:
        """Goes with the next round trip: whoever asks while one is under way goes together."""
        call = _Call(ask, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())
        return await call.answer

    async def give_back(self, ask: Ask, takes: Sequence[Take], *, is_local: bool = False) -> None:
        names = [self._keys.buckets(take, ask.now_ms)[1] for take in takes]
        if names:
            await self._soon(self._evaluate(GIVE_BACK, len(names), *names, *(take.cost for take in takes)))

    async def hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        if leases:
            await self._soon(self._hold(leases, now_ms))

    async def release(self, lease: Lease) -> None:
        name = self._keys.lease_set(lease.subject, lease.taken_at_ms)
        await self._soon(cast("Awaitable[object]", self._store.zrem(name, lease.id)))

    async def close(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                try:
                    await self._soon(self._send(calls))
                except StoreDown as down:
                    for call in calls:
                        if not call.answer.done():
                            call.answer.set_exception(StoreDown(str(down)))
        finally:
            self._sending = None

    async def _send(self, calls: Sequence[_Call]) -> None:
        for _ in range(TRIES):
            try:
                replies = await self._in_one_trip(calls)
            except NoScriptError:
                self._take_script = ""
                continue
            again = list[_Call]()
            for call, reply in zip(calls, replies, strict=True):
                if reply == UNKNOWN_KEY:
                    again.append(call)
                elif not call.answer.done():
                    call.answer.set_result(_answer(call.ask, reply))
            if not again:
                return
            calls = again
            for day in sorted({call.ask.now_ms // DAY_MS for call in calls}):
                await self._learn_key(day)
        raise StoreDown("the store forgets what it is told")

    async def _in_one_trip(self, calls: Sequence[_Call]) -> list[list[int]]:
        """One argument and one reply, packed: what is spelled out costs more than what is counted. The buckets are no
        declared keys, which only a store that is split among many servers would need."""
        if not self._take_script:
            self._take_script = await self._store.script_load(TAKE)
        digests = {_key_name(day): self._keys.digest(day) for day in {call.ask.now_ms // DAY_MS for call in calls}}
        packed = _encoder.encode([digests, [self._spelled(call.ask) for call in calls]])
        run = self._store.evalsha(self._take_script, 0, packed)  # pyright: ignore[reportArgumentType]  bytes too
        return _decoder.decode(await cast("Awaitable[bytes]", run))

    def _spelled(self, ask: Ask) -> list[object]:
        lease = ask.lease
        sets = self._keys.leases(lease.subject, ask.now_ms) if lease else ()
        buckets, numbers = list[str](), list[int]()
        for take, names in zip(ask.takes, self._keys.all_buckets(ask.takes, ask.now_ms), strict=True):
            buckets += names
            numbers += (take.window.limit, take.window.length_ms, take.cost, take.want)
        lease_id, most = (lease.id, ask.most_leases) if lease else ("", 0)
        return [_key_name(ask.now_ms // DAY_MS), ask.now_ms, lease_id, most, LEASE_MS, sets, buckets, numbers]

    async def _learn_key(self, day: int) -> None:
        """The first edge's key of the day holds. Of yesterday's, nothing was counted where none is there."""
        async with self._store.pipeline(transaction=False) as pipeline:
            pipeline.set(_key_name(day), self._keys.key(day), nx=True, ex=KEY_LIVES_S)
            pipeline.get(_key_name(day))
            pipeline.get(_key_name(day - 1))
            _, today, yesterday = await pipeline.execute()
        self._keys.put(day, today)
        if yesterday is not None:
            self._keys.put(day - 1, yesterday)

    async def _hold(self, leases: Sequence[Lease], now_ms: int) -> None:
        async with self._store.pipeline(transaction=False) as pipeline:
            for lease in leases:
                name = self._keys.lease_set(lease.subject, lease.taken_at_ms)
                pipeline.zadd(name, {lease.id: now_ms + LEASE_MS})
                pipeline.pexpire(name, 2 * LEASE_MS)
            await pipeline.execute()

    async def _evaluate(self, script: str, keys: int, *arguments: str | int) -> None:
        await cast("Awaitable[object]", self._store.eval(script, keys, *arguments))  # pyright: ignore[reportArgumentType]

    async def _soon(self, work: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._answer_s):
                await work
        except (ValkeyError, OSError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
            raise StoreDown(f"the counter store does not answer: {type(error).__name__}") from error


def _key_name(day: int) -> str:
    return f"l:key:{day}"


def _answer(ask: Ask, reply: Sequence[int]) -> Answer:
    is_admitted, leased, *counts = reply
    standings = tuple(
        Standing(take.window, former, current, ask.now_ms)
        for take, former, current in zip(ask.takes, counts[::3], counts[1::3], strict=True)
    )
    return Answer(is_admitted == 1, standings, tuple(counts[2::3]), leased)
