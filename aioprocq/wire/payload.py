"""Items as bytes: pickled at ``put``, unpickled where they are handed out.

Invariants:

* A payload is either ``bytes``, a pickle that fits in a frame, or a ``Parcel``.
* The first byte of a pickle is 0x80, that of a parcel's head is 0.
* Pickling a queue works only inside ``packing()``, unpickling one only inside
  ``unpacking()``: that is where descriptors are carried along.
* A descriptor has one owner, a ``Descriptor``, and is closed with it.

The fast path does not collect: an item that turns out to be large, or has a queue in
it, is rare and pickled again, with everything collected. Where there may be large
buffers, ``expected.buffers``, pickle is given a callback that raises before it has
copied one; elsewhere nobody pays for that possibility.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import PickleBuffer
from struct import Struct, error, pack, unpack_from
from typing import Any, TypeAlias

from ..errors import CannotTravel, ProtocolError
from .frames import INLINE_LIMIT

__all__ = [
    "MOST_BUFFERS",
    "OUT_OF_BAND",
    "Descriptor",
    "Draft",
    "Parcel",
    "ParcelHead",
    "Payload",
    "carry",
    "decode_head",
    "dumps",
    "encode_head",
    "escalate",
    "expected",
    "pack_item",
    "receive_carried",
    "size_of",
    "unpacking",
]

OUT_OF_BAND = 32768
"""Bytes from which a buffer travels in a segment instead of in the pickle."""

MOST_BUFFERS = 4096
"""Buffers of one item that travel out of band; its head has to fit in a frame."""

_HEAD = Struct("<BQIIQ")
_HUGE = 1 << 40

dumps = pickle.dumps


class Expectations:
    """What the items are like that this process puts."""

    __slots__ = ("buffers",)

    def __init__(self) -> None:
        self.buffers = False
        """Whether some have large buffers; once it is true it remains so."""

    def look(self) -> None:
        """Expect large buffers of what has been imported, before one has come."""
        self.buffers |= "numpy" in sys.modules


expected = Expectations()


class Descriptor:
    """Owns one file descriptor, and closes it when nobody needs it any more."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """The descriptor's number; it stays with this object."""
        return self.number

    def detach(self) -> int:
        """Give the descriptor away; the caller closes it."""
        number, self.number = self.number, -1
        return number

    def close(self) -> None:
        """Close the descriptor, once."""
        if self.number >= 0:
            os.close(self.detach())

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Parcel:
    """An item of which a part is behind descriptors."""

    head: bytes
    descriptors: tuple[Descriptor, ...]
    size: int

    def __len__(self) -> int:
        # So long that no batch has room for it: parcels travel alone, and the
        # sum of a batch's lengths is the one test that finds them.
        return _HUGE

    @property
    def complete(self) -> bool:
        """Whether all of its descriptors have come with it."""
        head = decode_head(self.head)
        return len(self.descriptors) == head.carried + (head.inline is None)


Payload: TypeAlias = "bytes | Parcel"


@dataclass(frozen=True, slots=True)
class Draft:
    """A pickled item before its large parts have been put into a segment."""

    data: bytes
    buffers: Sequence[memoryview]
    carried: Sequence[int]

    @property
    def size(self) -> int:
        """Bytes of the pickle and of its buffers."""
        return len(self.data) + sum(b.nbytes for b in self.buffers)


@dataclass(frozen=True, slots=True)
class ParcelHead:
    """What a parcel's segment contains; ``inline`` when it has none.

    ``segment`` names one that is used again, and is 0 for one that is not.
    """

    inline: bytes | None
    length: int
    buffers: tuple[int, ...]
    carried: int
    segment: int = 0


def size_of(payload: Payload) -> int:
    """Bytes of an item as ``max_bytes`` counts them."""
    return payload.size if isinstance(payload, Parcel) else len(payload)


def encode_head(head: ParcelHead) -> bytes:
    """A parcel's head as bytes."""
    count = len(head.buffers)
    flags = head.carried << 1 | (head.inline is None)
    start = _HEAD.pack(0, head.length, count, flags, head.segment)
    return start + pack(f"<{count}Q", *head.buffers) + (head.inline or b"")


def decode_head(data: bytes) -> ParcelHead:
    """A parcel's head from bytes; ProtocolError when it is none."""
    try:
        zero, length, count, flags, segment = _HEAD.unpack_from(data)
        buffers = unpack_from(f"<{count}Q", data, _HEAD.size)
    except error:
        raise ProtocolError("the head of a parcel is cut short") from None
    if zero:
        raise ProtocolError("the head of a parcel does not begin like one")
    inline = None if flags & 1 else data[_HEAD.size + 8 * count :]
    return ParcelHead(inline, length, buffers, flags >> 1, segment)


