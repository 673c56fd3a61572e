"""Large items: their bytes lie in a segment of shared memory.

Invariants:

* A segment is written by the process that puts, before anything is sent, and not
  again while anybody can see what was written; see ``pool``.
* It is never copied on its way: the hub passes its descriptor on.
* Consumers map it to read only: what one of them got, the others and a second
  delivery of the item get too.
* The kernel frees it when the last descriptor and the last mapping are gone,
  whoever has died meanwhile.
"""

from __future__ import annotations

import os
import pickle
import resource
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
from .mappings import Mappings, map_to_read
from .pool import AT_ONCE, SegmentPool, write_at
from .transport import MOST_DESCRIPTORS, exhausted, shared_memory

__all__ = ["build_parcel", "open_payload", "peek"]

_ALIGN = 64


def build_parcel(draft: Draft, pool: SegmentPool | None = None) -> Parcel:
    """Write what is large into a segment. OSError leaves nothing open.

    The segment is one of the pool's, if it has one for this.
    """
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
    segment, key = _write_segment(draft, pool)
    head = ParcelHead(None, len(draft.data), lengths, len(carried), key)
    return Parcel(encode_head(head), (segment, *carried), draft.size)


def _write_segment(draft: Draft, pool: SegmentPool | None) -> tuple[Descriptor, int]:
    places = _places(len(draft.data), [b.nbytes for b in draft.buffers])
    parts = list(zip(places, [memoryview(draft.data), *draft.buffers], strict=False))
    loan = pool.borrow(places[-1]) if pool is not None else None
    if loan is not None:
        segment, claim = loan
        segment.write(parts)
        return claim, segment.key
    own = Descriptor(shared_memory("segment", places[-1]))
    for at, part in parts:
        write_at(own.fileno(), at, part)
    return own, 0


def _places(first: int, lengths: Sequence[int]) -> list[int]:
    # Where the pickle and each buffer begin, and where the last one ends.
    places = [0]
    end = first
    for length in lengths:
        at = -(-end // _ALIGN) * _ALIGN
        places.append(at)
        end = at + length
    return [*places, end]


def open_payload(payload: Payload, mappings: Mappings | None = None) -> object:
    """Unpickle an item, with what lies behind its descriptors.

    Buffers are views to read only of the segment, which live as long as they do; or of
    a copy, once half of the descriptors that this process may have are in use.
    """
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
    view = _view(descriptors[0], places[-1], head.segment, mappings)
    buffers = [
        view[at : at + length]
        for at, length in zip(places[1:], head.buffers, strict=False)
    ]
    with unpacking(descriptors[1:]):
        return pickle.loads(view[: head.length], buffers=buffers)


def peek(payload: Payload, most: int) -> bytes:
    """The beginning of an item's pickle."""
    if not isinstance(payload, Parcel):
        return payload[:most]
    inline = decode_head(payload.head).inline
    if inline is not None:
        return inline[:most]
    return os.pread(payload.descriptors[0].fileno(), most, 0)


def _view(
    segment: Descriptor, size: int, key: int, mappings: Mappings | None
) -> memoryview:
    status = os.fstat(segment.fileno())
    if status.st_size < size:
        raise ProtocolError("a segment that is shorter than its head says")
    if _is_short(segment.fileno()):
        return memoryview(_copy(segment.fileno(), size)).toreadonly()
    if key and mappings is not None:
        view = mappings.view(
            segment, (status.st_dev, status.st_ino, key), status.st_size
        )
        # A segment that has grown is none of ours, but must not be cut short.
        if view is not None and view.nbytes >= size:
            return view
    try:
        # Such a mapping holds the claim, if the segment is one that is used again.
        return memoryview(map_to_read(segment.fileno(), size))
    except OSError as failure:
        if not exhausted(failure):
            raise
        # Before 3.13 a mapping keeps a descriptor of its own. The item has been
        # handed out, so it must not fail for that: copy it.
        return memoryview(_copy(segment.fileno(), size)).toreadonly()


def _is_short(number: int) -> bool:
    # The kernel gives the lowest number that is free: from this one on, more than half
    # of what this process may have is in use. Views would keep one each.
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most != resource.RLIM_INFINITY and number >= most // 2


def _copy(number: int, size: int) -> bytearray:
    copy = bytearray(size)
    view = memoryview(copy)
    done = 0
    while done < size:
        done += os.preadv(number, [view[done : done + AT_ONCE]], done)
    return copy
