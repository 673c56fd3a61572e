"""Handing out without a lock: all that one hand-out takes, in one call of ``next``.

A hand-out announces itself, looks at the alert, and takes its item. Here iterators do
that which call nothing but C. CPython gives way to another thread, or to a signal's
handler, between two instructions of Python only, so that ``next`` is one step for
everybody, as if under a lock, and takes half of the time.

Invariants:

* Nothing is announced without a number that was drawn before, and there is none for
  the last item: that one, and what comes after it, is for those with the lock. Who
  has the lock ends the run by leaving no number.
* What finds a new alert has announced itself, takes nothing, and ends the run: there
  is one such announcement at most, and ``Settling.catch_up`` takes it back.
* Only what was announced is settled, and only in the order in which it was.
* After ``close`` nothing is announced, taken or settled.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from itertools import compress, repeat, starmap, takewhile
from operator import eq, ge, getitem, setitem, truth
from typing import Any, Final

from ..wire.page import ALERT, HANDED, SETTLED, Page

__all__ = ["MISSING", "POSSIBLE", "LockFreeRun"]

MISSING: Final = object()
"""What ``next`` is to return when there is nothing, as None may be an item."""

POSSIBLE = (
    sys.implementation.name == "cpython"
    and getattr(sys, "_is_gil_enabled", lambda: True)()
    and hasattr(iter(range(0)), "__setstate__")
)
"""Whether one call into C is one step for all threads."""


class LockFreeRun:
    """Items that are handed out by ``next(run.items)``, and settled likewise.

    ``alert`` is that of the page, and does not concern these items, or there is none.
    With ``caller``, something in C that says who calls, only ``holder`` gets some:
    what is handed out is held then, by somebody who is known beforehand.
    """

    __slots__ = ("_last", "_numbers", "_unsettled", "items", "settling")

    def __init__(
        self,
        page: Page,
        items: deque[object],
        handed: int,
        alert: int,
        holder: Hashable = None,
        caller: Callable[[], Hashable] | None = None,
    ) -> None:
        self._last = handed + len(items)
        self._numbers = iter(range(handed + 1, self._last))
        self._unsettled = iter(range(0))
        self.settling: Iterator[None] | None = None
        pages = repeat(page)
        turns: Iterator[Page] = pages
        if caller is not None:
            callers = starmap(caller, repeat(()))
            mine = takewhile(truth, map(eq, callers, repeat(holder)))
            turns = compress(pages, mine)
        # Each of these gets its next value from the one above it, when it is asked.
        announced = map(setitem, turns, repeat(HANDED), self._numbers)
        looks = zip(announced, map(getitem, pages, repeat(ALERT)), strict=False)
        calm = takewhile(truth, map(eq, looks, repeat((None, alert))))
        self.items: Iterator[object] = map(deque.popleft, compress(repeat(items), calm))

    def settle_from(self, page: Page, settled: int) -> None:
        """Let ``next(run.settling)`` settle the oldest item held, if there is one."""
        numbers = range(settled + 1, self._last)
        handed = map(getitem, repeat(page), repeat(HANDED))
        enough = takewhile(truth, map(ge, handed, numbers))
        self._unsettled = iter(numbers)
        oldest = compress(self._unsettled, enough)
        self.settling = map(setitem, repeat(page), repeat(SETTLED), oldest)

    def close(self) -> None:
        """End this, for all threads."""
        _exhaust(self._numbers)
        _exhaust(self._unsettled)


def _exhaust(numbers: Any) -> None:
    # In one step, too. Iterators of ranges have this so that they can be copied.
    numbers.__setstate__(sys.maxsize)
