"""How large the chunks of a map are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aioprocq.pool.sizing import BYTES, MOST, TARGET, ChunkSize


def test_it_begins_with_one_and_grows_at_most_fourfold():
    size = ChunkSize()
    seen = [size.size]
    for _ in range(7):
        size.answered(size.size, 0.0, 1)
        seen.append(size.size)
    assert seen == [1, 4, 16, 64, 256, 512, 512, 512]
    assert repr(size) == "<ChunkSize 512>"


def test_it_shrinks_at_once():
    size = ChunkSize()
    for _ in range(5):
        size.answered(size.size, 0.0, 1)
    size.answered(512, 512 * TARGET, 1)
    assert size.size == 1


def test_it_goes_by_time_and_by_bytes():
    size = ChunkSize()
    size.size = 100
    size.answered(100, TARGET * 2, 1)
    assert size.size == 50
    size.answered(50, 1e-6, BYTES * 5)
    assert size.size == 10
    size.answered(1, 1e-6, BYTES * 100)
    assert size.size == 1


def test_it_may_be_kept_to_one():
    size = ChunkSize(1)
    size.answered(1, 0.0, 1)
    assert size.size == 1
    assert ChunkSize(0).size == 1


@given(
    st.lists(
        st.tuples(st.integers(1, MOST), st.floats(0, 1e6), st.integers(0, 2**40)),
        max_size=20,
    )
)
def test_it_stays_within_its_limits(answers):
    size = ChunkSize()
    for count, seconds, nbytes in answers:
        before = size.size
        size.answered(count, seconds, nbytes)
        assert 1 <= size.size <= min(MOST, 4 * before)
