"""Large items: their bytes lie in a segment of shared memory of their own.

Invariants:

* A segment is written once, by the process that puts, before anything is sent.
* It is never copied on its way: the hub passes its descriptor on.
* Each consumer maps it privately. What it changes in an array that it got is
  its own business, and a second delivery of the item shows the original.
* The kernel frees it when the last descriptor and the last mapping are gone,
  whoever has died meanwhile.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from collections.abc import Sequence

from ..errors import ProtocolError
from ..wire.frames import INLINE_LIMIT
from ..wire.payload import (
    Descriptor,
    Draft,
    Parcel,
    ParcelHead,
    Payload,
    decode_head,
    encode_head,
    unpacking,
)
from .transport import MOST_DESCRIPTORS, exhausted, shared_memory

__all__ = ["build_parcel", "open_payload"]

_ALIGN = 64
_AT_ONCE = 1 << 30


def build_parcel(draft: Draft) -> Parcel:
    """Write what is large into a segment. OSError leaves nothing open."""
    if len(draft.carried) >= MOST_DESCRIPTORS:
        raise ValueError(
            f"an item with {len(draft.carried) // 2} queues in it needs more "
            f"descriptors than one message can carry ({MOST_DESCRIPTORS}); put it in "
            "several parts"
        )
    carried = [Descriptor(os.dup(number)) for number in draft.carried]
    lengths = tuple(buffer.nbytes for buffer in draft.buffers)
    if not draft.buffers and len(draft.data) <= INLINE_LIMIT:
        head = ParcelHead(draft.data, len(draft.data), (), len(carried))
        return Parcel(encode_head(head), tuple(carried), draft.size)
    segment = Descriptor(_write_segment(draft))
    head = ParcelHead(None, len(draft.data), lengths, len(carried))
    return Parcel(encode_head(head), (segment, *carried), draft.size)


def _write_segment(draft: Draft) -> int:
    places = _places(len(draft.data), [b.nbytes for b in draft.buffers])
    number = shared_memory("segment", places[-1])
    try:
        _write(number, 0, memoryview(draft.data))
        for at, part in zip(places[1:], draft.buffers, strict=False):
            _write(number, at, part)
    except BaseException:
        os.close(number)
        raise
    return number


def _write(number: int, at: int, part: memoryview) -> None:
    while part.nbytes:
        written = os.pwrite(number, part[:_AT_ONCE], at)
        part = part[written:]
        at += written


def _places(first: int, lengths: Sequence[int]) -> list[int]:
    # Where the pickle and each buffer begin, and where the last one ends.
    places = [0]
    end = first
    for length in lengths:
        at = -(-end // _ALIGN) * _ALIGN
        places.append(at)
        end = at + length
    return [*places, end]


def open_payload(payload: Payload) -> object:
    """Unpickle an item, with what lies behind its descriptors."""
    if not isinstance(payload, Parcel):
        return pickle.loads(payload)
    head = decode_head(payload.head)
    descriptors = payload.descriptors
    if not payload.complete:
        raise ProtocolError("a parcel without all of its descriptors")
    if head.inline is not None:
        with unpacking(descriptors):
            return pickle.loads(head.inline)
    places = _places(head.length, head.buffers)
    if os.fstat(descriptors[0].fileno()).st_size < places[-1]:
        raise ProtocolError("a segment that is shorter than its head says")
    view = memoryview(_map(descriptors[0].fileno(), places[-1]))
    buffers = [
        view[at : at + length]
        for at, length in zip(places[1:], head.buffers, strict=False)
    ]
    with unpacking(descriptors[1:]):
        return pickle.loads(view[: head.length], buffers=buffers)


def _map(number: int, size: int) -> mmap.mmap | bytearray:
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        if sys.version_info >= (3, 13):
            return mmap.mmap(number, size, mmap.MAP_PRIVATE, prot, trackfd=False)
        return mmap.mmap(number, size, mmap.MAP_PRIVATE, prot)
    except OSError as failure:
        if not exhausted(failure):
            raise
        # Before 3.13 a mapping keeps a descriptor of its own. The item has been
        # handed out, so it must not fail for that: copy it.
        return _copy(number, size)


def _copy(number: int, size: int) -> bytearray:
    copy = bytearray(size)
    view = memoryview(copy)
    done = 0
    while done < size:
        done += os.preadv(number, [view[done : done + _AT_ONCE]], done)
    return copy
