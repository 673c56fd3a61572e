"""The settling half of a peer: what it holds of a joinable queue.

Invariants:

* ``settled`` in the page never calls settled what a RETURN gives back that the hub may
  not have read.
* What the page cannot say, since older items are still held, goes as a frame; and so
  does, by a REPORT, that nothing is left here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

from ..wire import frames as wire
from ..wire.page import COUNTED, RETURNS, SETTLED, Page
from .holdings import Holdings
from .putting import Putting

__all__ = ["Settling"]


class Settling(Putting):
    """What one process holds, and has settled or given back."""

    __slots__ = ("_returned", "handed", "holdings", "items", "returning", "settled")

    def __init__(self, page: Page, *, sized: bool) -> None:
        super().__init__(page, sized=sized)
        self.items: deque[object] = deque()
        self.handed = self.settled = 0
        self.holdings = Holdings()
        self.returning: deque[int] = deque()
        self._returned = 0

    def available(self) -> int:
        """Items that are here and not handed out."""
        raise NotImplementedError

    def hold(self, holder: Hashable) -> int:
        """The item taken last is held from now on: its lane index."""
        index = self.handed - 1
        self.holdings.hold(index, holder)
        return index

    def hold_many(self, count: int, holder: Hashable) -> None:
        """The items taken last are held from now on."""
        for index in range(self.handed - count, self.handed):
            self.holdings.hold(index, holder)

    def settle(self, index: int, *, report: bool = True) -> bool:
        """An item is done; False: it is not held.

        Without ``report`` only the page says so, where it can.
        """
        if not self.holdings.drop(index):
            return False
        self._settled(index, report=report)
        return True

    def settle_first(self, holder: Hashable) -> bool:
        """What ``holder`` was handed first, or its process, is done."""
        held = self.holdings
        if held.filed or self.returning or holder != held.holder:
            index = held.drop_first(holder)
            if index is None:
                return False
            self._settled(index)
            return True
        # The same for a consumer that has nothing but a run.
        first, handed = held.first + 1, self.handed
        if first > held.next:
            return False
        held.first = first
        prefix = first if first < held.next else handed
        self.page[SETTLED] = prefix
        self.settled += 1
        if prefix == handed and not (self.items or self.available()):
            self.outbox.append(wire.REPORT)
        return True

    def _settled(self, index: int, *, report: bool = True) -> None:
        prefix = self.holdings.prefix(self.handed)
        if self.returning:
            prefix = self._unread_return(prefix)
        self.page[SETTLED] = prefix
        self.settled += 1
        if prefix <= index:
            self.outbox.append(wire.encode_settle(index))
        elif report and not (self.holdings or self.items or self.available()):
            self.outbox.append(wire.REPORT)

    def fail(self, index: int, reason: str, *, final: bool) -> bool:
        """An attempt at an item failed; False: it is not held."""
        if not self.holdings.drop(index):
            return False
        self.returning.append(index)
        self.page[SETTLED] = self._unread_return(self.holdings.prefix(self.handed))
        self.outbox.append(wire.encode_return(index, final, reason))
        return True

    def _unread_return(self, prefix: int) -> int:
        # The page may be read before a RETURN that was sent earlier, so it must
        # not call settled what that RETURN gives back.
        while self.returning and self.page[RETURNS] > self._returned:
            self.returning.popleft()
            self._returned += 1
        return min(prefix, min(self.returning, default=prefix))

    def uncounted(self) -> int:
        """Items settled here that the published number does not know of yet."""
        return self.settled - self.page[COUNTED]
