"""What the scheduler says to whoever waits: place, time, and at what cost it says so."""

import sys
from collections.abc import Callable

import pytest

from tests.serve_app.scheduling import LARGE, SMALL, demand, run, scheduler, seconds


def test_position_counts_requests_that_have_not_begun():
    queue = scheduler(max_rows=2)
    for number in range(5):
        queue.add(f"r{number}", demand(f"t{number}"))
    run(queue, 1)
    assert {request: outlook.position for request, outlook in queue.news().items()} == {"r2": 0, "r3": 1, "r4": 2}


def test_a_request_that_has_begun_is_never_told_that_it_waits():
    queue = scheduler(max_rows=4)
    queue.add("begun", demand("a", steps=2, rows=10))
    queue.add("other", demand("b", steps=30, rows=10))
    while (picked := queue.pick()) is not None:
        begun = {ticket.request_id for ticket in picked.tickets}
        queue.done(picked, 0.1)
        assert not begun & set(queue.news())
    queue.add("begun", demand("a"))
    assert set(queue.news()) == {"begun"}


def test_the_estimate_of_a_waiting_request_is_near_what_happens():
    queue = scheduler()
    for number in range(60):
        queue.add(f"r{number}", demand(f"t{number}", steps=8))
    estimate_s = queue.outlook(demand("last", steps=8)).eta_s
    queue.add("last", demand("last", steps=8))
    assert queue.news()["last"].eta_s == pytest.approx(estimate_s)
    took_s = sum(seconds(p.forward_rows) for p in run(queue))
    assert estimate_s == pytest.approx(took_s, rel=0.25)


def test_who_comes_is_told_the_place_that_it_then_has():
    queue = scheduler(max_rows=2)
    for number in range(20):
        queue.add(f"r{number}", demand(f"t{number % 7}", steps=4 + number % 3, rows=1 + number % 2))
    run(queue, 5)
    for number in range(4):
        coming = demand(f"t{number}", steps=3 + number, rows=2)
        told = queue.outlook(coming)
        queue.add(f"late{number}", coming)
        assert queue.news()[f"late{number}"] == (told.position, pytest.approx(told.eta_s))


def test_what_work_takes_alone_does_not_depend_on_who_is_here():
    queue = scheduler()
    alone_s = queue.alone_s(demand())
    for number in range(20):
        queue.add(f"r{number}", demand(f"t{number}"))
    assert queue.alone_s(demand()) == alone_s < queue.outlook(demand()).eta_s


def test_news_for_all_who_wait_cost_one_walk():
    """Calls are counted, not seconds: twice as many who wait are told with about twice the calls."""

    def calls(waiting: int) -> int:
        queue = scheduler()
        for number in range(waiting):
            queue.add(f"r{number}", demand(f"t{number}", rows=2, key=SMALL if number % 2 else LARGE))
        return calls_of(queue.news)

    assert calls(1000) < 2.2 * calls(500)


def test_whoever_comes_at_the_end_of_a_long_queue_costs_no_walk():
    def calls(waiting: int) -> int:
        queue = scheduler()
        for number in range(waiting):
            queue.add(f"r{number}", demand(f"t{number}"))
        run(queue, 1)
        coming = demand("last")
        return calls_of(lambda: (queue.outlook(coming), queue.add("last", coming), queue.remove("last")))

    assert calls(2000) < 1.2 * calls(500)


def calls_of(work: Callable[[], object]) -> int:
    """How many Python functions `work` enters, itself included."""
    count = 0

    def count_calls(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(count_calls)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
