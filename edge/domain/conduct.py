"""Follow one generation from the engine's first event to its one final state.

Writes the rows and tells the channel; knows neither callers nor replies. Whatever happens, the job ends.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import assert_never

from edge.db.database import Database
from edge.db.rows import ConsentRow, ImageRow
from edge.domain import jobs
from edge.domain.erasure import erase_strays, finish_erasing, mark_erased
from edge.domain.events import Ended, ImageReady
from edge.domain.images import NewImage, added, image_row
from edge.domain.keyring import Keyring
from edge.domain.moderation.decisions import BY_SIGHT, new_decision
from edge.domain.moderation.judge import Finding
from edge.domain.run import Made, Run
from edge.domain.training import consent_row, withdraw
from edge.errors import DatabaseUnavailable, ModerationBlocked
from policies.schema import Policies
from serve_app.contract import (
    Blocked,
    Event,
    Failed,
    GenerateRequest,
    Generator,
    Image,
    Preview,
    Queued,
    Step,
    StoreOrder,
    Succeeded,
)
from serve_app.errors import EngineFailed, ReplicaLost
from serve_app.storage.store import ObjectStore

log = logging.getLogger(__name__)

Clock = Callable[[], float]


class Conductor:
    def __init__(
        self, generator: Generator, database: Database, store: ObjectStore, keyring: Keyring, clock: Clock,
        policies: Policies,
    ) -> None:  # fmt: skip
        self._generator = generator
        self._database = database
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._policies = policies
        self._forget_after_s = policies.retention.classes.job_state.duration_s

    async def conduct(self, run: Run, drawing: asyncio.Task[Ended], stored: StoreOrder | None) -> None:
        """A task of its own: a cancel ends `drawing`, and never interrupts what writes the end."""
        try:
            ended = await drawing
        except asyncio.CancelledError:
            ended = run.cancelled_as or Ended("failed", "edge_lost")
        except DatabaseUnavailable as error:
            ended = Ended("failed", error.code)
        except Exception as error:  # noqa: BLE001  a job must end, whatever was wrong
            log.error("job %s failed: %s", run.job_id, type(error).__name__)
            ended = Ended("failed", EngineFailed.code)
        await self._end(run, ended, stored)

    async def draw(self, run: Run, request: GenerateRequest) -> Ended:
        async with aclosing(self._generator.generate(request)) as events:
            async for event in events:
                if ended := await self._take(run, event):
                    return ended
        return Ended("failed", ReplicaLost.code)

    async def _take(self, run: Run, event: Event) -> Ended | None:
        match event:
            case Queued():
                run.queued = event
                run.channel.publish(event)
            case Step():
                await self._begin(run)
                run.channel.publish(event)
            case Preview():
                run.channel.publish(event)
            case Image():
                return await self._keep(run, event)
            case Succeeded(truncated=truncated, retried=retried):
                run.was_retried = retried
                return Ended("succeeded", truncated=truncated)
            case Blocked(category=category):
                return await self._block(run, category)
            case Failed(code=code, retry_after_s=retry_after_s):
                return Ended("failed", code, retry_after_s)
            case _:
                assert_never(event)
        return None

    async def _begin(self, run: Run) -> None:
        if not run.is_running:
            run.is_running = True
            run.queued = None
            await self._database.write(jobs.running(run.job))

    async def _keep(self, run: Run, image: Image) -> Ended | None:
        row = None
        if run.order.kept:
            row = image_row(image, run.order, run.job_id, run.caller, self._keyring, self._clock())
            copy = run.permission and consent_row(image, run.caller.owner, run.permission, self._clock())
            siblings = sum(made.row is not None for made in run.made.values())
            new = NewImage(row, copy, run.permission and run.permission.word, siblings)
            if unwanted := await self._database.write(added(new)):
                await self._store.delete(unwanted)
            if row.key in unwanted:
                return Ended("failed", "edge_lost")  # `_end` learns what stands
        run.made[image.index] = Made(image, row)
        run.channel.publish(ImageReady(image.index, row.id if row else None))
        return None

    async def _block(self, run: Run, category: str) -> Ended:
        """The decision is written before anybody hears of it."""
        decision = new_decision(
            Finding(category, BY_SIGHT),
            self._keyring.subject(run.caller.owner),
            self._policies.moderation.version,
            self._clock(),
            self._policies.retention.classes.moderation_decision.duration_s,
            image_of=run.job_id,
        )
        await self._database.write(lambda db: db.add(decision))
        return Ended("blocked", ModerationBlocked.code, category=category)

    async def _end(self, run: Run, ended: Ended, stored: StoreOrder | None) -> None:
        """What the row says is what everybody hears, whoever wrote it."""
        standing = Ended("failed", DatabaseUnavailable.code)  # the lease fails the row when we cannot write
        try:
            ending = jobs.Ending(run.job_id, run.job.epoch, ended, self._clock(), self._forget_after_s)
            standing = await self._database.write(jobs.ended(ending))
            keeps_some = run.keeps_some and standing == ended and standing.status != "blocked"
            if standing.status != "succeeded" and not keeps_some:
                await self._drop_images(run)
            if stored and (standing.status != "succeeded" or run.was_retried):
                await self._drop_strays(run, stored)
        except Exception as error:  # noqa: BLE001  whoever waits must hear
            log.error("the end of job %s is not complete: %s", run.job_id, type(error).__name__)
        run.ended = standing
        run.channel.publish(standing)

    async def _drop_images(self, run: Run) -> None:
        """Nobody was told of them, or beside one that may not be seen none is kept."""
        if run.permission:
            copies = ConsentRow.id.in_([made.row.id for made in run.made.values() if made.row])
            await withdraw(
                copies,
                store=self._store,
                database=self._database,
                now=self._clock(),
                forget_after_s=run.permission.terms.proofs_kept_for_s,
            )
        run.made.clear()
        mark = partial(
            mark_erased,
            which=ImageRow.job_id == run.job_id,
            now=self._clock(),
            forget_after_s=self._forget_after_s,
        )
        images = await self._database.write(mark)
        await finish_erasing(images, store=self._store, database=self._database)

    async def _drop_strays(self, run: Run, stored: StoreOrder) -> None:
        await erase_strays(
            stored,
            run.job_id,
            store=self._store,
            database=self._database,
            since=run.job.created_at,
            now=self._clock(),
        )
