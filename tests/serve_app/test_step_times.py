"""The learned batch size."""

from collections.abc import Callable
from random import Random

from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import StepTimes, ladder

KEY = BatchKey("m", (4, 8, 8), 16)
TWICE = BatchKey("m", (4, 16, 8), 16)


def learned(curve: dict[int, float], max_rows: int = 16, max_step_s: float = 1.0) -> StepTimes:
    times = StepTimes(max_forward_rows=max_rows, max_step_s=max_step_s)
    for rows, seconds in curve.items():
        times.observe(KEY, rows, seconds)
        times.observe(KEY, rows, seconds)
    return times


def profits(rows: int) -> float:
    return 0.1 + 0.001 * rows


def work(times: StepTimes, passes: int, seconds: Callable[[int], float] = profits) -> list[int]:
    """Passes as large as they may be; returns their sizes."""
    sizes: list[int] = []
    for _ in range(passes):
        sizes.append(times.batch_rows(KEY))
        times.observe(KEY, sizes[-1], seconds(sizes[-1]))
    return sizes


def test_the_ladder_ends_with_the_limit():
    assert ladder(16) == [1, 2, 3, 4, 6, 8, 12, 16]
    assert ladder(10)[-1] == 10


def test_a_saturated_device_gets_small_batches():
    assert learned({n: 0.1 * n for n in ladder(16)}).batch_rows(KEY) == 2


def test_a_device_that_profits_gets_large_ones():
    assert learned({n: 0.1 + 0.001 * n for n in ladder(16)}).batch_rows(KEY) == 16


def test_no_step_may_take_longer_than_the_bound():
    times = learned({n: 0.1 + 0.05 * n for n in ladder(16)}, max_step_s=0.35)
    assert times.predict(KEY, times.batch_rows(KEY)) <= 0.35


def test_an_unmeasured_shape_is_predicted_by_its_area():
    assert learned({4: 0.2}).predict(TWICE, 4) == 0.4


def test_between_two_sizes_lies_the_time_between():
    assert learned({2: 0.2, 4: 0.4}).predict(KEY, 3) == 0.30000000000000004


def test_out_of_memory_is_remembered():
    times = learned({n: 0.1 + 0.001 * n for n in ladder(16)})
    times.out_of_memory(KEY, 12)
    assert times.batch_rows(KEY) <= 6


def test_a_size_between_the_usual_ones_does_not_end_the_search():
    times = learned({4: profits(4), 5: profits(5)}, max_rows=32)
    work(times, 20)
    assert times.batch_rows(KEY) == 32


def test_a_new_shape_finds_its_size_whatever_mix_of_guidance_fills_the_passes():
    times, dice = StepTimes(max_forward_rows=32, max_step_s=1.0), Random(1)
    for _ in range(1000):
        rows = max(1, times.batch_rows(KEY) - dice.choice([0, 0, 1]))  # a guided row may not fit into the last place
        times.observe(KEY, rows, profits(rows))
    assert times.batch_rows(KEY) >= 31


def test_rows_that_are_all_guided_are_no_reason_to_wait_for_an_odd_size():
    times = learned({2: profits(2)}, max_rows=32)
    for _ in range(100):
        times.observe(KEY, times.batch_rows(KEY) // 2 * 2, profits(times.batch_rows(KEY)))
    assert times.batch_rows(KEY) == 32


def test_a_busy_moment_at_the_start_does_not_decide_for_good():
    times = learned({rows: profits(rows) * (20 if rows > 2 else 1) for rows in ladder(32)}, max_rows=32)
    work(times, 250)
    assert times.batch_rows(KEY) == 32


def test_the_first_pass_of_a_size_which_may_compile_does_not_count():
    times = learned({4: profits(4)}, max_rows=8)
    times.observe(KEY, 8, 30.0)
    work(times, 2)
    assert times.batch_rows(KEY) == 8


def test_a_size_that_is_slow_is_tried_in_few_passes():
    times = learned({rows: 0.01 * rows * rows for rows in ladder(32)}, max_rows=32)
    sizes = work(times, 2000, lambda rows: 0.01 * rows * rows)
    assert sum(rows > 2 for rows in sizes) <= 10


def test_trying_keeps_to_memory_and_to_the_longest_step():
    times = learned({rows: 0.1 * rows for rows in (1, 2, 4)}, max_rows=32, max_step_s=0.5)
    assert max(work(times, 1000, lambda rows: 0.1 * rows)) <= 4
    times = learned({rows: profits(rows) for rows in ladder(32)}, max_rows=32)
    times.out_of_memory(KEY, 24)
    assert max(work(times, 1000)) == 12


def test_where_memory_holds_one_row_only_the_batch_is_one():
    key = BatchKey("one", (4, 8, 8), 16)
    times = StepTimes(max_forward_rows=8, max_step_s=1.0)
    times.observe(key, 1, 0.01)
    times.out_of_memory(key, 2)
    assert times.batch_rows(key) == 1


def test_one_slow_start_says_for_long_neither_before_nor_after_the_usual_ones():
    times = learned({})
    times.observe_start(1, 5.0)
    times.observe_start(4, 0.04)
    assert times.start_s == 0.01
    times.observe_start(1, 5.0)
    assert times.start_s <= 0.012
    for _ in range(20):
        times.observe_start(1, 0.015)
    assert 0.014 < times.start_s < 0.016
