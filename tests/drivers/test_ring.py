"""The ring of one peer: what was written is read, in order, however both go on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import MutableSequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aioprocq.drivers import ring as module
from aioprocq.drivers.ring import MOST, RING_BYTES, RingReader, RingWriter
from aioprocq.errors import ProtocolError
from aioprocq.wire.frames import BATCH_BYTES
from aioprocq.wire.page import BELL, RING_HEAD, RING_TAIL, new_page


class Pair:
    """Both sides of one ring."""

    def __init__(self) -> None:
        self.page: MutableSequence[int] = new_page()
        self.memory = memoryview(bytearray(RING_BYTES))
        self.writer = RingWriter(self.page, self.memory)
        self.writer.broken_off = False
        self.reader = RingReader(self.page, self.memory)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_what_was_written_is_read_once(pair: Pair) -> None:
    assert not pair.reader.waits
    assert pair.writer.put(b"one", 0)
    assert pair.writer.put(b"", 0)
    assert pair.reader.waits
    assert pair.reader.take(0) == [b"one", b""]
    assert not pair.reader.waits
    assert pair.reader.take(2) == []


def test_what_is_full_takes_nothing_until_it_was_read(pair: Pair) -> None:
    count = 0
    while pair.writer.put(b"x" * 1000, 0):
        count += 1
    assert count == RING_BYTES // 1004
    assert len(pair.reader.take(0)) == count
    assert pair.writer.put(b"y", 0)
    assert pair.reader.take(count) == [b"y"]


@pytest.mark.parametrize("read", [1, 60, 129])
def test_a_new_lap_ends_where_the_last_one_is_not_read_yet(
    pair: Pair, read: int
) -> None:
    texts = [b"%4d" % number * 250 for number in range(400)]
    for text in texts[:read]:
        assert pair.writer.put(text, 0)
    assert pair.reader.take(0) == texts[:read]
    count = read
    while pair.writer.put(texts[count], 0):
        count += 1
    assert (count - read) * 1004 > RING_BYTES - 2 * 1004
    assert pair.reader.take(read) == texts[read:count]


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 5, 250, 1023, 1024]), st.integers(1, 30)),
        max_size=12,
    )
)
def test_rows_of_one_length_come_out_as_they_went_in(
    rows: list[tuple[int, int]],
) -> None:
    pair = Pair()
    texts = [
        b"%c" % (number + at & 255) * length
        for at, (length, count) in enumerate(rows)
        for number in range(count)
    ]
    written = [text for text in texts if pair.writer.put(text, 0)]
    assert pair.reader.take(0) == written


def test_a_row_that_a_length_is_not_of(pair: Pair) -> None:
    for other in range(30):
        texts = [b"%3d" % at + b"!" * (at == other) for at in range(30)]
        assert all(pair.writer.put(text, 0) for text in texts)
        assert pair.reader.take(0) == texts


def test_what_is_too_large_is_not_for_the_ring(pair: Pair) -> None:
    assert not pair.writer.put(b"x" * MOST, 0)
    assert not pair.reader.waits


@pytest.mark.parametrize("left", range(10))
def test_a_record_is_in_one_piece_wherever_the_end_is(pair: Pair, left: int) -> None:
    size = RING_BYTES - left
    while size > 0:
        step = min(size, MOST)
        step = step if size == step or size - step >= 4 else step - 4
        assert pair.writer.put(b"x" * (step - 4), 0)
        assert pair.reader.take(0) == [b"x" * (step - 4)]
        size -= step
    assert pair.page[RING_HEAD] == RING_BYTES - left
    assert pair.writer.put(b"abcd", 0)
    assert pair.writer.put(b"", 0)
    assert pair.reader.take(0) == [b"abcd", b""]


def test_the_bell_is_rung_once_for_each_time_that_the_hub_asks(pair: Pair) -> None:
    pair.writer.put(b"a", 0)
    assert not pair.writer.must_ring(), "nobody listens yet: the dial says enough"
    assert pair.reader.arm(), "and there is something"
    assert pair.writer.must_ring()
    assert not pair.writer.must_ring()
    pair.reader.take(0)
    assert not pair.reader.arm()
    assert pair.page[BELL] == 2
    assert pair.writer.must_ring()


def test_the_hub_is_told_again_of_each_batch_that_gathers_unread(pair: Pair) -> None:
    def written(size: int) -> list[bool]:
        rung = []
        for _ in range(size // 1024):
            assert pair.writer.put(b"x" * 1020, 0)
            rung.append(pair.writer.must_ring())
        return rung

    assert written(3 * BATCH_BYTES).count(True) == 3
    pair.reader.take(0)
    assert written(BATCH_BYTES).count(True) == 1
    for _ in range(3 * BATCH_BYTES // 1024):
        pair.reader.take(0)
        assert written(1024) == [False], "it is read as fast as it comes"


def test_what_follows_something_that_was_sent_waits_for_it(pair: Pair) -> None:
    pair.writer.put(b"a", 0)
    pair.writer.break_off()
    pair.writer.put(b"c", 2)
    pair.writer.put(b"d", 0)
    assert pair.reader.take(0) == [b"a"]
    assert pair.reader.held_up
    assert pair.reader.waits
    assert not pair.reader.arm(), "the message wakes the hub"
    assert pair.reader.take(1) == []
    assert pair.reader.take(2) == [b"c", b"d"]
    assert not pair.reader.held_up


@pytest.mark.parametrize(
    ("tail", "memory"),
    [
        (RING_BYTES + 1, b""),
        (3, b""),
        (8, b"\5\0\0\0"),
        (8, module._LENGTH.pack(module._AFTER)),
        (8, module._LENGTH.pack(module._SKIP)),
    ],
    ids=["too full", "half a length", "half an item", "half a mark", "a skip"],
)
def test_what_no_peer_writes_is_a_breach(pair: Pair, tail: int, memory: bytes) -> None:
    pair.memory[: len(memory)] = memory
    pair.page[RING_TAIL] = tail
    with pytest.raises(ProtocolError):
        pair.reader.take(0)


sizes = st.sampled_from([0, 1, 2, 3, 500, 9000, MOST - 30])


BELL_FRAME = -1


class Traffic(RuleBasedStateMachine):
    """A peer that puts in the ring and in messages, and a hub that reads both.

    Each of them may stand still between any two steps of the other.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.put = self.arrived = 0
        self.lane: deque[tuple[int, bytes]] = deque()  # messages, and their numbers
        self.expected: deque[bytes] = deque()
        self.must_look = False  # the peer has put, and not looked at the bell
        self.looks_again = True  # the hub will, without being told

    # The peer

    def payload(self, size: int) -> bytes:
        data = self.put.to_bytes(8, "little") + b"x" * size
        self.put += 1
        self.expected.append(data)
        return data

    @precondition(lambda self: not self.must_look)
    @rule(size=sizes)
    def write(self, size: int) -> None:
        data = self.payload(size)
        if not self.pair.writer.put(data, self.put - 1):
            self.send(data)
            return
        self.must_look = True

    @precondition(lambda self: not self.must_look)
    @rule(size=sizes, count=st.integers(2, 40))
    def write_a_row(self, size: int, count: int) -> None:
        for _ in range(count):
            self.write(size)
            self.must_look = False  # as in a burst, where the bell is seldom due
        self.must_look = True

    @precondition(lambda self: self.must_look)
    @rule(lane_is_full=st.booleans())
    def look_at_the_bell(self, lane_is_full: bool) -> None:
        self.must_look = False
        if self.pair.writer.must_ring() and not (lane_is_full and self.lane):
            self.lane.append((BELL_FRAME, b""))

    def send(self, data: bytes) -> None:
        self.lane.append((self.put - 1, data))
        self.pair.writer.break_off()

    @precondition(lambda self: not self.must_look)
    @rule(size=st.integers(0, 3))
    def send_one(self, size: int) -> None:
        self.send(self.payload(size))

    # The hub

    def drain(self) -> bool:
        found = self.pair.reader.take(self.arrived)
        for data in found:
            self.arrive(data)
        return bool(found)

    def arrive(self, data: bytes) -> None:
        assert data == self.expected.popleft()
        self.arrived += 1

    @precondition(lambda self: self.lane)
    @rule()
    def read_message(self) -> None:
        number, data = self.lane.popleft()
        if self.pair.reader.heed():
            self.looks_again = True
            self.drain()
        if number != BELL_FRAME:
            assert number == self.arrived, "what is older was in the ring"
            self.arrive(data)
            self.drain()

    @precondition(lambda self: self.looks_again)
    @rule()
    def look_again(self) -> None:
        if not self.drain() and not self.pair.reader.arm():
            self.looks_again = False

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if not (self.lane or self.must_look or self.looks_again):
            assert not self.pair.reader.waits

    def teardown(self) -> None:
        if self.must_look:
            self.look_at_the_bell(lane_is_full=False)
        while self.lane or self.looks_again:
            self.read_message() if self.lane else self.look_again()
        assert not self.expected


test_traffic: Any = Traffic.TestCase


def test_a_forked_child_has_a_fence_that_nobody_is_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_fence", threading.Lock())
    with module._fence:
        module._renew_fence()
        assert not module._fence.locked()
