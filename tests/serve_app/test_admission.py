"""Who is let in and who gives way, on a scheduler whose passes take what a small curve says."""

import random
from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.admission import HEADROOM, make_room, overloaded, too_late
from serve_app.contract import Turn
from serve_app.errors import BadRequest, Overloaded
from serve_app.pipelines.pipeline import BatchKey
from serve_app.scheduler import Scheduler, Waiting
from serve_app.step_times import StepTimes
from serve_app.traffic import Demand

KEY = BatchKey("m", (4, 8, 8), 16)
WEIGHTS = {"anonymous": 1.0, "account": 2.0, "paid": 8.0}


def scheduler() -> Scheduler:
    """One row a second, and no batches: what is asked for in steps takes as many seconds."""
    times = StepTimes(max_forward_rows=1, max_step_s=1.0)
    times.observe(KEY, 1, 1.0)
    return Scheduler(times)


def demand(traffic: str, steps: int, *, deadline_s: float = 100.0, tenant: str = "t", rows: int = 1) -> Demand:
    return Demand(Turn(traffic, tenant, WEIGHTS[traffic], deadline_s), KEY, rows, 1, steps)


def add(queue: Scheduler, name: str, traffic: str, steps: int, deadline_s: float = 1000.0) -> None:
    queue.add(name, demand(traffic, steps, deadline_s=deadline_s, tenant=name))


def step(queue: Scheduler, passes: int) -> None:
    for _ in range(passes):
        if (picked := queue.pick()) is not None:
            queue.done(picked, 1.0)


def test_whoever_would_come_in_time_displaces_nobody():
    queue = scheduler()
    add(queue, "a", "anonymous", 50)
    outlook, giving_way = make_room(queue, demand("paid", 50))
    assert (outlook.eta_s, giving_way) == (pytest.approx(56.25), [])


def test_a_small_backlog_of_another_class_costs_no_more_than_it_holds():
    queue = scheduler()
    add(queue, "p", "paid", 4)
    assert queue.outlook(demand("anonymous", 50)).eta_s == 54


def test_what_came_before_a_rest_is_not_expected_after_it():
    queue = scheduler()
    for number in range(60):
        add(queue, f"p{number}", "paid", 1)
    step(queue, 60)
    assert queue.outlook(demand("anonymous", 30)).eta_s > 100
    queue.rested(3600)
    assert queue.outlook(demand("anonymous", 30)).eta_s == pytest.approx(30)


def test_a_higher_class_that_keeps_coming_is_counted_before_it_has_come():
    queue = scheduler()
    add(queue, "a", "anonymous", 1000)
    for number in range(30):
        add(queue, f"p{number}", "paid", 6)
        step(queue, 10)
    assert queue.outlook(demand("anonymous", 40, tenant="new")).eta_s == pytest.approx(40 / 0.4, rel=0.2)


def test_paid_work_at_a_full_queue_displaces_the_newest_anonymous_work_and_no_more_than_it_must():
    queue = scheduler()
    add(queue, "running", "anonymous", 5)
    step(queue, 1)
    for name, steps in (("old", 3), ("newer", 40), ("newest", 40)):
        add(queue, name, "anonymous", steps)
    paid = demand("paid", 100, deadline_s=108 / HEADROOM)
    outlook, giving_way = make_room(queue, paid)
    assert giving_way == ["newest", "newer"]
    assert outlook.eta_s == 107


def test_anonymous_work_gives_way_before_the_work_of_an_account():
    queue = scheduler()
    for name, traffic in (("mine", "account"), ("a", "anonymous"), ("b", "anonymous"), ("theirs", "account")):
        add(queue, name, traffic, 30)
    assert [each.request_id for each in queue.waiting()] == ["b", "a", "theirs", "mine"]
    _, giving_way = make_room(queue, demand("paid", 100, deadline_s=101 / HEADROOM))
    assert giving_way == ["b", "a", "theirs", "mine"]


def test_the_newest_of_the_lowest_class_is_refused_and_told_when_there_is_room():
    queue = scheduler()
    add(queue, "a", "anonymous", 30)
    newest = demand("anonymous", 80, tenant="new")
    with pytest.raises(Overloaded) as refused:
        make_room(queue, newest)
    retry_after_s = refused.value.retry_after_s
    assert retry_after_s == pytest.approx(110 - 90)
    step(queue, int(retry_after_s) + 1)
    assert make_room(queue, newest)[1] == []


def test_nobody_gives_way_where_it_would_not_help():
    queue = scheduler()
    add(queue, "p", "paid", 95)
    add(queue, "a", "anonymous", 5)
    with pytest.raises(Overloaded):
        make_room(queue, demand("paid", 50, tenant="p"))
    assert len(queue.waiting()) == 2


def test_what_misses_its_deadline_even_alone_is_no_overload():
    with pytest.raises(BadRequest):
        make_room(scheduler(), demand("paid", 95))


