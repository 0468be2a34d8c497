"""Who is taken up first, and what comes back."""

from concurrent.futures import Future
from threading import Event, get_ident

import pytest

from serve_app.ranked_pool import RankedPool


def test_the_highest_rank_is_taken_up_first_and_of_one_rank_what_came_first():
    pool, gate, order = RankedPool(1, "test"), Event(), list[str]()
    pool.submit(1.0, gate.wait)
    for rank, name in ((1.0, "a"), (1.0, "b"), (8.0, "paid"), (2.0, "account")):
        pool.submit(rank, lambda name=name: order.append(name))
    gate.set()
    pool.shutdown()
    assert order == ["paid", "account", "a", "b"]


def test_results_and_errors_reach_whoever_asked():
    pool = RankedPool(2, "test")
    threads: list[Future[int]] = [pool.submit(1.0, get_ident) for _ in range(3)]
    broken = pool.submit(1.0, lambda: 1 // 0)
    pool.shutdown()
    assert get_ident() not in {each.result() for each in threads}
    with pytest.raises(ZeroDivisionError):
        broken.result()


def test_what_was_cancelled_before_its_turn_is_not_done():
    pool, gate, done = RankedPool(1, "test"), Event(), list[str]()
    pool.submit(1.0, gate.wait)
    pool.submit(1.0, lambda: done.append("cancelled")).cancel()
    pool.submit(1.0, lambda: done.append("kept"))
    gate.set()
    pool.shutdown()
    assert done == ["kept"]
