"""The sliding window's arithmetic, for any numbers."""

from hypothesis import given
from hypothesis import strategies as st

from edge.domain.limits.windows import DAY_MS, MINUTE_MS, Standing, Window

LIMITS = st.integers(1, 100_000)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    """Any that taking can lead to: no bucket ever holds more than the limit."""
    window = Window("w", draw(LIMITS), draw(st.sampled_from([1, 1000, MINUTE_MS, DAY_MS])))
    counts = st.integers(0, window.limit)
    return Standing(window, draw(counts), draw(counts), draw(st.integers(10 * DAY_MS, 20 * DAY_MS)))


@given(standings(), st.data())
def test_who_waits_as_long_as_told_gets_it_and_not_a_moment_sooner(found: Standing, data: st.DataObject) -> None:
    cost = data.draw(st.integers(1, found.window.limit))
    wait_ms = found.wait_ms(cost)
    assert found.at(found.at_ms + wait_ms).available >= cost
    if wait_ms:
        assert found.at(found.at_ms + wait_ms - 1).available < cost


@given(standings(), st.integers(0, 3 * DAY_MS))
def test_waiting_never_makes_less_available(found: Standing, waited_ms: int) -> None:
    assert found.at(found.at_ms + waited_ms).available >= found.available


@given(standings())
def test_never_more_is_available_than_the_limit_and_a_reset_comes_within_two_windows(found: Standing) -> None:
    assert 0 <= found.available <= found.window.limit
    assert 0 < found.reset_ms() <= 2 * found.window.length_ms


def test_what_exceeds_the_limit_is_not_promised_for_a_moment_that_never_comes() -> None:
    assert Standing(Window("w", 5, MINUTE_MS), 0, 0, DAY_MS).wait_ms(6) == MINUTE_MS
