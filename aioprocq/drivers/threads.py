"""Who a thread is, and its end.

The system gives an ident to another thread as soon as its own has ended, so that the
next one would settle what that had left. Holders are told by a number that comes once.
Where only the ident is fast enough, its use ends with the thread.
"""

from __future__ import annotations

from itertools import count
from threading import local
from typing import Final
from weakref import WeakValueDictionary

from .station import Station

__all__ = ["end_run_with_thread", "here", "thread_number"]


class _Here(local):
    number = 0  # none yet
    end: _End | None = None


class _End:
    """Goes with its thread, before the ident does."""

    def __init__(self) -> None:
        self.stations: WeakValueDictionary[int, Station] = WeakValueDictionary()

    def __del__(self) -> None:
        # No lock, and nothing from a module: this may be the end of the interpreter, or
        # a child that was forked by another thread. Who comes next catches up.
        for reference in self.stations.valuerefs():
            station = reference()
            if station is not None:
                station.free_items = station.free_settling = None


here: Final = _Here()
"""``here.number or thread_number()`` is a call less on the path of every item."""

_numbers = count(1)


def thread_number() -> int:
    """The number of this thread, which no other thread of this process ever has."""
    if not here.number:
        here.number = next(_numbers)
    return here.number


def end_run_with_thread(station: Station) -> None:
    """Let nobody get items without the lock when this thread is over."""
    if here.end is None:
        here.end = _End()
    here.end.stations[id(station)] = station
