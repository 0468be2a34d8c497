"""Threads that take up the work of the highest rank first, and of one rank what came first.

For work that comes in bursts: whoever pays does not stand behind a crowd's pictures once the steps are done.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


@dataclass(order=True, slots=True)
class _Waiting:
    place: tuple[float, int]
    run: Callable[[], None] = field(compare=False)


class RankedPool:
    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._waiting: list[_Waiting] = []
        self._numbers = count()

    def submit(self, rank: float, work: Callable[[], T]) -> Future[T]:
        done = Future[T]()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  raised again where the work came from, as an executor does
                done.set_exception(error)

        with self._lock:
            self._threads.submit(self._run_next)  # raises RuntimeError after `shutdown`, and then nothing waits
            heappush(self._waiting, _Waiting((-rank, next(self._numbers)), run))
        return done

    def shutdown(self) -> None:
        """Returns once all that was submitted is done."""
        self._threads.shutdown()

    def _run_next(self) -> None:
        """Each thread that is free takes the first in rank, whichever call woke it."""
        with self._lock:
            first = heappop(self._waiting)
        first.run()
