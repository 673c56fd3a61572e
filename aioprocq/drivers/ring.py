"""Items that a peer puts in a burst, in memory that it shares with the hub.

A message costs a system call at both ends, and often wakes somebody. In a burst the
peer writes its items here instead, and sends a message, the bell, only when the hub
has said that it is about to sleep.

Invariants:

* The peer alone writes records, ``RING_TAIL`` and ``RUNG``; the hub alone
  ``RING_HEAD`` and ``BELL``. A record is whole before ``RING_TAIL`` says that it is
  there: what its writer's death leaves unfinished was never put.
* The hub sets ``BELL`` and then looks at ``RING_TAIL``; the peer sets ``RING_TAIL`` and
  then looks at ``BELL``. Both have a fence in between, so at least one of them notices.
* A bell rings once. Where it may have rung, ``heed`` is True, and the hub sets a new
  one before it sleeps: also when it rang for something that was taken already.
* A hub that was rung for may take its time, a millisecond at most, while ``LINGERS``
  is set. It is told again, whatever the bell says, of each batch that has gathered
  unread, and when a process is about to wait that has put something unread.
* What was put here after something that was sent in a message is marked with the
  number of items before it, and stays until so many have arrived. What was put here
  before a message is here when the message is read. So items arrive in their order.

The order of stores, which the first relies on, is what processors of the x86 family
guarantee. On others ``RINGS`` is False, and every item is a message.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from struct import Struct
from typing import Any

from ..errors import ProtocolError
from ..wire.frames import BATCH_BYTES
from ..wire.page import BELL, LINGERS, RING_HEAD, RING_TAIL, RUNG, Page

__all__ = [
    "RINGS",
    "RING_BYTES",
    "SHORT",
    "RingReader",
    "RingWriter",
    "write_of",
    "writes",
]

RING_BYTES = 1 << 17
MOST = RING_BYTES // 8
"""Bytes that are too many for an item to be written here."""

RINGS = os.uname().machine in ("x86_64", "amd64", "i686", "i386")

_MASK = RING_BYTES - 1
_LENGTH = Struct("<I")
_MARK = Struct("<IQ")
_SKIP, _AFTER = 0xFFFFFFFF, 0xFFFFFFFE
SHORT = 1024
"""Bytes from which an item is not written in one step."""

writes: list[Callable[..., None] | None] = [None] * SHORT
"""For each length that has occurred: what writes a record of it in one step."""

# And what reads a row of such records.
_ROW = 8
_rows: list[Callable[[bytes, int], tuple[Any, ...]] | None] = [None] * SHORT
_fence = threading.Lock()
"""Its operations are atomic ones, before which every store is visible to others."""


def _renew_fence() -> None:
    global _fence
    _fence = threading.Lock()  # a thread that is not in the child may have had it


os.register_at_fork(after_in_child=_renew_fence)


def write_of(length: int) -> Callable[..., None]:
    """What goes into ``writes``, at the first item of this length."""
    write = writes[length] = Struct(f"<I{length}s").pack_into
    return write


def _row_of(length: int) -> Callable[[bytes, int], tuple[Any, ...]]:
    row = _rows[length] = Struct("<" + f"I{length}s" * _ROW).unpack_from
    return row


class RingWriter:
    """The peer's side."""

    __slots__ = (
        "_page",
        "at",
        "broken_off",
        "lap",
        "limit",
        "memory",
        "rung",
        "urge_at",
    )

    def __init__(self, page: Page, memory: memoryview) -> None:
        self._page = page
        self.memory = memory
        #: Where in ``memory`` the next record goes, and what was written before that.
        self.at = self.lap = 0
        #: How far in ``memory`` there is room: short records that follow another one
        #: here, and end before that, are written by ``SyncQueue.put`` and
        #: ``PeerPutting.put`` themselves.
        self.limit = 0
        self.rung = 0  # the number of the bell that was rung last
        self.urge_at = BATCH_BYTES  # the tail from which on to look for the head
        self.broken_off = True  # what was put last is in a message

    @property
    def tail(self) -> int:
        """Bytes that were ever written here."""
        return self.lap + self.at

    def break_off(self) -> None:
        """Something was sent in a message, which the next record follows."""
        self.broken_off = True
        self.limit = 0

    def put(self, payload: bytes, before: int) -> bool:
        """Write one item, which follows ``before`` others; False: there is no room.

        See then whether to ring: after a fence, when the page's ``BELL`` is not
        ``rung``, or ``tail`` beyond ``urge_at``.
        """
        # A record is in one piece: at the beginning, if it does not fit at the end.
        if len(payload) >= MOST:
            return False
        record = _LENGTH.pack(len(payload)) + payload
        if self.broken_off:
            record = _MARK.pack(_AFTER, before) + record  # they may be on their way
        size, at, lap = len(record), self.at, self.lap
        if at + size > RING_BYTES:
            at, lap = 0, lap + RING_BYTES
        head = self._page[RING_HEAD]
        if lap + at + size - head > RING_BYTES:
            return False
        if lap != self.lap and self.at + 4 <= RING_BYTES:
            _LENGTH.pack_into(self.memory, self.at, _SKIP)
        self.memory[at : at + size] = record
        self.at, self.lap = at + size, lap
        self._page[RING_TAIL] = self.tail
        self.limit = min(0, head - lap) + RING_BYTES
        self.broken_off = False
        return True

    def must_ring(self) -> bool:
        """Whether the hub is to be told, once, that there is something."""
        bell = self._page[BELL]
        if bell == self.rung:
            return self._must_urge()
        self.rung = self._page[RUNG] = bell
        return True

    @property
    def lies_unread(self) -> bool:
        """Whether a hub that takes its time has not read all yet."""
        page = self._page
        return bool(page[LINGERS]) and page[RING_HEAD] != self.tail

    def _must_urge(self) -> bool:
        # The hub is awake, or will be soon; but a whole batch waits for it here.
        if self.tail < self.urge_at:
            return False
        head = self._page[RING_HEAD]
        unread = self.tail - head >= BATCH_BYTES
        self.urge_at = (self.tail if unread else head) + BATCH_BYTES
        return unread


