"""Where the items are, as far as they are with the hub."""

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.machines.lane import Stray
from aioprocq.machines.record import DeadRecord
from aioprocq.machines.store import Store
from aioprocq.wire.frames import (
    BATCH_BYTES,
    BATCH_ITEMS,
    INLINE_LIMIT,
    MAX_FRAME,
    encode_items,
)
from aioprocq.wire.payload import Descriptor, Parcel, Payload


def make(
    *payloads: Payload,
    joinable: bool = True,
    max_deliveries: int = 3,
    sized: bool = False,
) -> Store:
    store = Store(joinable=joinable, max_deliveries=max_deliveries, sized=sized)
    for payload in payloads:
        store.put(payload)
    return store


def batch(store: Store, limit: int) -> tuple[int, int, list[Payload]]:
    """Place, attempts and payloads; the lengths go without saying."""
    seq, attempts, payloads, lengths = store.batch(limit)
    assert lengths == [len(payload) for payload in payloads]
    return seq, attempts, payloads


def parcel(size: int = 7) -> Parcel:
    return Parcel(b"\0head", (Descriptor(-1),), size)


def stray(seq: int, payload: Payload = b"x", attempts: int = 0) -> Stray:
    return Stray(seq, attempts, payload)


def test_an_empty_store():
    store = make()
    assert (store.tail, store.waiting, store.unfinished) == (0, 0, 0)
    assert store.take() is None
    store.check_invariants(0)


def test_items_are_taken_in_the_order_in_which_they_were_put():
    store = make(b"a", b"b")
    assert store.waiting == store.unfinished == 2
    assert store.take() == Stray(0, 0, b"a")
    assert (store.waiting, store.unfinished) == (1, 2)
    assert store.take() == Stray(1, 0, b"b")
    assert sorted(store.held) == [0, 1]
    store.check_invariants(0)


class Busy(deque[Payload]):
    """Another thread appends to it whenever a call may let it run."""

    def __iter__(self) -> Iterator[Payload]:
        items = list(super().__iter__())
        self.append(b"late")
        return iter(items)

    def popleft(self) -> Payload:
        payload = super().popleft()
        self.append(b"late")
        return payload

    def clear(self) -> None:
        self.append(b"late")
        super().clear()


def test_what_is_appended_while_a_batch_is_taken_waits_for_the_next():
    # The thread of the owner's loop appends without the lock.
    store = make(joinable=False)
    store.fresh = Busy([b"a", b"b"])
    assert batch(store, 9)[2] == [b"a", b"b"]
    assert (store.waiting, store.tail) == (2, 4)


def test_in_a_plain_queue_taking_an_item_finishes_it():
    store = make(b"a", joinable=False)
    assert store.take() == Stray(0, 0, b"a")
    assert not store.held
    assert store.unfinished == 0
    store.check_invariants(0)


def test_taking_from_a_plain_queue():
    store = make(b"a", b"b", b"c", joinable=False)
    batch(store, 2)
    store.restore(stray(1, b"b"))
    assert [store.take_plain() for _ in range(3)] == [b"b", b"c", None]
    assert store.unfinished == 1
    store.check_invariants(1)


def test_finishing_what_is_held():
    store = make(b"a")
    assert not store.finish(0)
    store.take()
    assert store.finish(0)
    assert not store.finish(0)
    assert store.unfinished == 0


def test_putting_many():
    store = make(b"a")
    store.put_many([b"b", b"c"])
    assert list(store.fresh) == [b"a", b"b", b"c"]
    sized = make(b"a", sized=True)
    sized.put_many([b"bb", parcel(5)])
    assert sized.size == 8


def test_what_was_sent_and_not_started_on_goes_back_to_its_place():
    store = make(b"a", b"b", b"c", b"d")
    assert batch(store, 2) == (0, 0, [b"a", b"b"])
    store.check_invariants(2)
    store.restore(stray(1, b"b"))
    store.restore(stray(0, b"a"))
    assert store.returns == 2
    assert store.waiting == 4
    store.check_invariants(0)
    assert [store.take() for _ in range(4)] == [
        stray(0, b"a"),
        stray(1, b"b"),
        stray(2, b"c"),
        stray(3, b"d"),
    ]


