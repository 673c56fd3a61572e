from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aioprocq.drivers import pool as module
from aioprocq.drivers.pool import Segment, SegmentPool, write_at
from aioprocq.drivers.transport import (
    PORTABLE,
    make_lane,
    receive_loaded,
    reopen,
    send_loaded,
)
from aioprocq.wire.payload import Descriptor
from tests.death.scarcity import scarce

from .stations import LARGE

pytestmark = pytest.mark.skipif(PORTABLE, reason="segments are used once there")

MIB = 1 << 20


@pytest.fixture
def make() -> Iterator[Callable[..., SegmentPool]]:
    made: list[SegmentPool] = []

    def build(**changes: int) -> SegmentPool:
        made.append(SegmentPool(**changes))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def lane() -> Iterator[Any]:
    ends = make_lane()
    yield ends
    for end in ends:
        end.close()


def borrow(pool: SegmentPool, size: int = LARGE) -> tuple[Segment, Descriptor]:
    loan = pool.borrow(size)
    assert loan is not None
    return loan


def contents(claim: Descriptor, size: int, at: int = 0) -> bytes:
    return os.pread(claim.fileno(), size, at)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_segment_comes_back_with_its_claim(make: Any) -> None:
    pool = make()
    first, claim = borrow(pool)
    second, _other = borrow(pool)
    assert first is not second
    claim.close()
    assert borrow(pool)[0] is first
    assert pool.statistics().reused == 1
    assert repr(pool) == (
        f"<segment pool <shelf idle=0 lent=2 bytes={2 * first.capacity} reused=1/3>>"
    )


def test_each_copy_of_a_claim_holds(make: Any) -> None:
    pool = make()
    first, claim = borrow(pool)
    copy = Descriptor(os.dup(claim.fileno()))
    claim.close()
    second, _other = borrow(pool)
    assert second is not first
    copy.close()
    assert borrow(pool)[0] is first


def test_a_claim_in_an_unread_message_holds(make: Any, lane: Any) -> None:
    pool = make()
    receiver, sender = lane
    first, claim = borrow(pool)
    send_loaded(sender, b"x", [claim.fileno()])
    claim.close()
    second, _other = borrow(pool)
    assert second is not first
    _, received = receive_loaded(receiver)
    third, _more = borrow(pool)
    assert third is not first
    received[0].close()
    assert borrow(pool)[0] is first


def test_a_claim_in_a_message_that_nobody_will_read_does_not(
    make: Any, lane: Any
) -> None:
    pool = make()
    receiver, sender = lane
    first, claim = borrow(pool)
    send_loaded(sender, b"x", [claim.fileno()])
    claim.close()
    receiver.close()
    assert borrow(pool)[0] is first


def test_a_claim_in_a_child_holds_until_it_dies(make: Any) -> None:
    pool = make()
    first, claim = borrow(pool)
    number = claim.fileno()
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[number]
    )
    try:
        claim.close()
        assert borrow(pool)[0] is not first
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert borrow(pool)[0] is first


def test_what_is_written_lies_at_its_places_fresh_or_used_again(make: Any) -> None:
    pool = make()
    for letter in (b"a", b"b", b"c"):
        segment, claim = borrow(pool)
        parts = [(0, memoryview(letter * 100)), (128, memoryview(letter * 40_000))]
        segment.write(parts)
        assert contents(claim, 100) == letter * 100
        assert contents(claim, 40_000, 128) == letter * 40_000
        claim.close()
    assert pool.statistics().reused == 2


