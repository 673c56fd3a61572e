"""An event loop that takes a few turns more before it sleeps.

What ``spinning`` is for a thread, for a loop, which has other things to serve: it does
not stand still and look, but goes on taking turns, in each of which everybody is served
as ever. Network stacks know the same under this name: a core that stays awake for a
moment hears of an answer sooner than one that has to be woken for it, and finds its
caches as it left them.

Invariants:

* At most one turn is due on a loop, however many queues expect something there.
* A loop is kept awake for no longer than ``SPIN`` after somebody has said that
  something is about to come, and not at all where that was in vain time and again.
* Whoever else wants the core gets it, and then the loop sleeps.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable

from .spinning import SPIN, Experience, is_idle

__all__ = ["BusyPoll", "busy_poll_on", "take_turns"]


async def take_turns(
    experience: Experience, find: Callable[[], int], enough: int
) -> None:
    """Look in a few turns of the loop, until enough is found.

    Cancellation: nothing was done.
    """
    end = time.monotonic() + SPIN
    while True:
        await asyncio.sleep(0)
        found = find()
        if found >= enough or time.monotonic() >= end or not is_idle():
            break
    if found > 0:
        experience.succeeded()
    else:
        experience.failed()


class BusyPoll:
    """What keeps one event loop awake."""

    __slots__ = ("_expecting", "_turning", "_until")

    def __init__(self) -> None:
        self._expecting: dict[Experience, None] = {}
        self._until = 0.0
        self._turning = False

    def expect(self, experience: Experience, loop: asyncio.AbstractEventLoop) -> bool:
        """Stay awake for a moment, if experience does not speak against it: will it?"""
        if not experience.is_due():
            return False
        self._expecting[experience] = None
        self._until = time.monotonic() + SPIN
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        return True

    def came(self, experience: Experience) -> None:
        """What was expected is here; it may be too late."""
        if experience in self._expecting:
            del self._expecting[experience]
            experience.succeeded()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._expecting and time.monotonic() < self._until and is_idle():
            loop.call_soon(self._turn, loop)
            return
        self._turning = False
        for experience in self._expecting:
            experience.failed()
        self._expecting.clear()


_busy_polls: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, BusyPoll]
_busy_polls = weakref.WeakKeyDictionary()


def busy_poll_on(loop: asyncio.AbstractEventLoop) -> BusyPoll:
    """What keeps this loop awake."""
    found = _busy_polls.get(loop)
    if found is None:
        found = _busy_polls[loop] = BusyPoll()
    return found
