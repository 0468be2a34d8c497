"""May this be made? The gate before every picture: judged, and where not, written down, and answered late enough.

A call comes here after its size and its limits, and before anything is drawn or written. A refusal is answered at a
fixed time after its arrival, so that nobody reads off the clock which rule it was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from edge.db.database import Database
from edge.domain.conduct import Clock
from edge.domain.keyring import Keyring
from edge.domain.moderation.adults import is_adult
from edge.domain.moderation.decisions import new_decision
from edge.domain.moderation.judge import Finding, Judge
from edge.domain.owner import Caller
from edge.errors import ModerationBlocked
from policies.schema import Policies
from serve_app.contract import Prompt

T = TypeVar("T")
ANSWERED_AFTER_S = 0.15


class Moderation:
    """`clock` says what day it is; `stopwatch` and `sleep` are for how long an answer takes."""

    def __init__(
        self, judge: Judge, policies: Policies, database: Database, keyring: Keyring, clock: Clock,
        stopwatch: Callable[[], float] = monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self.judge = judge
        self._policies = policies
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self.stopwatch = stopwatch
        self._sleep = sleep

    async def once_allowed(
        self, start: Callable[[], Awaitable[T]], prompt: Prompt, caller: Caller, arrived_at: float
    ) -> T:
        """What `start` answers. Raises what it raises, and what `require_allowed` does."""
        await self.require_allowed(prompt, caller, arrived_at)
        return await start()

    async def require_allowed(self, prompt: Prompt, caller: Caller, arrived_at: float) -> None:
        """`arrived_at` by the stopwatch. Raises ModerationBlocked, ModerationUnavailable, DatabaseUnavailable."""
        finding = await self.judge.find(prompt, is_adult=is_adult(self._policies, caller))
        if finding is None:
            return
        reference = await self._write_down(finding, caller)
        await self._sleep(max(0.0, arrived_at + ANSWERED_AFTER_S - self.stopwatch()))
        raise ModerationBlocked(stage="prompt", category=finding.category, reference=reference)

    async def _write_down(self, finding: Finding, caller: Caller) -> str:
        decision = new_decision(
            finding,
            self._keyring.subject(caller.owner),
            self._policies.moderation.version,
            self._clock(),
            self._policies.retention.classes.moderation_decision.duration_s,
        )
        reference = decision.id
        await self._database.write(lambda db: db.add(decision))
        return reference