class _Luggage(threading.local):
    """What the pickle that this thread is making, or reading, takes along."""

    outgoing: list[int] | None = None
    incoming: Sequence[Descriptor] | None = None


_luggage = _Luggage()


def carry(descriptors: Sequence[int]) -> list[int] | None:
    """Let the pickle being made take descriptors along: their places in it.

    None when no pickle of this library is being made in this thread.
    """
    outgoing = _luggage.outgoing
    if outgoing is None:
        return None
    first = len(outgoing)
    outgoing.extend(descriptors)
    return list(range(first, len(outgoing)))


def receive_carried(place: int) -> int:
    """A descriptor of one's own, from a place that ``carry`` gave."""
    if _luggage.incoming is None:
        raise CannotTravel(
            "a queue was unpickled outside of an aioprocq queue; hand it to the "
            "process as an argument, or send it through a queue of aioprocq"
        )
    return os.dup(_luggage.incoming[place].fileno())


@contextmanager
def unpacking(carried: Sequence[Descriptor]) -> Iterator[None]:
    """While this lasts, queues in what this thread unpickles find descriptors."""
    before, _luggage.incoming = _luggage.incoming, carried
    try:
        yield
    finally:
        _luggage.incoming = before


class _Escalation(Exception):
    """The item needs the full treatment; never seen by users."""


def escalate(buffer: PickleBuffer) -> bool:
    """Buffer callback of the fast path: small ones stay in the pickle."""
    try:
        if buffer.raw().nbytes < OUT_OF_BAND:
            return True
    except BufferError:  # not contiguous: pickle copies it, whatever its size
        return True
    raise _Escalation


def pack_item(item: object, parts: Sequence[str] = ()) -> bytes | Draft:
    """Pickle an item, with buffers and queues in it set apart.

    Raises what the pickler raises, with the path to the part that does not pickle in
    a note; ``parts`` says how that calls the parts of a tuple of ours.
    """
    try:
        data = dumps(item, 5, buffer_callback=escalate)
    except (_Escalation, CannotTravel):
        return _pack_in_full(item, parts)
    except Exception as failure:
        _explain(failure, item, parts)
        raise
    return data if len(data) <= INLINE_LIMIT else Draft(data, (), ())


def _pack_in_full(item: object, parts: Sequence[str]) -> Draft:
    buffers: list[memoryview] = []

    def collect(buffer: PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True
        if raw.nbytes < OUT_OF_BAND or len(buffers) == MOST_BUFFERS:
            return True
        buffers.append(raw)
        return False

    before, _luggage.outgoing = _luggage.outgoing, []
    try:
        data = dumps(item, 5, buffer_callback=collect)
        expected.buffers |= bool(buffers)
        return Draft(data, buffers, _luggage.outgoing)
    except Exception as failure:
        _explain(failure, item, parts)
        raise
    finally:
        _luggage.outgoing = before


def _explain(failure: Exception, item: Any, parts: Sequence[str]) -> None:
    whole = type(item).__name__
    named = zip(parts, item, strict=False) if parts else [(whole, item)]
    path = next((_find_culprit(p, n) for n, p in named if not _pickles(p)), whole)
    failure.add_note(
        f"aioprocq: {path} cannot be pickled, so nothing was sent; "
        "leave that part out, or give its class a __reduce__ or __getstate__"
    )


def _find_culprit(item: Any, path: str, depth: int = 12) -> str:
    if depth:
        for name, part in _parts(item):
            if not _pickles(part):
                return _find_culprit(part, path + name, depth - 1)
    return path


def _pickles(part: object) -> bool:
    try:
        dumps(part, 5)
    except CannotTravel:
        return True
    except Exception:
        return False
    return True


def _parts(item: Any) -> Iterator[tuple[str, object]]:
    if isinstance(item, dict):
        yield from ((f"[{key!r}]", value) for key, value in item.items())
        yield from ((f" key {key!r}", key) for key in item)
    elif isinstance(item, (list, tuple)):
        yield from ((f"[{at}]", part) for at, part in enumerate(item))
    elif isinstance(item, (set, frozenset)):
        yield from ((f" member {part!r}", part) for part in item)
    elif not isinstance(item, type):
        for name, part in getattr(item, "__dict__", {}).items():
            yield f".{name}", part
        for name in _slots(type(item)):
            if hasattr(item, name):
                yield f".{name}", getattr(item, name)


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
