from __future__ import annotations

import errno
import fcntl
import mmap
import os
import pickle
import resource
from pickle import PickleBuffer
from typing import Any

import numpy
import pytest

import aioprocq
from aioprocq import ProtocolError
from aioprocq.drivers import mappings, pool, segment
from aioprocq.drivers.mappings import Mappings
from aioprocq.drivers.pool import SegmentPool
from aioprocq.drivers.segment import build_parcel, open_payload, peek
from aioprocq.drivers.transport import PORTABLE
from aioprocq.wire import payload
from aioprocq.wire.frames import INLINE_LIMIT, MAX_FRAME, encode_parcel
from aioprocq.wire.payload import (
    Descriptor,
    Draft,
    Parcel,
    ParcelHead,
    decode_head,
    encode_head,
    pack_item,
)
from tests.death.scarcity import scarce

from .stations import LARGE

recycling = pytest.mark.skipif(PORTABLE, reason="segments are used once there")
GET_SEALS, SHRINK, GROW, SEAL = 1034, 0x2, 0x4, 0x1


class Buffers:
    """An item whose buffers travel out of band, as those of an array do."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffers, tuple(PickleBuffer(part) for part in self.parts)


def build(item: object, pool: SegmentPool | None = None) -> Parcel:
    draft = pack_item(item)
    assert isinstance(draft, Draft)
    return build_parcel(draft, pool)


def address(view: Any) -> int:
    return int(numpy.frombuffer(view, dtype="uint8").ctypes.data)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_small_pickle_is_opened_as_it_is() -> None:
    assert open_payload(pickle.dumps([1, "two"])) == [1, "two"]


def test_a_long_pickle_lies_in_a_segment() -> None:
    item = "x" * LARGE
    parcel = build(item)
    head = decode_head(parcel.head)
    assert head == ParcelHead(None, len(pickle.dumps(item, 5)), (), 0)
    assert parcel.complete
    assert parcel.size == head.length > INLINE_LIMIT
    assert open_payload(parcel) == item


def test_the_beginning_of_a_pickle_can_be_looked_at() -> None:
    small = pickle.dumps([1, "two"])
    assert peek(small, 5) == small[:5]
    assert peek(small, 10**6) == small
    for item in ("x" * LARGE, Buffers(b"x" * LARGE)):
        whole = pickle.dumps(item, 5, buffer_callback=lambda _: None)
        parcel = build(item)
        assert peek(parcel, 40) == whole[:40]
        assert open_payload(parcel) is not None, "looking has moved nothing"


def test_the_beginning_of_a_small_pickle_with_a_queue_can_be_looked_at() -> None:
    queue: aioprocq.Queue[int] = aioprocq.Queue()
    parcel = build((17, queue))
    inline = decode_head(parcel.head).inline
    assert inline is not None
    assert peek(parcel, 8) == inline[:8]


def test_large_buffers_lie_in_the_segment_and_small_ones_in_the_pickle() -> None:
    one, small, two = b"1" * 40_000, b"s", b"2" * 50_000
    parcel = build(Buffers(one, small, two))
    assert decode_head(parcel.head).buffers == (40_000, 50_000)
    got: Any = open_payload(parcel)
    assert [bytes(part) for part in got.parts] == [one, small, two]
    assert parcel.size == decode_head(parcel.head).length + 90_000


def test_buffers_are_aligned_to_a_cache_line() -> None:
    lengths = [40_000, 40_001, 32_769, 32_768]
    got: Any = open_payload(build(Buffers(*map(bytearray, lengths))))
    assert [len(part) for part in got.parts] == lengths
    assert [address(part) % 64 for part in got.parts] == [0] * 4


def test_what_a_consumer_gets_is_to_be_read() -> None:
    parcel = build(Buffers(bytearray(b"a" * LARGE)))
    got: Any = open_payload(parcel)
    assert got.parts[0].readonly
    with pytest.raises(TypeError):
        got.parts[0][:5] = b"other"
    again: Any = open_payload(parcel)
    assert address(again.parts[0]) != address(got.parts[0])
    assert bytes(again.parts[0]) == b"a" * LARGE


def test_a_later_change_to_the_object_does_not_leak_in() -> None:
    data = bytearray(b"a" * LARGE)
    parcel = build(Buffers(data))
    data[:5] = b"other"
    got: Any = open_payload(parcel)
    assert bytes(got.parts[0]) == b"a" * LARGE


def test_an_item_outlives_the_descriptors_it_came_with() -> None:
    parcel = build(Buffers(bytearray(b"a" * LARGE)))
    got: Any = open_payload(parcel)
    before = descriptors()
    for one in parcel.descriptors:
        one.close()
    assert descriptors() == before - 1
    assert bytes(got.parts[0]) == b"a" * LARGE


@pytest.mark.skipif(PORTABLE, reason="there are no seals there")
def test_a_segment_has_its_final_size_and_is_sealed() -> None:
    parcel = build(Buffers(bytearray(LARGE)))
    number = parcel.descriptors[0].fileno()
    assert fcntl.fcntl(number, GET_SEALS) == SEAL | SHRINK | GROW
    with pytest.raises(PermissionError):
        os.truncate(number, 0)
    with pytest.raises(PermissionError):
        os.truncate(number, 1 << 20)


def test_a_segment_that_is_shorter_than_its_head_says_is_refused() -> None:
    parcel = build(Buffers(bytearray(LARGE)))
    head = decode_head(parcel.head)
    longer = ParcelHead(None, head.length, (1 << 40,), 0)
    bad = Parcel(encode_head(longer), parcel.descriptors, parcel.size)
    with pytest.raises(ProtocolError, match="shorter than its head says"):
        open_payload(bad)


def test_a_parcel_without_its_descriptors_is_refused() -> None:
    parcel = build("x" * LARGE)
    with pytest.raises(ProtocolError, match="without all of its descriptors"):
        open_payload(Parcel(parcel.head, (), parcel.size))


def test_a_queue_in_a_small_item_needs_no_segment() -> None:
    queue: Any = aioprocq.Queue(name="inner")
    parcel = build({"reply to": queue})
    head = decode_head(parcel.head)
    assert (head.inline is not None, head.carried, head.buffers) == (True, 2, ())
    assert len(parcel.descriptors) == 2
    got: Any = open_payload(parcel)
    assert got["reply to"].name == "inner"


def test_a_queue_in_a_large_item_comes_after_the_segment() -> None:
    queue: Any = aioprocq.Queue(name="inner")
    parcel = build([queue, "x" * LARGE])
    assert decode_head(parcel.head).carried == 2
    assert len(parcel.descriptors) == 3
    got: Any = open_payload(parcel)
    assert got[0].name == "inner"
    assert got[1] == "x" * LARGE


def test_a_parcel_has_descriptors_of_its_own() -> None:
    queue: Any = aioprocq.Queue()
    handle = queue._handle.station.handle()
    parcel = build([queue])
    mine = [d.fileno() for d in parcel.descriptors]
    assert not set(mine) & set(handle)
    assert [os.fstat(n).st_ino for n in mine] == [os.fstat(n).st_ino for n in handle]


def test_without_a_descriptor_to_spare_a_large_item_is_opened_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segment, "AT_ONCE", 10_001)  # where it is copied: in parts
    data = bytes(range(256)) * 400
    parcel = build(Buffers(bytearray(data)))
    with scarce(0):
        got: Any = open_payload(parcel)
    assert bytes(got.parts[0]) == data
    assert got.parts[0].readonly


@pytest.mark.parametrize("limit", [40, resource.RLIM_INFINITY])
def test_with_half_of_the_descriptors_in_use_a_large_item_is_copied(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """A view would keep one, for as long as somebody keeps what was got."""
    parcel = build(Buffers(bytearray(b"x" * LARGE)))
    high = fcntl.fcntl(parcel.descriptors[0].fileno(), fcntl.F_DUPFD_CLOEXEC, 20)
    moved = Parcel(parcel.head, (Descriptor(high),), parcel.size)
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _: (limit, limit))
        got: Any = open_payload(moved, Mappings())
    assert bytes(got.parts[0]) == b"x" * LARGE
    assert got.parts[0].readonly
    assert type(got.parts[0].obj) is (bytearray if limit == 40 else mmap.mmap)


def test_a_segment_that_cannot_be_mapped_otherwise_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_memory(*args: object, **named: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    parcel = build("x" * LARGE)
    monkeypatch.setattr(mappings.mmap, "mmap", no_memory)
    with pytest.raises(OSError, match="no memory"):
        open_payload(parcel)


def test_what_the_kernel_does_not_write_at_once_is_written_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "AT_ONCE", 10_001)
    data = bytes(range(256)) * 400
    got: Any = open_payload(build(Buffers(bytearray(data), bytearray(data[::-1]))))
    assert [bytes(part) for part in got.parts] == [data, data[::-1]]


def test_a_segment_that_cannot_be_written_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_space(*args: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "pwrite", no_space)
    draft = pack_item("x" * LARGE)
    before = descriptors()
    with pytest.raises(OSError, match="no space left"):
        build_parcel(draft)  # type: ignore[arg-type]  # it is a draft
    assert descriptors() == before


def test_a_segment_that_cannot_be_made_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_free(name: str, size: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(segment, "shared_memory", none_free)
    queue: Any = aioprocq.Queue()
    draft = pack_item([queue, "x" * LARGE])
    before = descriptors()
    with pytest.raises(OSError, match="too many open files"):
        build_parcel(draft)  # type: ignore[arg-type]  # it is a draft
    assert descriptors() == before, "the duplicates for the queue are closed"


def test_the_kernel_has_it_back_when_nobody_needs_it() -> None:
    before = descriptors()
    parcel = build("x" * LARGE)
    assert descriptors() == before + 1
    del parcel
    assert descriptors() == before


def test_an_item_that_does_not_unpickle_from_a_segment_raises_its_own_error() -> None:
    parcel = build("x" * LARGE)
    number = parcel.descriptors[0].fileno()
    os.pwrite(number, b"\xff" * 10, 0)
    with pytest.raises(pickle.UnpicklingError):
        open_payload(parcel)


def test_too_many_queues_in_one_item_are_refused_at_put() -> None:
    queue: Any = aioprocq.Queue()
    number = queue._handle.station.handle()[0]
    draft = Draft(b"x" * 10, (), [number] * 254)
    before = descriptors()
    with pytest.raises(ValueError, match="queues"):
        build_parcel(draft)
    assert descriptors() == before


def test_an_item_of_very_many_buffers_fits_into_a_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payload, "OUT_OF_BAND", 64)
    parcel = build(Buffers(*[bytearray(64)] * 8200))
    assert len(encode_parcel(0, 0, parcel.size, parcel.head)) <= MAX_FRAME
    got: Any = open_payload(parcel)
    assert len(got.parts) == 8200


@pytest.fixture
def kept() -> Any:
    """A pool and mappings, as a station has them."""
    pair = SegmentPool(), Mappings()
    yield pair
    for one in pair:
        one.close()


@recycling
def test_a_segment_is_used_again_when_the_last_view_is_gone(kept: Any) -> None:
    pool, mapped = kept
    parcel = build(Buffers(bytearray(b"a" * LARGE)), pool)
    key = decode_head(parcel.head).segment
    assert key
    got: Any = open_payload(parcel, mapped)
    place = address(got.parts[0])
    rest = got.parts[0][10:20]
    del parcel, got
    other = build(Buffers(bytearray(b"b" * LARGE)), pool)
    assert decode_head(other.head).segment != key, "a slice of the first still lives"
    assert bytes(rest) == b"a" * 10
    del rest
    third = build(Buffers(bytearray(b"c" * LARGE)), pool)
    assert decode_head(third.head).segment == key
    assert pool.statistics().reused == 1
    again: Any = open_payload(third, mapped)
    assert address(again.parts[0]) == place, "it was still mapped"
    assert bytes(again.parts[0]) == b"c" * LARGE
    assert bytes(open_payload(other, mapped).parts[0]) == b"b" * LARGE  # type: ignore[attr-defined]  # Buffers


@recycling
def test_an_array_is_a_view_to_read_only_and_keeps_its_segment(kept: Any) -> None:
    pool, mapped = kept
    got: Any = open_payload(build(numpy.arange(LARGE), pool), mapped)
    assert not got.flags.writeable
    assert not got.flags.owndata
    part = got[5:].reshape(-1, 1)[::7]
    del got
    build(numpy.zeros(LARGE, dtype=int), pool)
    assert pool.statistics().reused == 0
    assert numpy.array_equal(part[:, 0], numpy.arange(LARGE)[5::7])
    copy = part.copy()
    copy[:] = 0
    del part
    build(numpy.zeros(LARGE, dtype=int), pool)
    assert pool.statistics().reused == 1


@recycling
def test_without_mappings_a_view_keeps_its_segment_too(kept: Any) -> None:
    pool, _ = kept
    got: Any = open_payload(build(Buffers(bytearray(b"a" * LARGE)), pool))
    build(Buffers(bytearray(b"b" * LARGE)), pool)
    assert pool.statistics().reused == 0
    assert bytes(got.parts[0]) == b"a" * LARGE
    del got
    build(Buffers(bytearray(b"c" * LARGE)), pool)
    assert pool.statistics().reused == 1


@recycling
def test_without_a_descriptor_to_spare_a_segment_is_copied(kept: Any) -> None:
    pool, mapped = kept
    parcel = build(Buffers(bytearray(b"a" * LARGE)), pool)
    with scarce(0):
        got: Any = open_payload(parcel, mapped)
    assert bytes(got.parts[0]) == b"a" * LARGE
    assert len(mapped) == 0


@recycling
def test_a_long_pickle_lets_its_segment_go_at_once(kept: Any) -> None:
    pool, mapped = kept
    for number in range(5):
        assert open_payload(build(str(number) * LARGE, pool), mapped)
    assert pool.statistics().reused == 4
    assert len(mapped) == 1


@recycling
def test_a_segment_that_has_grown_is_not_cut_short(kept: Any) -> None:
    """Nobody of ours sends one: ours are sealed."""
    _, mapped = kept
    number = Descriptor(os.memfd_create("grows"))
    data = pickle.dumps(b"x" * LARGE, 5)
    for size in (LARGE, len(data)):
        os.pwrite(number.fileno(), data[:size], 0)
        head = encode_head(ParcelHead(None, size, (), 0, 7))
        parcel = Parcel(head, (number,), size)
        if size == LARGE:
            with pytest.raises(pickle.UnpicklingError):
                open_payload(parcel, mapped)
    assert open_payload(parcel, mapped) == b"x" * LARGE


@recycling
def test_a_fifo_for_a_segment_holds_nobody_up(kept: Any) -> None:
    _, mapped = kept
    ends = [Descriptor(number) for number in os.pipe()]
    parcel = Parcel(encode_head(ParcelHead(None, 0, (), 0, 7)), (ends[0],), 0)
    ends[1].close()
    with pytest.raises((OSError, ValueError)):
        open_payload(parcel, mapped)
