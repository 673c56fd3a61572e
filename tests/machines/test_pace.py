"""How much is sent ahead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.machines.pace import AHEAD, ALONE, LARGEST, LONG, Pace


def consume(pace: Pace, count: int, seconds: float, start: float = 5.0) -> None:
    """A batch comes, and is consumed at so many seconds an item."""
    pace.filled(count, start, empty=True)
    pace.emptied(start + count * seconds)


def test_at_first_nothing_is_known():
    pace = Pace()
    assert (pace.window, pace.seconds, pace.ahead) == (1, None, False)
    pace.emptied(3.0)
    assert (pace.window, pace.seconds) == (1, None)


def test_the_pace_is_seconds_an_item():
    pace = Pace()
    consume(pace, 4, 0.25)
    assert pace.seconds == pytest.approx(0.25)


def test_what_comes_while_there_are_still_some_counts():
    pace = Pace()
    pace.filled(2, 1.0, empty=True)
    pace.filled(2, 1.5, empty=False)
    pace.emptied(2.0)
    assert pace.seconds == pytest.approx(0.25)


def test_waiting_does_not_count():
    pace = Pace()
    consume(pace, 1, 0.1)
    pace.emptied(99.0)
    assert pace.seconds == pytest.approx(0.1)


def test_the_window_grows_fourfold():
    pace, start = Pace(), 5.0
    windows = []
    for _ in range(7):
        consume(pace, pace.window, 1e-8, start)
        windows.append(pace.window)
    assert windows == [4, 16, 64, 256, 1024, LARGEST, LARGEST]


def test_the_window_grows_with_single_items_too():
    pace, windows = Pace(), []
    for _ in range(4):
        consume(pace, 1, AHEAD / 50.5)
        windows.append(pace.window)
    assert windows == [4, 16, 50, 50]


def test_the_window_is_as_much_as_is_consumed_ahead():
    pace = Pace()
    for _ in range(5):
        consume(pace, pace.window, AHEAD / 10.5)
    assert pace.window == 10


def test_who_is_alone_is_sent_more():
    pace = Pace()
    for _ in range(5):
        pace.filled(pace.window, 5.0, empty=True)
        pace.emptied(5.0 + pace.window * ALONE / 50.5, alone=True)
    assert pace.window == 50
    consume(pace, pace.window, ALONE / 50.5)
    assert pace.window == max(1, int(50.5 * AHEAD / ALONE))


def test_a_small_batch_does_not_shrink_the_window_of_a_fast_consumer():
    pace = Pace()
    for _ in range(5):
        consume(pace, pace.window, 1e-8)
    consume(pace, 1, 1e-8)
    assert pace.window == LARGEST


def test_a_consumer_that_becomes_slow_is_sent_one_at_a_time():
    pace = Pace()
    for _ in range(5):
        consume(pace, pace.window, 1e-8)
    consume(pace, 3, AHEAD)
    assert pace.window == 1
    assert pace.ahead


def test_nothing_is_asked_for_ahead_when_an_item_takes_long():
    pace = Pace()
    consume(pace, 1, LONG * 1.01)
    assert not pace.ahead
    consume(pace, 1, LONG * 0.99)
    assert pace.ahead


def test_a_clock_that_stands_still():
    pace = Pace()
    consume(pace, 3, 0.0)
    assert pace.window == 12
    assert pace.ahead


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.floats(0, 10), st.booleans())),
)
def test_the_window_keeps_its_bounds(batches):
    pace, now = Pace(), 0.0
    for count, seconds, empty in batches:
        before = pace.window
        pace.filled(count, now, empty=empty)
        now += seconds
        pace.emptied(now)
        assert 1 <= pace.window <= LARGEST
        assert pace.window <= max(4, 4 * max(count, before), before)
