"""The learned batch size."""

from serve_app.pipelines.pipeline import BatchKey
from serve_app.step_times import StepTimes, ladder

KEY = BatchKey("m", (4, 8, 8), 16)
TWICE = BatchKey("m", (4, 16, 8), 16)


def learned(curve: dict[int, float], max_rows: int = 16, max_step_s: float = 1.0) -> StepTimes:
    times = StepTimes(max_forward_rows=max_rows, max_step_s=max_step_s)
    for rows, seconds in curve.items():
        times.observe(KEY, rows, seconds)
    return times


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


def test_where_memory_holds_one_row_only_the_batch_is_one():
    key = BatchKey("one", (4, 8, 8), 16)
    times = StepTimes(max_forward_rows=8, max_step_s=1.0)
    times.observe(key, 1, 0.01)
    times.out_of_memory(key, 2)
    assert times.batch_rows(key) == 1
