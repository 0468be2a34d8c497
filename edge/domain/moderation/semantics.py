"""What texts mean, by their nearness to exemplars: asked of one worker process, which nothing but a pipe connects.

*A call gets true answers of the worker, or ModerationUnavailable.* A worker that dies, hangs or says what makes no
sense is replaced; the calls it was reading fail, the others wait for the next one, each until its own deadline. What a
score means for a request is left to `judge.py`.
"""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

import msgspec
from msgspec import Struct

from edge.domain.moderation.meaning_wire import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Answer,
    Exemplars,
    Question,
    framed,
)
from edge.domain.moderation.pieces import pieces_of
from edge.errors import ModerationUnavailable

log = logging.getLogger(__name__)

WORKER = (sys.executable, "-I", "-m", "edge.domain.moderation.meaning_worker")
ENVIRONMENT = {  # and none of ours: it holds secrets
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.32 reports to its maker otherwise
}
DEADLINE_S = 5.0  # the longest prompt takes half of it where nobody else asks, a usual one milliseconds
MAX_CALLS = 256  # each holds at most a prompt and its negative
BATCH_CHARS = 480  # about 25 ms of one core: whoever comes next waits no longer for others; the model gains little more
SLACK = 1e-3


class Pace(Struct, frozen=True, kw_only=True):
    """How long a worker may take, and how long it is left alone after it failed. It starts in half a second."""

    start_s: float = 60.0
    answer_s: float = 5.0
    first_rest_s: float = 0.2
    longest_rest_s: float = 10.0
    steady_s: float = 30.0


class WorkerFailed(Exception):
    """The message says how, and never quotes."""


class Semantics:
    """Categories by name, each with its exemplars; they are known to the worker alone once it runs."""

    def __init__(
        self, exemplars: Mapping[str, Sequence[str]], *, command: Sequence[str] = WORKER, pace: Pace | None = None
    ) -> None:
        self._categories = list(exemplars)
        self._exemplars = Exemplars([list(texts) for texts in exemplars.values()])
        self._command = command
        self._pace = pace or Pace()
        self._calls: deque[Call] = deque()
        self._asked = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Returns at once; calls wait for the worker."""
        self._working = asyncio.create_task(self._work_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None
        for call in self._calls:
            call.fail()

    async def scores(self, texts: Sequence[str], *, deadline_s: float = DEADLINE_S) -> list[dict[str, float]]:
        """For each text, its cosine to the nearest exemplar of each category, 0 to 1; 0 where the text is blank.

        A long text is as near as its nearest piece. Raises ModerationUnavailable.
        """
        call = Call(texts, len(self._categories))
        if call.is_open:
            if self._working is None or len(self._calls) >= MAX_CALLS:
                raise ModerationUnavailable
            await self._answered(call, deadline_s)
        return [dict(zip(self._categories, nearest, strict=True)) for nearest in call.nearest]

    async def _answered(self, call: "Call", deadline_s: float) -> None:
        self._calls.append(call)
        self._asked.set()
        try:
            async with asyncio.timeout(deadline_s):
                await call.answered
        except TimeoutError as error:
            raise ModerationUnavailable from error
        finally:
            self._calls.remove(call)

    async def _work_for_ever(self) -> None:
        now = asyncio.get_running_loop().time
        rest_s = self._pace.first_rest_s
        while True:
            began_s = now()
            try:
                async with self._worker() as worker:
                    await self._keep_asking(worker)
            except (WorkerFailed, OSError) as error:
                log.warning("the process that reads meanings failed, another starts: %s", _why(error))
            if now() - began_s > self._pace.steady_s:
                rest_s = self._pace.first_rest_s
            await asyncio.sleep(rest_s)
            rest_s = min(2 * rest_s, self._pace.longest_rest_s)

    async def _keep_asking(self, worker: "Worker") -> None:
        """Until the worker fails."""
        number = 0
        while True:
            if not (batch := self._batch()):
                self._asked.clear()
                await worker.idle(self._asked)
                continue
            number += 1
            try:
                rows = await worker.ask(Question(number, [text for _, text in batch]), len(self._categories))
            except WorkerFailed:
                for call, _ in batch:
                    call.fail()
                raise
            for (call, text), row in zip(batch, rows, strict=True):
                call.learn(text, row)

    def _batch(self) -> "list[tuple[Call, str]]":
        """One piece of each call in turn, so that a long text holds no other up; of about one length, since the worker
        pads them to the longest."""
        batch: list[tuple[Call, str]] = []
        longest = 0
        for _ in range(len(self._calls)):
            call = self._calls[0]
            self._calls.rotate(-1)
            if not (call.is_open and call.waiting):
                continue
            longest = max(longest, len(call.waiting[0]))
            if batch and longest * (len(batch) + 1) > BATCH_CHARS:
                self._calls.rotate(1)
                break
            batch.append((call, call.waiting.popleft()))
        return batch

    @asynccontextmanager
    async def _worker(self) -> "AsyncGenerator[Worker]":
        """One that is ready. Its process group is its own: a terminal's Ctrl-C is not meant for it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip
        worker = Worker(process, self._pace)
        try:
            await worker.start(self._exemplars)
            yield worker
        finally:
            await worker.end()


