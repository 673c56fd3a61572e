"""Looking again for a moment before a thread goes to sleep.

To put a core to sleep and to wake it takes longer than most answers do: on a virtual
machine 30 to 60 microseconds, and computing time of both sides. So a thread that waits
first looks again and again, for about as long as that costs. Where that was in vain it
does not try so soon again: a thread that is sent something now and then just sleeps.

Spinning for as long as the sleep would cost, so as never to lose more than a factor
of two, is what adaptive mutexes do (Karlin, Manasse, McGeoch, Owicki: "Competitive
randomized algorithms for nonuniform problems", 1994).

Invariants:

* Whoever else wants the core gets it at each look.
* While nothing comes nobody spins: only the first wait does.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

__all__ = ["SPIN", "Experience", "Spinner"]

T = TypeVar("T")

SPIN = 0.00015
"""Seconds for which a thread looks before it sleeps, and a loop takes turns."""

_MOST_FAILURES = 8  # after so many in a row, 256 waits go by without spinning

_TAKEN = 0.00001
"""Seconds away from the core that mean that somebody else was on it."""

# With one core there is nobody at work while this one looks.
_USEFUL = hasattr(os, "sched_yield") and (os.cpu_count() or 1) > 1


def is_idle() -> bool:
    """Offer the core to whoever else wants it: does nobody?"""
    before = time.monotonic()
    os.sched_yield()
    return time.monotonic() - before < _TAKEN


class Experience:
    """What has come of looking so far, and whether to look again, therefore."""

    __slots__ = ("_failures", "_skips")

    def __init__(self) -> None:
        self._failures = 0
        self._skips = 0 if _USEFUL else -1  # which never comes to 0

    @property
    def willing(self) -> bool:
        """Whether the next wait will begin with looking."""
        return not self._skips

    def is_due(self) -> bool:
        """Whether this wait begins with looking; asked once for each."""
        if self._skips:
            self._skips -= 1
            return False
        return True

    def failed(self) -> None:
        """A look was in vain."""
        self._failures = min(self._failures + 1, _MOST_FAILURES)
        self._skips = 1 << self._failures

    def succeeded(self) -> None:
        """Something came while somebody looked."""
        self._failures //= 2


class Spinner(Experience):
    """What one connection looks for again and again, and with what success."""

    __slots__ = ("at_once",)

    def __init__(self) -> None:
        super().__init__()
        #: Whether what was looked for last was there at the first look.
        self.at_once = False

    def spin(self, poller: select.poll) -> list[int]:
        """Look for a moment, or until some can be read: those that can."""
        return [number for number, _ in self.look(partial(poller.poll, 0))]

    def look(self, find: Callable[[], T]) -> T:
        """Look for a moment, or until something is found: what was found last."""
        found = find()
        self.at_once = bool(found)
        end = 0.0 if found else time.monotonic() + SPIN
        while not found:
            if time.monotonic() >= end:
                self.failed()
                return found
            os.sched_yield()
            found = find()
        self.succeeded()
        return found
