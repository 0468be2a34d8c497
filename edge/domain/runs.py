"""The generations of this edge: accepting them, keeping their leases, ending them all when the edge closes."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

from sqlalchemy.orm import Session

from edge.db.database import Database
from edge.db.rows import JobRow, PromptRow
from edge.db.statements import Share
from edge.domain import jobs
from edge.domain.conduct import Clock, Conductor
from edge.domain.events import Channel, Ended, EventHub, MemoryChannel, nobody_cares
from edge.domain.keyring import Keyring
from edge.domain.moderation.adults import sees_all
from edge.domain.orders import Order, engine_request
from edge.domain.owner import Caller, JobId, Owner
from edge.domain.prompts import PromptSealer
from edge.domain.run import Run, Watch
from edge.domain.sessions import UsedToday, add_session, ended_among, keep_sessions, touch_session
from edge.domain.training import Asked, Permission, Terms, permissions_for
from edge.errors import TEMPORARY, BadCredential, GenerationFailed
from policies.schema import Plan, Policies
from serve_app.contract import Slot, Turn
from serve_app.errors import Draining
from serve_app.storage.sealing import image_secret

log = logging.getLogger(__name__)

TICK_S = 10.0  # a third of the lease
UNWATCHED_S = 15.0
FIRST_WORD_S = 1.0  # an engine says at once where a request waits, or that there is no room
CANCEL_S = 1.0
CANCEL_LOOKS = 20
SESSION_OVER = "this session is over, as when it has become an account: try again, or load the page again"


@dataclass(frozen=True, slots=True, repr=False)
class _Accepted:
    """`is_known`: its session was written down today."""

    job_id: JobId
    caller: Caller
    is_known: bool
    order: Order
    prompt: PromptRow
    now: float


class Runs:
    """Use as a context: entering it ends what a former edge lost, leaving it ends what is still under way."""

    def __init__(
        self, conductor: Conductor, database: Database, hub: EventHub, keyring: Keyring, prompts: PromptSealer,
        policies: Policies, terms: Terms, clock: Clock, unwatched_s: float = UNWATCHED_S,
    ) -> None:  # fmt: skip
        self._conductor = conductor
        self._database = database
        self._hub = hub
        self._keyring = keyring
        self._prompts = prompts
        self._policies = policies
        self._clock = clock
        self._unwatched_s = unwatched_s
        self._runs: dict[JobId, Run] = {}
        self._accept_all = partial(_accept_all, terms=terms)  # one object: what shares it is written together
        self._used_today = UsedToday()
        self._ticking: asyncio.Task[None] | None = None
        self._entered = AsyncExitStack()
        self.draining = asyncio.Event()
        self.drained = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.tick()
        await self._entered.enter_async_context(self._hub.joined(self._cancel))
        self._ticking = asyncio.create_task(self._tick_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        await self.drain(0)
        await self._entered.aclose()

    async def drain(self, within_s: float) -> None:
        """Refuses what is new, lets what is under way finish for so long, and ends the rest."""
        self.draining.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._all_finished()
        for run in list(self._runs.values()):
            run.cancel(Ended("failed", "edge_lost"))
        await self._all_finished()
        self.drained.set()
        self._hub.leave()

    def find(self, job_id: str) -> Run | None:
        return self._runs.get(JobId(job_id))

    async def cancel(self, job_id: JobId) -> None:
        """Returns once it has ended; of one that runs at another edge, which may be dead, after a second at most."""
        if run := self._runs.get(job_id):
            run.cancel()
            await run.finished()
        elif await self._hub.cancel_elsewhere(job_id):
            for _ in range(CANCEL_LOOKS):
                if not await self._database.read(partial(jobs.is_open, job_id=job_id)):
                    return
                await asyncio.sleep(CANCEL_S / CANCEL_LOOKS)

    def forget(self, owner: Owner) -> None:
        """Its row was erased: what it makes from here on writes a new one."""
        self._used_today.drop(owner)

    async def start_call(self, caller: Caller, order: Order, *, keeps_some: bool) -> Run:
        """For one caller who waits: nobody else can listen. Raises GenerationFailed while draining, NoDayKey,
        BadCredential for a session that is over."""
        return await self._start(caller, order, jobs.new_job_id(), MemoryChannel, keeps_some=keeps_some)

    async def start_job(self, caller: Caller, order: Order, *, cancel_when_unwatched: bool) -> Run:
        """Once it waits somewhere. Raises GenerationFailed while draining or where there is no room, NoDayKey,
        BadCredential for a session that is over."""
        job_id = jobs.new_job_id()
        watch = Watch(self._unwatched_s, partial(self._cancel, job_id)) if cancel_when_unwatched else None
        open_channel = partial(self._hub.open, job_id, watch.changed if watch else nobody_cares)
        run = await self._start(caller, order, job_id, open_channel, keeps_some=True)
        listener = run.channel.listen()
        try:
            first = await listener.take(FIRST_WORD_S)
        finally:
            listener.close()
        for told in first:
            if isinstance(told.event, Ended) and told.event.error_code in TEMPORARY:
                raise GenerationFailed(told.event.error_code, retry_after_s=told.event.retry_after_s)
        return run

    async def tick(self) -> None:
        """Renew our leases, end the jobs of edges that no longer do, forget events that are due."""
        now = self._clock()
        self._hub.forget(now)
        if self._runs:
            await self._database.write(partial(jobs.renew_leases, job_ids=list(self._runs), now=now))
        await self._database.write(partial(jobs.fail_lost_jobs, now=now, forget_after_s=self._forget_after_s))

    async def _start(
        self, caller: Caller, order: Order, job_id: JobId, open_channel: Callable[[], Channel], *, keeps_some: bool
    ) -> Run:
        if self.draining.is_set():
            raise GenerationFailed(Draining.code)
        now = self._clock()
        is_known = self._used_today.has(caller.owner, now)
        prompt = await self._prompts.seal(order.prompt, caller.owner, job_id, now)
        accepted = _Accepted(job_id, caller, is_known, order, prompt, now)
        written = await self._database.write(Share(self._accept_all, accepted))
        if written is None:
            raise BadCredential(SESSION_OVER)
        job, permission = written
        self._used_today.add(caller.owner, now)
        run = Run(job, caller, order, open_channel(), keeps_some=keeps_some, permission=permission)
        self._runs[job_id] = run
        slots = _slots(order, caller.viewing_secret)
        request = engine_request(
            order, job_id, self._turn(caller.owner, caller.plan), slots, permission and permission.terms.order,
            adult=sees_all(self._policies, caller),
        )  # fmt: skip
        drawing = asyncio.create_task(self._conductor.draw(run, request))
        conducting = asyncio.create_task(self._conductor.conduct(run, drawing, request.store))
        run.begin(drawing, conducting)
        conducting.add_done_callback(partial(self._over, run))
        return run

    async def _all_finished(self) -> None:
        while self._runs:
            for run in list(self._runs.values()):
                await run.finished()

    def _over(self, run: Run, _task: asyncio.Task[None]) -> None:
        del self._runs[run.job_id]
        self._hub.close(run.job_id, self._clock())

    def _cancel(self, job_id: JobId) -> None:
        if run := self._runs.get(job_id):
            run.cancel()

    def _turn(self, owner: Owner, plan: Plan) -> Turn:
        traffic = self._policies.plans.traffic[plan.traffic]
        tenant = self._keyring.tenant(owner)
        return Turn(plan.traffic, tenant, traffic.weight, traffic.deadline_s, traffic.max_step_slowdown)

    @property
    def _forget_after_s(self) -> float:
        return self._policies.retention.classes.job_state.duration_s

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tick()
            except Exception as error:  # noqa: BLE001  leases must go on, whatever one renewal met
                log.error("leases were not renewed: %s", type(error).__name__)


def _accept_all(
    db: Session, accepted: Sequence[_Accepted], *, terms: Terms
) -> list[tuple[JobRow, Permission | None] | None]:
    """Many at once cost hardly more statements than one. None where the session is over."""
    now = max(each.now for each in accepted)
    known = [each.caller.owner for each in accepted if each.is_known and not each.caller.is_new]
    keep_sessions(db, known, now)
    for each in accepted:
        if each.caller.is_new:
            add_session(db, each.caller.owner, each.now)
        elif not each.is_known:
            touch_session(db, each.caller.owner, each.now)
    over = ended_among(db, [each.caller.owner for each in accepted if not each.caller.is_new])
    permissions = permissions_for(db, [(_asked(each), each.caller.owner) for each in accepted], terms)
    return [
        None if each.caller.owner.id in over else (_job(db, each), permission)
        for each, permission in zip(accepted, permissions, strict=True)
    ]


def _job(db: Session, accepted: _Accepted) -> JobRow:
    db.add(accepted.prompt)
    return jobs.create_job(db, accepted.job_id, accepted.caller.owner, accepted.order, accepted.now)


def _asked(accepted: _Accepted) -> Asked:
    order, caller = accepted.order, accepted.caller
    return Asked(owner_kind=caller.owner.kind, is_kept=order.is_kept_for_a_time, gpc=caller.gpc, request=order.training)


def _slots(order: Order, viewing_secret: bytes) -> list[Slot]:
    """The replica gets a secret for each image and forgets it; nothing of it is needed where nothing is stored."""
    if order.kept is None:
        return []
    ids = [secrets.token_hex(16) for _ in range(order.n)]
    return [Slot(image_id, image_secret(viewing_secret, image_id)) for image_id in ids]