class Call:
    """Texts of one caller, cut into pieces. `nearest`: the best of each text's pieces so far, in each category."""

    def __init__(self, texts: Sequence[str], categories: int) -> None:
        self.nearest = [[0.0] * categories for _ in texts]
        self._texts_with: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            for piece in pieces_of(text):
                self._texts_with.setdefault(piece, []).append(place)
        self.waiting = deque(self._texts_with)
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self.waiting or not categories:
            self.answered.set_result(None)

    @property
    def is_open(self) -> bool:
        return not self.answered.done()

    def learn(self, piece: str, row: Sequence[float]) -> None:
        for place in self._texts_with.pop(piece):
            self.nearest[place] = [max(pair) for pair in zip(self.nearest[place], row, strict=True)]
        if self.is_open and not self._texts_with:
            self.answered.set_result(None)

    def fail(self) -> None:
        if self.is_open:
            self.answered.set_exception(ModerationUnavailable())


class Worker:
    """The process and its pipe. Every method raises WorkerFailed."""

    def __init__(self, process: asyncio.subprocess.Process, pace: Pace) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._questions = process.stdin
        self._answers = process.stdout
        self._pace = pace
        self._ended = asyncio.create_task(process.wait())

    async def start(self, exemplars: Exemplars) -> None:
        body = await self._exchange(msgspec.msgpack.encode(exemplars), self._pace.start_s)
        if body != msgspec.msgpack.encode(len(exemplars.categories)):
            raise WorkerFailed("it did not start as one does")

    async def ask(self, question: Question, categories: int) -> list[list[float]]:
        body = await self._exchange(msgspec.msgpack.encode(question), self._pace.answer_s)
        try:
            answer = msgspec.msgpack.decode(body, type=Answer)
        except msgspec.DecodeError as error:
            raise WorkerFailed("its answer cannot be read") from error
        if answer.number != question.number:
            raise WorkerFailed("it answers another question")
        if len(answer.scores) != len(question.texts) or any(len(row) != categories for row in answer.scores):
            raise WorkerFailed("its answer has the wrong size")
        if not all(-SLACK <= score <= 1 + SLACK for row in answer.scores for score in row):  # NaN is no such number
            raise WorkerFailed("its answer is no nearness")
        return answer.scores

    async def idle(self, asked: asyncio.Event) -> None:
        """Until somebody asks."""
        asking = asyncio.create_task(asked.wait())
        try:
            await asyncio.wait([asking, self._ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()
        if self._ended.done():
            raise self._death()

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._questions.close()
        await self._ended

    async def _exchange(self, body: bytes, within_s: float) -> bytes:
        try:
            async with asyncio.timeout(within_s):
                self._questions.write(framed(body))
                await self._questions.drain()
                length = int.from_bytes(await self._answers.readexactly(LENGTH_BYTES), "big")
                if length > MAX_FRAME_BYTES:
                    raise WorkerFailed("its answer is too long")
                return await self._answers.readexactly(length)
        except TimeoutError as error:
            raise WorkerFailed("it does not answer") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise WorkerFailed("it died") from error

    def _death(self) -> WorkerFailed:
        return WorkerFailed(f"it ended with status {self._process.returncode}")


def _why(error: WorkerFailed | OSError) -> str:
    return str(error) if isinstance(error, WorkerFailed) else type(error).__name__
