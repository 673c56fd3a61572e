"""The segments that a process uses again for the large items that it puts.

Invariants:

* An item takes along a *claim*: an open file description of its segment with an
  exclusive flock, made for this item only. The copies of it are in messages, in
  the hub, under the views that a consumer has, and in children forked from any of
  these; the kernel drops the lock with the last copy, whoever dies.
* A segment is written only between the moment at which a new claim got the lock and
  the moment at which that claim is sent. Nobody ever unlocks one.
* Nothing that is kept, here or in a consumer's mappings, holds a claim.
* Whatever fails, here or in the kernel, the item gets a segment of its own.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading

from ..machines.recycling import Shelf, ShelfStatistics, capacity_for
from ..wire.payload import Descriptor
from .transport import PORTABLE, exhausted, reopen, shared_memory

__all__ = ["AT_ONCE", "Segment", "SegmentPool", "write_at"]

AT_ONCE = 1 << 30
_SLICE = 4 << 20
_MOST = 16
_MOST_BYTES = 256 << 20
_PATIENCE = 256
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, from Linux 5.14 on


class Segment:
    """Shared memory that one process writes, again and again."""

    __slots__ = ("_claim", "_number", "_reused", "_view", "capacity", "key")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.key = int.from_bytes(os.urandom(8), "little") | 1
        self._number = Descriptor(shared_memory("segment", capacity))
        self._claim: Descriptor | None = None
        self._view: memoryview | None = None
        self._reused = False

    def fileno(self) -> int:
        """The descriptor that this keeps; it is no claim."""
        return self._number.fileno()

    def ask(self) -> bool:
        """Whether nobody can see it: from then on this holds a claim."""
        if self._claim is None:
            self._claim = Descriptor(reopen(self._number.fileno()))
        return _lock(self._claim)

    def take_claim(self) -> Descriptor:
        """The claim that this holds; it goes with the item."""
        claim, self._claim = self._claim, None
        if claim is None:
            raise RuntimeError("a segment was lent that nobody has asked about")
        return claim

    def write(self, parts: list[tuple[int, memoryview]]) -> None:
        """Write parts at their places; for who has the claim."""
        # Fresh pages come cheapest from the kernel; those that are there already
        # are written without it.
        if self._reused and self._view is None:
            self._map(max(at + part.nbytes for at, part in parts))
        self._reused = True
        for at, part in parts:
            if self._view is None:
                write_at(self._number.fileno(), at, part)
            else:
                _copy_into(self._view, at, part)

    def _map(self, size: int) -> None:
        try:
            mapping = mmap.mmap(self._number.fileno(), self.capacity)
        except OSError:
            return  # no descriptor is free for it; there is another way to write
        try:
            mapping.madvise(_POPULATE_WRITE, 0, size)
        except OSError:
            pass  # an older kernel: the pages are found one by one
        self._view = memoryview(mapping)


def _lock(claim: Descriptor) -> bool:
    try:
        fcntl.flock(claim.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _copy_into(view: memoryview, at: int, part: memoryview) -> None:
    # In slices, between which other threads have their turn.
    for start in range(0, part.nbytes, _SLICE):
        piece = part[start : start + _SLICE]
        view[at + start : at + start + piece.nbytes] = piece


def write_at(number: int, at: int, part: memoryview) -> None:
    """Write all of a part into a segment."""
    while part.nbytes:
        written = os.pwrite(number, part[:AT_ONCE], at)
        part = part[written:]
        at += written


class SegmentPool:
    """The segments of one process for one queue; any thread may borrow."""

    __slots__ = ("_lock", "_segments", "_shelf", "_works", "closed")

    def __init__(
        self,
        *,
        most: int = _MOST,
        most_bytes: int = _MOST_BYTES,
        patience: int = _PATIENCE,
    ) -> None:
        self._shelf = Shelf(most=most, most_bytes=most_bytes, patience=patience)
        self._segments: dict[int, Segment] = {}
        self._lock = threading.Lock()
        self._works: bool | None = False if PORTABLE else None  # None: not tried
        self.closed = False

    def __repr__(self) -> str:
        return f"<segment pool {self._shelf!r}{' closed' * self.closed}>"

    @property
    def busy(self) -> bool:
        """Whether some thread is in the middle of something here."""
        return self._lock.locked()

    def statistics(self) -> ShelfStatistics:
        """The figures of this moment."""
        with self._lock:
            return self._shelf.statistics()

    def borrow(self, size: int) -> tuple[Segment, Descriptor] | None:
        """A segment that nobody sees, and its claim; None: make one of your own."""
        with self._lock:
            if self.closed or self._works is False:
                return None
            try:
                return self._borrow(size)
            except OSError as failure:
                # Whatever it is that is short, this keeps some of it.
                self._shelf.give_up_all()
                if self._works is None and not exhausted(failure):
                    self._works = False
                return None
            finally:
                self._drop()

    def close(self) -> None:
        """Keep nothing; what was lent lives on with those who have it."""
        with self._lock:
            self.closed = True
            self._shelf.give_up_all()
            self._drop()

    def _borrow(self, size: int) -> tuple[Segment, Descriptor] | None:
        shelf = self._shelf
        shelf.begin()
        number = shelf.lend(size)
        if number is None and self._find(shelf.suspects(size)):
            number = shelf.lend(size)
        if number is None:
            number = self._admit(capacity_for(size))
        if number is None:
            return None
        segment = self._segments[number]
        return segment, segment.take_claim()

    def _find(self, suspects: list[int]) -> bool:
        for number in suspects:
            if self._segments[number].ask():
                self._shelf.came_back(number)
                return True
        return False

    def _admit(self, capacity: int) -> int | None:
        shelf = self._shelf
        while not shelf.has_room(capacity):
            if not self._find(shelf.suspects()):
                return None
        segment = Segment(capacity)
        if not segment.ask() or not self._locks(segment):
            return None
        number = shelf.admit(capacity)
        self._segments[number] = segment
        return number

    def _locks(self, segment: Segment) -> bool:
        # Where opening by /proc is no more than a dup, as in some sandboxes, or
        # where locks are not kept, a claim would prove nothing.
        if self._works is None:
            second = Descriptor(reopen(segment.fileno()))
            self._works = not _lock(second)
        return self._works

    def _drop(self) -> None:
        for number in self._shelf.given_up:
            self._segments.pop(number, None)
        self._shelf.given_up.clear()