def test_whoever_would_come_too_late_gives_way_the_newest_first_so_that_the_others_do_not():
    queue = scheduler()
    for name in ("first", "second", "third"):
        add(queue, name, "anonymous", 40, deadline_s=130)
    assert too_late(queue, lambda _: 0.0) == []
    add(queue, "p", "paid", 20)
    assert too_late(queue, lambda _: 0.0) == ["third"]
    assert too_late(queue, lambda name: 60.0 if name == "first" else 0.0) == ["third"]


def test_late_paid_work_costs_waiting_anonymous_work_and_stays():
    queue = scheduler()
    for name in ("old", "new", "newest"):
        add(queue, name, "anonymous", 5, deadline_s=1000)
    add(queue, "p", "paid", 80, deadline_s=100)
    assert too_late(queue, lambda _: 0.0) == []
    assert too_late(queue, lambda name: 13.0 if name == "p" else 0.0) == ["newest", "new"]


def test_paid_work_that_nothing_can_save_goes_and_costs_nobody_else():
    queue = scheduler()
    for name in ("old", "new"):
        add(queue, name, "anonymous", 5, deadline_s=1000)
    add(queue, "first", "paid", 50, deadline_s=100)
    add(queue, "second", "paid", 60, deadline_s=105)
    assert too_late(queue, lambda _: 0.0) == ["second"]


def test_what_is_in_its_first_pass_gives_way_no_more():
    queue = scheduler()
    add(queue, "a", "anonymous", 40, deadline_s=50)
    assert queue.pick() is not None
    assert queue.waiting() == []
    assert too_late(queue, lambda _: 49.0) == []


def test_what_has_begun_is_drawn_to_its_end_however_late():
    queue = scheduler()
    add(queue, "a", "anonymous", 40, deadline_s=50)
    step(queue, 1)
    add(queue, "p", "paid", 400)
    assert too_late(queue, lambda _: 49.0) == []


def test_a_retry_is_never_named_at_once():
    assert overloaded(scheduler(), demand("anonymous", 10)).retry_after_s == 1.0


arrivals = st.lists(
    st.tuples(
        st.sampled_from(list(WEIGHTS)),
        st.sampled_from("abc"),
        st.integers(1, 40),
        st.integers(1, 3),
        st.integers(20, 400),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(arrivals)
def test_no_class_ever_gives_way_while_a_lower_one_waits_and_whatever_is_let_in_has_its_time(
    wanted: list[tuple[str, str, int, int, int, int]],
):
    queue = scheduler()
    for number, (traffic, tenant, steps, rows, deadline_s, passes) in enumerate(wanted):
        coming = demand(traffic, steps, deadline_s=deadline_s, tenant=tenant, rows=rows)
        before = queue.waiting()
        try:
            outlook, giving_way = make_room(queue, coming)
        except (Overloaded, BadRequest):
            assert queue.waiting() == before
        else:
            assert_in_order(before, giving_way)
            assert all(each.weight < coming.turn.weight for each in before if each.request_id in giving_way)
            if giving_way:
                fewer = queue.outlook(coming, set(giving_way[:-1]))
                assert fewer.eta_s > HEADROOM * deadline_s, "as few as will do"
            for request_id in giving_way:
                assert queue.remove(request_id)
            assert outlook.eta_s <= HEADROOM * deadline_s
            assert queue.outlook(coming).eta_s == pytest.approx(outlook.eta_s)
            queue.add(str(number), coming)
        step(queue, passes)


@settings(deadline=None, max_examples=100)
@given(arrivals, st.integers(0, 2**32))
def test_whoever_is_late_costs_the_lower_classes_first_and_then_nobody_is_late(
    wanted: list[tuple[str, str, int, int, int, int]], seed: int
):
    queue, chance = scheduler(), random.Random(seed)
    deadlines: dict[str, float] = {}
    for number, (traffic, tenant, steps, rows, deadline_s, passes) in enumerate(wanted):
        deadlines[str(number)] = deadline_s
        queue.add(str(number), demand(traffic, steps, deadline_s=deadline_s, tenant=tenant, rows=rows))
        step(queue, passes)
    waited = {request_id: chance.uniform(0, 50) for request_id in deadlines}

    def late(without: Collection[str] = ()) -> set[str]:
        news = queue.news(without)
        return {name for name, outlook in news.items() if waited[name] + outlook.eta_s > deadlines[name]}

    weight_of = {each.request_id: each.weight for each in queue.waiting()}
    were_late = late()
    gone = too_late(queue, lambda name: waited[name])
    assert bool(gone) == bool(were_late)
    assert not late(gone)
    if gone:
        highest = max(weight_of[name] for name in were_late)
        lower = {name for name, weight in weight_of.items() if weight < highest}
        assert max(weight_of[name] for name in gone) <= highest
        assert set(gone) - lower <= late(lower), "of the highest class only what nobody else's leaving would save"


def assert_in_order(waiting: list[Waiting], gone: list[str]) -> None:
    assert [each.request_id for each in waiting[: len(gone)]] == gone