def test_a_failed_attempt_is_tried_again():
    store = make(b"a", b"b", max_deliveries=3)
    first = store.take()
    assert first is not None
    store.held.pop(0)
    store.fail(first, "it rained")
    assert store.redelivered == 1
    assert batch(store, 5) == (0, 1, [b"a"])
    store.fail(stray(0, b"a", 1), "it rained")
    assert batch(store, 5) == (0, 2, [b"a"])
    assert not store.dead


def test_after_the_last_attempt_an_item_is_dead():
    store = make(b"a", max_deliveries=2)
    batch(store, 1)
    store.fail(stray(0, b"a", 1), "it rained again")
    assert store.dead == store.news == [DeadRecord(b"a", 2, "it rained again")]
    assert (store.waiting, store.unfinished) == (0, 0)
    store.check_invariants(0)


def test_a_final_failure_is_not_tried_again():
    store = make(b"a", max_deliveries=9)
    batch(store, 1)
    store.fail(stray(0, b"a"), "no use", final=True)
    assert store.dead == [DeadRecord(b"a", 1, "no use")]


def test_discarding():
    store = make(b"a", b"b", b"c", b"d", max_deliveries=3)
    held = store.take()
    assert held is not None
    batch(store, 2)
    store.restore(stray(1, b"b"))
    store.discard()
    assert (store.waiting, store.unfinished) == (0, 2), "one is held, one in the air"
    store.check_invariants(1)
    store.put(b"e")
    store.put_many([b"f"])
    store.restore(stray(2, b"c"))
    assert (store.tail, store.waiting, store.unfinished) == (6, 0, 1)
    del store.held[0]
    store.fail(held, "too late")
    assert store.unfinished == 0
    assert not store.dead
    store.check_invariants(0)


def test_what_fails_for_good_is_a_dead_letter_even_when_all_is_discarded():
    store = make(b"a", max_deliveries=1)
    batch(store, 1)
    store.discard()
    store.fail(stray(0, b"a"), "in vain")
    assert len(store.dead) == 1
    store.check_invariants(0)


def test_the_bytes_that_wait_and_are_in_the_air():
    store = make(b"1", b"22", parcel(7), b"333", sized=True)
    assert store.size == 13
    assert store.take() == stray(0, b"1")
    assert store.size == 12
    batch(store, 1)
    assert store.size == 12, "it takes room until it is handed out"
    store.restore(stray(1, b"22"))
    assert store.size == 12
    store.fail(stray(0, b"1"), "again")
    assert store.size == 13
    batch(store, 1)
    store.discard()
    assert store.size == 1, "what is in the air"
    store.restore(stray(0, b"1", 1))
    assert store.size == 0


def test_invariants_are_checked():
    store = make(b"a")
    with pytest.raises(AssertionError):
        store.check_invariants(1)
    store.restore(stray(5))
    with pytest.raises(AssertionError):
        store.check_invariants(0)


# Batches


def test_a_batch_is_not_longer_than_asked_for():
    store = make(*[b"x"] * 10)
    assert batch(store, 3) == (0, 0, [b"x"] * 3)
    assert batch(store, 99) == (3, 0, [b"x"] * 7)


