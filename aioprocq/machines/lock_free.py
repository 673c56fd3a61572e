"""Handing out without a lock: all that one hand-out takes, in one call of ``next``.

A hand-out announces itself, looks at the alert, and takes its item. Here iterators do
that which call nothing but C. CPython gives way to another thread, or to a signal's
handler, between two instructions of Python only, so that ``next`` is one step for
everybody, as if under a lock, and takes half of the time.

Invariants:

* Nothing is announced without a number that was drawn before, and there is none for
  the last item: that one, and what comes after it, is for those with the lock. Who
  has the lock ends the run by leaving no number.
* After an error, such as a RecursionError, a number is missing: then nobody asks again.
* What finds a new alert has announced itself, takes nothing, and ends the run: there
  is one such announcement at most, and ``Settling.catch_up`` takes it back.
* Only what was taken is settled, and only in the order in which it was. The alert is
  looked at after that.
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
    With ``caller``, something in C that says who calls, only who made this gets some:
    what is handed out is held then, by somebody who is known beforehand.
    """

    __slots__ = (
        "_alerts",
        "_calm",
        "_most",
        "_numbers",
        "handed",
        "items",
        "last",
        "settled",
        "settling",
        "source",
    )

    def __init__(
        self,
        page: Page,
        source: deque[object],
        handed: int,
        alert: int,
        caller: Callable[[], Hashable] | None = None,
    ) -> None:
        self.source = source
        self.handed, self.last = handed, handed + len(source)
        self.settled = -1
        self.settling: Iterator[bool] | None = None
        self._numbers = iter(range(handed + 1, self.last))
        self._most = iter(range(0))
        pages = repeat(page)
        turns: Iterator[Page] = pages
        if caller is not None:
            callers = starmap(caller, repeat(()))
            mine = takewhile(truth, map(eq, callers, repeat(caller())))
            turns = compress(pages, mine)
        # Each of these gets its next value from those above it, when it is asked.
        announced = map(setitem, turns, repeat(HANDED), self._numbers)
        self._alerts = map(getitem, pages, repeat(ALERT))
        self._calm = repeat((None, alert))
        looks = zip(announced, self._alerts, strict=False)
        calm = takewhile(truth, map(eq, looks, self._calm))
        self.items: Iterator[object] = map(
            deque.popleft, compress(repeat(source), calm)
        )

    def settle_from(self, page: Page, settled: int) -> None:
        """Let ``next(run.settling)`` settle the oldest item held, if there is one.

        It says whether the alert is as it was. If not, what is here may have been taken
        back, so that nothing is left to get and report: see ``yield_if_asked``.
        """
        self.settled = settled
        # How many items are left, at the most, when that one has been taken: what the
        # page says was handed out may have been announced only. If there is an error
        # here, such as a RecursionError, the next look is too strict, not too lax.
        self._most = iter(range(self.last - settled - 1, 0, -1))
        left = map(len, repeat(self.source))
        held = takewhile(truth, map(ge, self._most, left))
        turns = compress(repeat(page), held)
        oldest = range(settled + 1, self.last)
        announced = map(setitem, turns, repeat(SETTLED), oldest)
        looks = zip(announced, self._alerts, strict=False)
        self.settling = map(eq, looks, self._calm)

    def close(self) -> None:
        """End this, for all threads."""
        _exhaust(self._numbers)
        _exhaust(self._most)


def _exhaust(numbers: Any) -> None:
    # In one step, too. Iterators of ranges have this so that they can be copied.
    numbers.__setstate__(sys.maxsize)
