"""Who moves with whom and when."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.contract import Turn
from serve_app.pipelines.pipeline import BatchKey
from serve_app.scheduler import EXPECTED_S, PATIENCE_STEPS
from serve_app.traffic import Demand
from tests.serve_app.scheduling import LARGE, MAX_ROWS, SMALL, demand, each, finish_order, run, scheduler, seconds


def test_rows_join_between_steps():
    queue = scheduler()
    queue.add("first", demand("a", steps=10))
    run(queue, 3)
    queue.add("second", demand("b", steps=10))
    picked = queue.pick()
    assert picked is not None
    assert {t.request_id for t in picked.tickets} == {"first", "second"}


def test_only_rows_with_one_batch_key_share_a_pass():
    queue = scheduler()
    queue.add("small", demand("a", key=SMALL))
    queue.add("large", demand("b", key=LARGE))
    for picked in run(queue):
        assert {t.key for t in picked.tickets} == {picked.key}


def test_short_work_passes_long_work():
    queue = scheduler(max_rows=2)
    for number in range(4):
        queue.add(f"long{number}", demand(f"l{number}", steps=28))
    run(queue, 2)
    queue.add("short", demand("s", steps=4))
    assert finish_order(run(queue))[0] == "short"


def test_a_tenant_with_much_work_stands_behind_its_own():
    queue = scheduler(max_rows=2)
    for number in range(20):
        queue.add(f"heavy{number}", demand("heavy"))
    run(queue, 2)
    queue.add("light", demand("light"))
    assert "light" in finish_order(run(queue))[:4]


def test_a_lower_class_joins_only_while_paid_steps_stay_within_their_bound():
    queue = scheduler()
    for number in range(40):
        queue.add(f"free{number}", demand(f"f{number}", steps=28))
    queue.add("paid", demand("p", "paid", steps=28))
    for picked in run(queue, 28):
        paid = sum(t.forward_rows for t in picked.tickets if t.turn.traffic == "paid")
        if paid:
            assert seconds(picked.forward_rows) <= 1.2 * seconds(paid)


def test_classes_share_by_weight_while_both_wait():
    queue = scheduler()
    for number in range(200):
        queue.add(f"free{number}", demand(f"f{number}", steps=28))
        queue.add(f"paid{number}", demand(f"p{number}", "paid", steps=28))
    work = {"paid": 0, "anonymous": 0}
    for picked in run(queue, 180):
        for ticket in picked.tickets:
            work[ticket.turn.traffic] += ticket.forward_rows
    assert work["paid"] / work["anonymous"] == pytest.approx(8, rel=0.15)


@pytest.mark.parametrize(("before", "now"), [("paid", "anonymous"), ("anonymous", "paid")])
def test_work_done_while_the_machine_was_free_is_held_against_nobody(before: str, now: str):
    queue = scheduler()
    for number in range(2000):
        queue.add(f"alone{number}", demand(f"c{number % 20}", before))
        run(queue)
    for number in range(3000):
        queue.add(f"backlog{number}", demand(f"v{number}", now))
    queue.add("back", demand("back", before))
    assert any(t.request_id == "back" for picked in run(queue, 10) for t in picked.tickets)


def test_a_class_that_was_away_is_owed_nothing():
    queue = scheduler()
    for number in range(2000):
        queue.add(f"alone{number}", demand(f"c{number % 20}", "paid"))
    run(queue, 400)
    for number in range(200):
        queue.add(f"free{number}", demand(f"f{number}", steps=28))
    rows = Counter(ticket.turn.traffic for picked in run(queue, 90) for ticket in picked.tickets)
    assert 0.5 / 9 <= rows["anonymous"] / rows.total() <= 1.5 / 9


def test_a_paid_row_does_not_wait_long_for_the_end_of_anothers_pass():
    queue = scheduler()
    for number in range(40):
        queue.add(f"free{number}", demand(f"f{number}", steps=100))
    free = run(queue, 1)[0]
    assert free.forward_rows == MAX_ROWS, "while nobody pays"
    queue.add("paid", demand("p", "paid", steps=4))
    run(queue, 10)
    assert "paid" not in queue.news()
    after = [seconds(picked.forward_rows) for picked in run(queue, 20)]
    assert max(after) <= PATIENCE_STEPS * seconds(1)
    queue.rested(EXPECTED_S)
    assert run(queue, 1)[0].forward_rows == MAX_ROWS


def test_prompts_that_are_still_to_be_encoded_count_for_the_length_of_such_a_pass():
    queue = scheduler()
    queue.times.start_s = 0.02
    queue.add("paid", demand("p", "paid", steps=1))
    run(queue)
    for number in range(40):
        queue.add(f"free{number}", demand(f"f{number}", steps=3))
    passes = [
        0.02 * sum(not t.started for t in picked.tickets) + seconds(picked.forward_rows) for picked in each(queue)
    ]
    assert max(passes) <= max(PATIENCE_STEPS * seconds(1), 0.02 + seconds(1))
    assert len(passes) < 3 * 40


def test_a_request_with_finished_rows_has_begun_although_its_last_one_did_not_fit():
    queue = scheduler(max_rows=2)
    queue.add("a", demand("a", steps=1, rows=3))
    run(queue, 1)
    last = queue.pick()
    assert last is not None
    queue.did_not_fit(last)
    assert queue.news() == {}
    assert queue.waiting() == []


def test_rows_that_did_not_fit_have_not_begun():
    queue = scheduler()
    queue.add("a", demand("a"))
    queue.add("b", demand("b"))
    tried = queue.pick()
    assert tried is not None
    assert queue.news() == {}
    queue.did_not_fit(tried)
    assert set(queue.news()) == {"a", "b"}


def test_a_cancelled_request_is_in_no_later_pass():
    queue = scheduler()
    queue.add("stays", demand("a", steps=6))
    queue.add("leaves", demand("b", steps=6))
    picked = queue.pick()
    assert picked is not None
    queue.remove("leaves")
    queue.done(picked, 0.1)
    assert all(t.request_id == "stays" for made in run(queue) for t in made.tickets)


def test_cancelled_work_is_not_charged_to_its_tenant():
    queue = scheduler(max_rows=2)
    for number in range(50):
        queue.add(f"other{number}", demand(f"o{number}"))
    queue.add("cancelled", demand("me", steps=50, rows=10))
    queue.add("waiting", demand("me"))
    queue.remove("cancelled")
    queue.add("later", demand("me"))
    for number in range(50):
        queue.add(f"long{number}", demand(f"l{number}", steps=12))
    order = finish_order(run(queue))
    assert order.index("waiting") <= order.index("later") < order.index("long0")


def test_what_was_done_before_a_cancel_stays_charged():
    queue = scheduler(max_rows=2)
    for number in range(4):
        queue.add(f"other{number}", demand(f"o{number}", steps=100))
    queue.add("cancelled", demand("me", steps=30))
    run(queue, 10)
    queue.remove("cancelled")
    queue.add("mine", demand("me", steps=8))
    queue.add("newcomer", demand("n", steps=8))
    order = finish_order(run(queue))
    assert order.index("newcomer") < order.index("mine")


def test_running_out_of_memory_halves_the_batch_and_loses_nothing():
    queue = scheduler()
    for number in range(16):
        queue.add(f"r{number}", demand(f"t{number}"))
    tried = queue.pick()
    assert tried is not None
    queue.did_not_fit(tried)
    made = run(queue)
    assert max(p.forward_rows for p in made) <= tried.forward_rows // 2
    assert len(finish_order(made)) == 16


def test_a_class_follows_the_newest_plan():
    queue = scheduler()
    for plan in (Turn("paid", "t", 8.0, 60.0, 1.2), Turn("paid", "t", 1.0, 60.0, None)):
        for number in range(100):
            queue.add(f"{plan.weight}.{number}", Demand(plan, SMALL, 1, 1, 28))
    for number in range(200):
        queue.add(f"free{number}", demand(f"f{number}", steps=28))
    work = {"paid": 0, "anonymous": 0}
    for picked in run(queue, 100):
        for ticket in picked.tickets:
            work[ticket.turn.traffic] += 1
    assert work["paid"] == pytest.approx(work["anonymous"], rel=0.1)


requests = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["paid", "anonymous"]),
        st.integers(1, 30),
        st.integers(1, 4),
        st.booleans(),
        st.sampled_from([SMALL, LARGE]),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=80)
@given(requests)
def test_every_row_makes_exactly_its_steps_and_no_pass_is_skipped(
    wanted: list[tuple[str, str, int, int, bool, BatchKey, int]],
):
    queue = scheduler()
    waiting = sorted(enumerate(wanted), key=lambda pair: pair[1][6])
    counted: dict[tuple[str, int], int] = {}
    tick = 0
    while waiting or queue.pick() is not None:
        while waiting and waiting[0][1][6] <= tick:
            number, (tenant, traffic, steps, rows, guided, key, _) = waiting.pop(0)
            queue.add(str(number), demand(tenant, traffic, steps=steps, rows=rows, guided=guided, key=key))
        picked = queue.pick()
        if picked is not None:
            assert picked.tickets
            assert picked.forward_rows <= MAX_ROWS
            queue.done(picked, seconds(picked.forward_rows))
            for ticket in picked.tickets:
                counted[ticket.request_id, ticket.index] = counted.get((ticket.request_id, ticket.index), 0) + 1
        tick += 1
    expected = {(str(n), row): r[2] for n, r in enumerate(wanted) for row in range(r[3])}
    assert counted == expected


def test_a_long_job_is_done_although_short_ones_never_stop_coming():
    queue = scheduler(max_rows=4)
    dice = random.Random(0)
    queue.add("long", demand("patient", steps=50))
    for number in range(4000):
        if len(queue.news()) < 20:
            queue.add(f"short{number}", demand(f"t{dice.random()}", steps=4))
        picked = queue.pick()
        assert picked is not None
        if any(t.request_id == "long" for t in queue.done(picked, seconds(picked.forward_rows))):
            return
    pytest.fail("the long job starved")


def test_tenants_who_left_are_forgotten_while_the_class_stays_busy():
    queue = scheduler(max_rows=2)
    for number in range(10):
        queue.add(f"busy{number}", demand(f"busy{number}", steps=100_000))
    for number in range(500):
        queue.add(f"brief{number}", demand(f"brief{number}", steps=1))
        run(queue, 1)
    remembered = queue._classes["anonymous"].last_tag  # pyright: ignore[reportPrivateUsage]
    assert len(remembered) < 50