def test_a_batch_is_about_as_long_as_the_last_ones_let_expect():
    store = make(*[bytes(100)] * 1000)
    sizes = [len(batch(store, 1000)[2]) for _ in range(3)]
    assert sizes == [BATCH_BYTES // 128, BATCH_BYTES // 100, BATCH_BYTES // 100]


def test_a_batch_of_the_smallest_items():
    store = make(*[b""] * (BATCH_ITEMS + 200))
    batch(store, 1)
    assert len(batch(store, 1 << 40)[2]) == BATCH_ITEMS


def test_items_larger_than_expected_are_put_back():
    store = make(b"x", *[bytes(10_000)] * 8)
    batch(store, 1)
    seq, _, payloads = batch(store, 99)
    assert (seq, len(payloads)) == (1, 1)
    assert len(store.fresh) == 7
    assert store.take() == stray(2, bytes(10_000))


def test_after_large_items_no_more_are_looked_at_than_fit():
    store = make(*[b""] * 200, *[bytes(40_000)] * 50)
    batch(store, 128)
    batch(store, 1000)
    assert batch(store, 1000) == (200, 0, [bytes(40_000)])
    assert store.average == 40_000
    assert batch(store, 1000) == (201, 0, [bytes(40_000)])


def test_the_largest_item_is_alone():
    store = make(bytes(INLINE_LIMIT), bytes(INLINE_LIMIT))
    assert len(batch(store, 99)[2]) == 1


def test_an_item_longer_than_a_peer_would_make_it_is_alone():
    store = make(bytes(MAX_FRAME), b"a")
    assert batch(store, 1) == (0, 0, [bytes(MAX_FRAME)])
    assert batch(store, 9) == (1, 0, [b"a"])


def test_a_parcel_is_alone():
    first, second = parcel(), parcel()
    store = make(first, b"a", second, b"b")
    assert batch(store, 9) == (0, 0, [first])
    assert batch(store, 9) == (1, 0, [b"a"])
    assert batch(store, 9) == (2, 0, [second])
    assert batch(store, 9) == (3, 0, [b"b"])


def test_what_returned_is_sent_first_and_as_it_was():
    store = make(*[b"x"] * 9)
    batch(store, 9)
    for seq, attempts in ((4, 0), (1, 0), (2, 0), (3, 1), (6, 0)):
        store.restore(stray(seq, b"%d" % seq, attempts))
    store.put(b"fresh")
    assert batch(store, 9) == (1, 0, [b"1", b"2"]), "3 has failed once"
    assert batch(store, 9) == (3, 1, [b"3"])
    assert batch(store, 9) == (4, 0, [b"4"]), "5 is elsewhere"
    assert batch(store, 9) == (6, 0, [b"6"])
    assert batch(store, 9) == (9, 0, [b"fresh"])


def test_what_returned_is_sent_in_batches_that_fit():
    store = make(*[b"x"] * 4)
    batch(store, 4)
    for seq in range(4):
        store.restore(stray(seq, bytes(7000)))
    assert len(batch(store, 1)[2]) == 1
    assert len(batch(store, 9)[2]) == 2
    assert len(batch(store, 9)[2]) == 1


def test_a_parcel_that_returned_is_alone():
    store = make(*[b"x"] * 3)
    batch(store, 3)
    payloads: list[Payload] = [b"a", parcel(), b"c"]
    for seq, payload in enumerate(payloads):
        store.restore(stray(seq, payload))
    assert [len(batch(store, 9)[2]) for _ in range(3)] == [1, 1, 1]


@given(
    st.lists(
        st.tuples(st.integers(0, 2500), st.sampled_from([0, 1, 8, 29, 200, 9000])),
        min_size=1,
        max_size=4,
    )
)
def test_every_batch_fits_into_a_frame(runs):
    store = make()
    for count, size in runs:
        store.put_many([bytes(size)] * count)
    while store.waiting:
        seq, attempts, payloads = batch(store, 1 << 30)
        assert seq + len(payloads) == store.head
        assert len(encode_items(seq, attempts, payloads)) <= MAX_FRAME  # type: ignore[arg-type]


def test_many_small_items_that_grow_fit_into_a_frame():
    # The lengths take room as well, four bytes for each of 2,048 items.
    store = make(*[bytes(8)] * 2176, *[bytes(29)] * 4096)
    assert len(batch(store, 1 << 30)[2]) == 128
    assert len(batch(store, 1 << 30)[2]) == 2048
    while store.waiting:
        seq, _, payloads = batch(store, 1 << 30)
        assert len(encode_items(seq, 0, payloads)) <= MAX_FRAME  # type: ignore[arg-type]
