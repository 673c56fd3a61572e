"""A lock that no interruption leaves behind, and that says who waits for itself.

Python may interrupt a thread almost anywhere: a signal's handler raises something, as
for Ctrl-C, or the garbage collector calls a finalizer. What is locked then stays locked
until the interruption has come to its end, or for ever.

Invariants:

* Who has got the lock gives it back, whatever a signal's handler raises meanwhile.
* A thread that waits for what it has itself is told so, after ``_LONG`` seconds.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from itertools import repeat, starmap
from types import FrameType

__all__ = ["Turns"]

_LONG = 1.0
"""Seconds after which a thread that waits looks whether it waits for itself.

Nothing waits with the lock held, so that others keep it for microseconds.
"""

_PACKAGE = __name__.partition(".")[0]


class Turns:
    """What one thread at a time does something with."""

    __slots__ = ("_what", "lock", "turns")

    def __init__(self, what: str) -> None:
        self._what = what
        self._renew_lock()

    def _renew_lock(self) -> None:
        self.lock = threading.Lock()
        #: Tries to take the lock, as one step: no exception of a signal's handler comes
        #: between it and the ``try`` that follows at once, as after a call it may.
        #: ``with`` is as safe, and takes twice as long.
        self.turns: Iterator[bool] = starmap(self.lock.acquire, repeat((False,)))

    def guard(self) -> None:
        """At the beginning of a call: see that this thread is not in another one."""
        if self.lock.locked():
            self.await_turn()

    def await_turn(self) -> None:
        """The lock is taken: wait until it is not.

        Raises RuntimeError when it is this very thread that has it.
        """
        for mine in starmap(self.lock.acquire, repeat((True, _LONG))):
            if mine:
                self.lock.release()
                return
            if self._interrupts_itself():
                raise RuntimeError(
                    f"{self._what} was used by a finalizer, a signal handler or a log "
                    "handler that has interrupted another call of the same queue; have "
                    "it leave that to somebody else, with loop.call_soon_threadsafe() "
                    "or a queue.SimpleQueue"
                )

    def _interrupts_itself(self) -> bool:
        # Is this thread in here already, further out than some code that is not ours?
        frame: FrameType | None = sys._getframe()
        outside = False
        while frame is not None:
            name = frame.f_globals.get("__name__", "")
            if name.partition(".")[0] != _PACKAGE:
                outside = True
            elif outside and (
                frame.f_locals.get("self") is self
                or frame.f_locals.get("lock") is self.lock
            ):
                return True
            frame = frame.f_back
        return False
