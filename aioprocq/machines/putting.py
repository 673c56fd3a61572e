"""The putting half of a peer.

Invariants:

* ``put`` is announced in the page before an item is sent; nothing is sent
  beyond the room that the page showed after that.
* A putter waits for room, and has asked for it, or for a lane that is full.
"""

from __future__ import annotations

from collections import deque

from ..wire import frames as wire
from ..wire.frames import Kind
from ..wire.page import (
    PUT,
    PUT_BYTES,
    ROOM,
    ROOM_BYTES,
    Page,
)
from .record import Waiter

__all__ = ["Putting"]


class Putting:
    """What one process knows of the room in a queue that another owns."""

    __slots__ = (
        "_asked",
        "_coming",
        "lane_full",
        "outbox",
        "page",
        "put",
        "put_bytes",
        "putters",
        "sized",
        "woken",
    )

    def __init__(self, page: Page, *, sized: bool) -> None:
        self.page = page
        self.sized = sized  # whether the queue is bounded in bytes
        self.put = self.put_bytes = 0
        self.outbox: deque[bytes] = deque()
        self.putters: deque[Waiter] = deque()
        self._asked = 0  # the items up to which room was asked for last
        self._coming: dict[Waiter, int] = {}  # woken, and not seen since
        self.woken: list[Waiter] = []
        self.lane_full = False  # what was put last did not go into it

    def begin_put(self, count: int, size: int) -> int:
        """Announce that items are about to be sent: how many there is room for.

        ``size`` is the size of the first, or of all where that does not matter.
        """
        page = self.page
        put = self.put + count
        page[PUT] = put
        if self.sized:
            page[PUT_BYTES] = self.put_bytes + size
        room = page[ROOM]
        if put > room or (self.sized and self.put_bytes + size > page[ROOM_BYTES]):
            count = 0 if self.sized else max(0, min(count, room - self.put))
            size = size if count else 0
        self.put += count
        self.put_bytes += size
        page[PUT] = self.put
        if self.sized:
            page[PUT_BYTES] = self.put_bytes
        return count

    def begin_one(self) -> bool:
        """``begin_put`` for one item of a queue that is not bounded in bytes."""
        page = self.page
        put = self.put + 1
        page[PUT] = put
        if put > page[ROOM]:
            page[PUT] = put - 1
            return False
        self.put = put
        return True

    def take_back_put(self, count: int, size: int) -> None:
        """The items announced last could not be sent."""
        self.put -= count
        self.put_bytes -= size
        self.page[PUT] = self.put
        if self.sized:
            self.page[PUT_BYTES] = self.put_bytes

    def wait_to_put(self, waiter: Waiter) -> None:
        """Let a putter wait for room, or for the lane while that is full."""
        self.putters.append(waiter)
        if not self.has_room(waiter.size):
            self._ask_for_room()
        elif not self.lane_full:
            self.pass_room_on()

    def has_room(self, size: int) -> bool:
        """Whether one item of ``size`` bytes may be put now."""
        page = self.page
        if self.put >= page[ROOM]:
            return False
        return not self.sized or self.put_bytes + size <= page[ROOM_BYTES]

    def come(self, waiter: Waiter) -> None:
        """A putter that was woken is about to put."""
        waiter.woken = False
        self._coming.pop(waiter, None)

    def stop_putting(self, waiter: Waiter) -> None:
        """The putter has put, or waits no longer."""
        self.come(waiter)
        if waiter in self.putters:
            self.putters.remove(waiter)
            self._ask_for_room()

    def ask_room_for(self, size: int) -> None:
        """A put of ``size`` bytes that does not wait found no room: ask for some."""
        if not self.putters:
            self._post_need(self._claimed() + 1, self._claimed_bytes() + size)

    def _claimed(self) -> int:
        return self.put + len(self._coming)

    def _claimed_bytes(self) -> int:
        return self.put_bytes + sum(self._coming.values())

    def _ask_for_room(self) -> None:
        if self.putters:
            upto = self._claimed() + len(self.putters)
            self._post_need(upto, self._claimed_bytes() + self.putters[0].size)
        else:
            self._post_need(0, 0)

    def _post_need(self, upto: int, upto_bytes: int) -> None:
        self._asked = upto
        need = wire.encode_need(upto, upto_bytes if self.sized else 0)
        # While the lane is full, the latest says it all.
        for at, data in enumerate(self.outbox):
            if data[-1] == Kind.NEED:
                self.outbox[at] = need
                return
        self.outbox.append(need)

    def pass_room_on(self) -> None:
        """Wake putters for the room that is left, or ask for more."""
        self.lane_full = False
        free = self.page[ROOM] - self._claimed()
        free_bytes = self.page[ROOM_BYTES] - self._claimed_bytes()
        while self.putters and free > 0:
            if self.sized:
                free_bytes -= self.putters[0].size
                if free_bytes < 0:
                    break
            waiter = self.putters.popleft()
            waiter.woken = True
            self._coming[waiter] = waiter.size
            self.woken.append(waiter)
            free -= 1
        if self.putters:
            self._ask_for_room()
        elif self._asked > self._claimed():
            self._post_need(0, 0)  # somebody else's room has done for it

    def end_putters(self) -> None:
        """Nobody puts here any more."""
        self._end_all(self.putters)

    def _end_all(self, line: deque[Waiter]) -> None:
        for waiter in line:
            waiter.ended = True
            self.woken.append(waiter)
        line.clear()