class RingReader:
    """The hub's side."""

    __slots__ = ("_bell", "_head", "_lingers", "_memory", "_page", "held_up")

    def __init__(self, page: Page, memory: memoryview) -> None:
        self._page = page
        self._memory = memory
        self._head = self._bell = 0
        self._lingers = False
        self.held_up = False  # what is there follows something that has not come

    @property
    def waits(self) -> bool:
        """Whether something is there."""
        return self._page[RING_TAIL] != self._head

    def heed(self) -> bool:
        """Whether there is something to be done before the hub sleeps."""
        page = self._page
        return page[RING_TAIL] != self._head or page[RUNG] == self._bell

    def arm(self) -> bool:
        """Have the peer ring when it puts something; True: it has already."""
        self._bell += 1
        self._page[BELL] = self._bell
        with _fence:
            pass
        return self.waits and not self.held_up

    def linger(self, lingers: bool) -> None:
        """Say whether the hub takes its time."""
        if lingers != self._lingers:
            self._lingers = lingers
            self._page[LINGERS] = int(lingers)

    def take(self, arrived: int) -> list[bytes]:
        """All that is there and may be taken after so many items have arrived.

        Raises ProtocolError for what no peer writes.
        """
        tail, head = self._page[RING_TAIL], self._head
        if not 0 <= tail - head <= RING_BYTES:
            raise ProtocolError("a ring that is fuller than it can be")
        found: list[bytes] = []
        self.held_up = False
        while head < tail:
            at = head & _MASK
            end = min(RING_BYTES, at + tail - head)
            data = bytes(self._memory[at:end])
            used = self._split(data, found, arrived)
            if self.held_up:
                head += used
                break
            if used < len(data) and end < RING_BYTES:
                raise ProtocolError("a ring with half an item")
            head += len(data)  # with what was too short for one more at the end
        self._head = self._page[RING_HEAD] = head
        return found

    def _split(self, data: bytes, found: list[bytes], arrived: int) -> int:
        # Up to the end, to where the rest of a lap is skipped, or to where something
        # has to come first.
        at, size = 0, len(data)
        last, row_at = -1, 0
        unpack, append = _LENGTH.unpack_from, found.append
        while at + 4 <= size:
            (length,) = unpack(data, at)
            if length == last and length < SHORT and at >= row_at:
                # Likely, there are more of the same length.
                row_at = at + _ROW * (4 + length)
                if row_at <= size:
                    row = (_rows[length] or _row_of(length))(data, at)
                    if row[::2] == (length,) * _ROW:
                        found += row[1::2]
                        at = row_at
                        continue
            last = length
            if length >= MOST:
                if length == _SKIP:
                    return at
                at = self._pass_mark(data, at, arrived + len(found))
                if self.held_up:
                    return at
                continue
            start = at + 4
            at = start + length
            if at > size:
                raise ProtocolError("an item that is longer than its ring")
            append(data[start:at])
        return at

    def _pass_mark(self, data: bytes, at: int, arrived: int) -> int:
        if at + _MARK.size > len(data):
            raise ProtocolError("a ring with half a mark")
        mark, after = _MARK.unpack_from(data, at)
        if mark != _AFTER:
            raise ProtocolError("an item that is longer than its ring")
        self.held_up = after > arrived
        return at if self.held_up else at + _MARK.size
