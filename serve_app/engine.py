"""The loop between scheduler and pipeline: one model, one denoising thread.

Each tick the thread asks the scheduler for a pass, starts the rows that are new, moves all of them one step and tells
the callers; `Delivery` sees to the rest beside the next steps. Closing a caller's iterator takes its rows out before
the next pass. The engine knows no HTTP, no Ray and no policy file.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from time import perf_counter

from serve_app.admission import make_room, overloaded, too_late
from serve_app.contract import End, Event, Failed, GenerateRequest, ModelStatus, Queued
from serve_app.delivery import Delivery
from serve_app.errors import Draining, EngineFailed, ModelUnavailable, ReplicaLost, ServeError
from serve_app.pipelines.pipeline import AnyPipeline, OutOfMemory, Row, RowSpec
from serve_app.scheduler import Pass, Scheduler
from serve_app.step_times import StepTimes, ladder
from serve_app.traffic import Ticket
from serve_app.work import QUEUE_NEWS_S, Work, check

log = logging.getLogger(__name__)

NEWS_PER_S = 40  # to all who wait together: each message costs the cores that step
START_ROWS = 8  # prompts encoded in one go, or as many as memory was found to hold
DECODE_ROWS = 8  # pictures decoded in one go: a decoder's memory grows with it
WARM_ROUNDS = 3
DOUBTFUL_FAILURES = 3  # requests that fail one after another before the device itself is asked


class Engine:
    """Implements `contract.Generator` for one model."""

    def __init__(self, name: str, pipeline: AnyPipeline, delivery: Delivery, times: StepTimes, usual: RowSpec) -> None:
        """`usual` is a typical row: what is measured at the start and what `status` speaks of."""
        self._name = name
        self._pipeline = pipeline
        self._delivery = delivery
        self._times = times
        self._usual = replace(usual, steps=max(usual.steps, WARM_ROUNDS))
        self._lock = threading.Condition()  # guards the scheduler, `_works` and the flags
        self._scheduler = Scheduler(times)
        self._works: dict[str, Work] = {}
        self._is_closing = False
        self._is_draining = False
        self._is_broken = False
        self._failures = 0  # requests that failed since the last good pass
        self._step_s = 0.0
        self._next_look_s = 0.0
        self._last_news_s = float("-inf")
        self._idle_since_s: float | None = None
        self._start_rows = START_ROWS
        self._is_warm = threading.Event()
        self._start_error: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._denoise, name=f"denoise-{name}", daemon=True)

    def start(self) -> None:
        """Returns once the step times of all batch sizes are measured and the engine serves. Raises EngineFailed."""
        self._thread.start()
        self._is_warm.wait()
        if self._start_error is not None:
            raise EngineFailed("the model cannot make a step") from self._start_error

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """Ends with an End; closing it cancels before the next step."""
        try:
            work = self._admit(request)
        except ServeError as error:
            yield Failed(error.code, error.message, error.retry_after_s)
            return
        try:
            while True:
                event = await work.outbox.next()
                yield event
                if isinstance(event, End):
                    return
        finally:
            work.is_over = True
            self._remove(work)

    async def status(self, model: str) -> ModelStatus:
        if model != self._name:
            raise ModelUnavailable(f"this engine serves {self._name}")
        key = self._pipeline.batch_key(self._usual)
        with self._lock:
            return ModelStatus(
                model=model,
                ready=self._thread.is_alive() and not (self._is_closing or self._is_broken),
                running_rows=self._scheduler.running_rows,
                waiting_rows=self._scheduler.waiting_rows,
                rows_per_s=self._times.rows_per_s(key),
                step_s=self._step_s or self._times.predict(key, 1),
                batch_rows=self._times.batch_rows(key),
                draining=self._is_draining,
            )

    def drain(self) -> None:
        """Refuse new requests; those here finish."""
        self._is_draining = True

    async def close(self) -> None:
        """Stop after the step that runs. Whoever still waits is told."""
        with self._lock:
            self._is_closing = True
            works = list(self._works.values())
            self._lock.notify_all()
        for work in works:
            work.fail(Draining("the engine is shutting down"))
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._delivery.close()

    def _admit(self, request: GenerateRequest) -> Work:
        if request.model != self._name:
            raise ModelUnavailable(f"this engine serves {self._name}")
        check(request)
        work = Work(request, self._pipeline.batch_key)
        with self._lock:
            if self._is_draining or self._is_closing:
                raise Draining("this replica takes no new work")
            if self._is_broken:
                raise ModelUnavailable("the device of this replica has failed")
            if (older := self._works.pop(request.job_id, None)) is not None:
                self._scheduler.remove(request.job_id)
                older.fail(ReplicaLost("the same job came again, and goes on there"))
            self._rest()
            outlook, giving_way = make_room(self._scheduler, work.demand)
            self._works[request.job_id] = work
            self._scheduler.add(request.job_id, work.demand)
            work.outbox.post(Queued(*outlook))  # before the thread can tell of a step
            self._shed(giving_way)
            self._lock.notify_all()
        return work

    def _shed(self, request_ids: Sequence[str]) -> None:
        """With the lock held. They have not begun; each hears when to come again."""
        shed = [self._works.pop(request_id) for request_id in request_ids]
        for request_id in request_ids:
            self._scheduler.remove(request_id)
        for work in shed:
            work.fail(overloaded(self._scheduler, work.demand))

    def _remove(self, work: Work) -> None:
        """Takes its rows out, unless the same job came again: then the rows are the newer one's."""
        job_id = work.request.job_id
        with self._lock:
            if self._works.get(job_id) is work:
                del self._works[job_id]
                self._scheduler.remove(job_id)

    # the denoising thread --------------------------------------------------------------------------------------------

    def _denoise(self) -> None:
        try:
            self._measure()
        except Exception as error:  # noqa: BLE001  `start` raises it where somebody sees it
            self._start_error = error
            return
        finally:
            self._is_warm.set()
        while (turn := self._next_pass()) is not None:
            picked, works = turn
            try:
                self._tick(picked, works)
            except Exception as error:  # noqa: BLE001  the loop must outlive whatever a row does
                log.error("a step failed: %s", type(error).__name__)
                self._step_each_alone(picked, works)
                if self._failures >= DOUBTFUL_FAILURES and not self._can_step():
                    self._give_up()
                    return

    def _measure(self) -> None:
        """Step time of every batch size, on throw-away rows. Raises OutOfMemory where not even one fits."""
        self._pipeline.enter_thread()
        key = self._pipeline.batch_key(self._usual)
        for size in ladder(self._times.max_forward_rows):
            try:
                rows = self._started([self._usual] * (size // self._usual.forward_rows or 1))
                for _ in range(WARM_ROUNDS):
                    self._times.observe(key, size, self._timed_step(rows))
            except OutOfMemory:
                if size <= self._usual.forward_rows:
                    raise
                self._times.out_of_memory(key, size)
                return
            if self._times.predict(key, size) > self._times.max_step_s:
                return

    def _next_pass(self) -> tuple[Pass, dict[str, Work]] | None:
        """Waits for work; None once the engine closes."""
        with self._lock:
            while not self._is_closing:
                picked = self._scheduler.pick()
                if picked is not None:
                    return picked, {ticket.request_id: self._works[ticket.request_id] for ticket in picked.tickets}
                self._idle_since_s = perf_counter()
                self._lock.wait()
                self._rest()
                self._idle_since_s = None
        return None

    def _rest(self) -> None:
        """With the lock held: the scheduler hears for how long no pass was made."""
        if self._idle_since_s is not None:
            now_s = perf_counter()
            self._scheduler.rested(now_s - self._idle_since_s)
            self._idle_since_s = now_s

    def _tick(self, picked: Pass, works: dict[str, Work]) -> None:
        try:
            self._start_new(picked.tickets, works)
            seconds = self._timed_step([works[t.request_id].rows[t.index] for t in picked.tickets])
        except OutOfMemory:
            if len(picked.tickets) == 1:
                raise
            with self._lock:
                self._scheduler.did_not_fit(picked)
            return
        self._step_s = seconds
        self._failures = 0
        with self._lock:
            finished = self._scheduler.done(picked, seconds)
        self._tell(picked.tickets, works)
        self._hand_over([(works[ticket.request_id], ticket.index) for ticket in finished])
        self._see_to_the_waiting()

    def _step_each_alone(self, picked: Pass, works: dict[str, Work]) -> None:
        """After a pass failed: each request alone, so that only the one to blame fails."""
        for request_id, work in works.items():
            alone = Pass(picked.key, [ticket for ticket in picked.tickets if ticket.request_id == request_id])
            try:
                if len(works) == 1:
                    raise EngineFailed("a denoising step failed")
                self._tick(alone, {request_id: work})
            except Exception as error:  # noqa: BLE001  whatever one request does, the others go on
                log.error("a request failed: %s", type(error).__name__)
                self._failures += 1
                self._remove(work)
                work.fail(EngineFailed("a denoising step failed"))

    def _can_step(self) -> bool:
        """Whether the device still moves a throw-away row: then the requests were to blame."""
        try:
            self._timed_step(self._pipeline.start([self._usual]))
        except Exception as error:  # noqa: BLE001  a dead device may raise anything
            log.error("a throw-away row failed too: %s", type(error).__name__)
            return False
        self._failures = 0
        return True

    def _give_up(self) -> None:
        """Everybody is told, and `status` says not ready: a new process may find the device alive again."""
        with self._lock:
            self._is_broken = True
            works = list(self._works.values())
        for work in works:
            work.fail(EngineFailed("the device has failed"))

    def _start_new(self, tickets: Sequence[Ticket], works: dict[str, Work]) -> None:
        new = [ticket for ticket in tickets if ticket.index not in works[ticket.request_id].rows]
        began_s = perf_counter()
        rows = self._started([works[ticket.request_id].specs[ticket.index] for ticket in new])
        if rows:
            self._times.observe_start(len(rows), perf_counter() - began_s)
        for ticket, row in zip(new, rows, strict=True):
            work = works[ticket.request_id]
            work.rows[ticket.index] = row
            work.is_truncated = row.truncated

    def _started(self, specs: Sequence[RowSpec]) -> list[Row]:
        """Started in parts that memory holds. Raises OutOfMemory where not even one more row fits."""
        rows: list[Row] = []
        while len(rows) < len(specs):
            part = specs[len(rows) : len(rows) + self._start_rows]
            try:
                rows += self._pipeline.start(part)
            except OutOfMemory:
                if len(part) == 1:
                    raise
                self._start_rows = len(part) // 2
        return rows

    def _timed_step(self, rows: Sequence[Row]) -> float:
        began_s = perf_counter()
        self._pipeline.step(rows)
        return perf_counter() - began_s

    def _tell(self, tickets: Sequence[Ticket], works: dict[str, Work]) -> None:
        due: list[tuple[Work, int, int]] = []
        for ticket in tickets:
            work = works[ticket.request_id]
            work.step_made()
            number = work.preview_due(ticket.index)
            if number is not None and not work.is_over:
                due.append((work, ticket.index, number))
        now_s = perf_counter()
        for work in works.values():
            work.tell_progress(now_s)
        if due:
            due[0][0].run_in_loop(lambda: self._delivery.previews(due), self._keep)

    def _see_to_the_waiting(self) -> None:
        now_s = perf_counter()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + QUEUE_NEWS_S
        with self._lock:
            self._shed(too_late(self._scheduler, lambda request_id: now_s - self._works[request_id].came_s))
            news = self._scheduler.news()
            if now_s - self._last_news_s >= len(news) / NEWS_PER_S:
                self._last_news_s = now_s
                for request_id, outlook in news.items():
                    self._works[request_id].tell_place(Queued(*outlook), now_s)

    def _hand_over(self, finished: list[tuple[Work, int]]) -> None:
        for first in range(0, len(finished), DECODE_ROWS):
            part = finished[first : first + DECODE_ROWS]
            part[0][0].run_in_loop(lambda part=part: self._delivery.images(part), self._keep)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._dropped)

    def _dropped(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery failed: %s", type(error).__name__)
