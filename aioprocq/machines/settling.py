"""The settling half of a peer: what it holds of a joinable queue.

Invariants:

* ``settled`` in the page never calls settled what a RETURN gives back that the hub may
  not have read.
* ``last`` is the lane index after the last of ``items``, if there are any.
* While ``free`` is there, the page says what was handed out, and settled; ``handed``
  and ``holdings`` do so after ``catch_up``, with which everything begins that needs
  them.
* What the page cannot say, since older items are still held, goes as a frame; and so
  does, by a REPORT, that nothing is left here.
* Who settles the last item held, and was asked for what is left, gives that back at
  once: the hub learns then that nothing is held, however long nobody comes for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

from ..wire import frames as wire
from ..wire.page import ALERT, EPOCH, HANDED, RETURNS, SETTLED, Page
from .holdings import Holdings
from .lock_free import POSSIBLE, LockFreeRun
from .putting import Putting

__all__ = ["Settling"]


class Settling(Putting):
    """What one process holds, and has settled or given back."""

    __slots__ = (
        "_returned",
        "epoch",
        "free",
        "free_once",
        "handed",
        "holdings",
        "items",
        "joinable",
        "last",
        "returning",
        "settled",
    )

    def __init__(self, page: Page, *, joinable: bool, sized: bool) -> None:
        super().__init__(page, sized=sized)
        self.joinable = joinable
        self.epoch = page[EPOCH]  # of the last recall that was heeded
        self.items: deque[object] = deque()
        self.handed = self.settled = self.last = 0
        self.free: LockFreeRun | None = None
        self.free_once = -1  # ``last``, when a run was set free
        self.holdings = Holdings()
        self.returning: deque[int] = deque()
        self._returned = 0

    def available(self) -> int:
        """Items that are here and not handed out."""
        raise NotImplementedError

    def yield_if_asked(self) -> None:
        """Give back what is here and not handed out, if the hub has asked for it."""
        raise NotImplementedError

    def run_to_free(self, caller: Callable[[], Hashable] | None) -> LockFreeRun | None:
        """What all but the last item of an opened batch are, without the lock.

        Once for each batch, by who has just got one of it; None: not now. ``caller``, a
        function in C, tells whether it is the same again. To be called without the
        lock; what comes of it is for ``set_free``.
        """
        alert, page, held = self.page[ALERT], self.page, self.holdings
        if self.free_once == self.last or (alert and alert < self.last):
            return None
        if not POSSIBLE or (self.joinable and caller is None):
            return None
        self.free_once = self.last
        if not self.joinable:
            return LockFreeRun(page, self.items, self.handed, alert)
        run = LockFreeRun(page, self.items, self.handed, alert, caller)
        if not (held.filed or self.returning):
            run.settle_from(page, held.first)
        return run

    def set_free(self, run: LockFreeRun) -> bool:
        """Let these items go without the lock, unless anything has changed since."""
        if self.free is not None or run.source is not self.items or self.outbox:
            return False
        if (run.handed, run.last) != (self.handed, self.last):
            return False
        held = self.holdings
        if self.joinable and held.next != run.handed:
            return False
        if run.settling is not None and (
            run.settled != held.first or held.filed or self.returning
        ):
            return False
        self.free = run
        return True

    def catch_up(self) -> None:
        """Take note of what was done without the lock, and end that."""
        run, page, held = self.free, self.page, self.holdings
        if run is None:
            return
        run.close()
        self.free = None
        handed = self.handed = self.last - len(self.items)
        if page[HANDED] != handed:  # announced, and not taken
            page[HANDED] = handed
        if self.joinable:
            held.next = handed
        if run.settling is not None:
            first = max(held.first, page[SETTLED])
            self.settled += first - held.first
            held.first = first

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
        self.catch_up()
        if not self.holdings.drop(index):
            return False
        self._settled(index, report=report)
        return True

    def settle_first(self, holder: Hashable) -> bool:
        """What ``holder`` was handed first, or its process, is done."""
        if self.free is not None:
            self.catch_up()
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
        page = self.page
        page[SETTLED] = prefix
        self.settled += 1
        if prefix == handed:
            if not (self.items or self.available()):
                self.outbox.append(wire.REPORT)
            elif page[EPOCH] != self.epoch:
                self.yield_if_asked()
        return True

    def _settled(self, index: int, *, report: bool = True) -> None:
        prefix = self.holdings.prefix(self.handed)
        if self.returning:
            prefix = self._unread_return(prefix)
        self.page[SETTLED] = prefix
        self.settled += 1
        if prefix <= index:
            self.outbox.append(wire.encode_settle(index))
        elif report and not self.holdings:
            if not (self.items or self.available()):
                self.outbox.append(wire.REPORT)
            else:
                self.yield_if_asked()

    def fail(self, index: int, reason: str, *, final: bool) -> bool:
        """An attempt at an item failed; False: it is not held."""
        self.catch_up()
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