def test_much_is_written_in_slices(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLICE", 1000)
    pool = make()
    data = os.urandom(LARGE)
    for _ in range(2):
        segment, claim = borrow(pool)
        segment.write([(0, memoryview(data))])
        assert contents(claim, LARGE) == data
        claim.close()


def test_a_kernel_that_cannot_find_pages_ahead_is_no_hindrance(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_POPULATE_WRITE", 12345)
    test_what_is_written_lies_at_its_places_fresh_or_used_again(make)


def test_without_a_descriptor_for_a_mapping_it_is_written_through_the_kernel(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_free(*args: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(module.mmap, "mmap", none_free)
    test_what_is_written_lies_at_its_places_fresh_or_used_again(make)


def test_a_claim_cannot_be_written_through(make: Any) -> None:
    _segment, claim = borrow(make())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(claim.fileno(), b"x", 0)


def test_keys_differ_and_are_never_zero(make: Any) -> None:
    pool = make()
    loans = [borrow(pool) for _ in range(16)]
    keys = {segment.key for segment, _ in loans}
    assert len(keys) == 16
    assert 0 not in keys


def test_there_are_so_many_and_no_more(make: Any) -> None:
    pool = make(most=2)
    before = descriptors()
    loans = [borrow(pool), borrow(pool)]
    assert pool.borrow(LARGE) is None
    assert pool.borrow(10 * LARGE) is None
    assert descriptors() - before == 2 * 2 + 2, "also the claims asked for meanwhile"
    loans.pop()
    assert pool.borrow(10 * LARGE) is not None, "the one that came back made room"
    assert pool.statistics().reused == 0


def test_there_are_so_many_bytes_and_no_more(make: Any) -> None:
    pool = make(most_bytes=3 * MIB)
    first, _claim = borrow(pool, 2 * MIB)
    assert pool.borrow(2 * MIB) is None
    assert pool.borrow(4 * MIB) is None
    assert borrow(pool, MIB)[0] is not first


def test_what_is_held_for_ever_is_given_up(make: Any) -> None:
    pool = make(most=1, patience=5)
    held = borrow(pool)
    assert [pool.borrow(LARGE) for _ in range(5)] == [None] * 5
    other, claim = borrow(pool)
    assert other is not held[0]
    assert claim.fileno() != held[1].fileno()


def test_a_pool_that_is_closed_keeps_and_lends_nothing(make: Any) -> None:
    before = descriptors()
    pool = make()
    segment, claim = borrow(pool)
    segment.write([(0, memoryview(b"still here"))])
    del segment
    borrow(pool)
    pool.close()
    assert pool.borrow(LARGE) is None
    assert repr(pool).endswith(" closed>")
    assert contents(claim, 10) == b"still here"
    claim.close()
    assert descriptors() == before


def test_without_a_descriptor_to_spare_it_keeps_nothing(make: Any) -> None:
    pool = make()
    before = descriptors()
    segment, claim = borrow(pool)
    with scarce(0):
        assert pool.borrow(LARGE) is None
    del segment
    assert descriptors() == before + 1
    assert pool.statistics().kept_bytes == 0
    claim.close()
    assert pool.borrow(LARGE) is not None


@pytest.mark.parametrize("reopened", [os.dup, None])
def test_where_a_claim_proves_nothing_there_are_none(
    make: Any, monkeypatch: pytest.MonkeyPatch, reopened: Any
) -> None:
    """As in a sandbox whose /proc only duplicates, or that has no /proc."""

    def none(number: int) -> int:
        raise FileNotFoundError(errno.ENOENT, "no /proc")

    monkeypatch.setattr(module, "reopen", reopened or none)
    pool = make()
    before = descriptors()
    assert pool.borrow(LARGE) is None
    monkeypatch.setattr(module, "Segment", None)
    assert pool.borrow(LARGE) is None, "it is not even tried again"
    assert descriptors() == before


def test_a_segment_is_lent_only_with_a_claim() -> None:
    with pytest.raises(RuntimeError, match="nobody has asked"):
        Segment(LARGE).take_claim()


def test_locks_are_of_the_description_and_not_of_the_process() -> None:
    segment = Segment(LARGE)
    assert segment.ask()
    claim = segment.take_claim()
    assert not segment.ask()
    assert Descriptor(reopen(segment.fileno())).fileno() != segment.fileno()
    claim.close()
    assert segment.ask()


def test_many_threads_never_have_the_same_segment_at_once(make: Any) -> None:
    pool = make(most=3)
    wrong: list[str] = []

    def work(letter: bytes) -> None:
        for _ in range(300):
            loan = pool.borrow(LARGE)
            if loan is None:
                continue
            segment, claim = loan
            segment.write([(0, memoryview(letter * LARGE))])
            if set(contents(claim, LARGE)) != set(letter):
                wrong.append("somebody else wrote there")
            claim.close()

    threads = [threading.Thread(target=work, args=(b"%d" % n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.statistics().reused > 0


def test_writing_into_nothing_fails() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_at(-1, 0, memoryview(b"x"))
