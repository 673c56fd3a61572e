"""The hubs of one event loop, for a coroutine that gives the loop no turn.

While it puts and puts, into whatever queues, nobody hears the peers of the others ask
for items: so now and then a put looks after them too.
"""

from __future__ import annotations

import asyncio
import select
import weakref
from typing import Protocol

__all__ = ["PAUSE", "Neighbours", "neighbours_on"]


PAUSE = 0.0002
"""Seconds between two visits: to look at many takes some microseconds."""


_TOGETHER = 4096
"""Items that may be put into all of them together before they are looked after."""

_FEWEST = 128


class Neighbour(Protocol):
    """A hub, as far as its neighbours know it."""

    def drive(self) -> None:
        """Take in and carry out."""


class Neighbours:
    """Some hubs, by descriptors that are readable while they have something to do."""

    __slots__ = ("__weakref__", "_hubs", "_poller", "_visit_at", "bursting", "put_at")

    def __init__(self) -> None:
        #: How many of them have items that wait for the loop's next turn.
        self.bursting = 0
        #: When something was put last, into whichever of them.
        self.put_at = 0.0
        self._visit_at = 0.0
        self._hubs: dict[int, Neighbour] = {}
        self._poller = select.poll()

    def __len__(self) -> int:
        return len(self._hubs)

    def add(self, number: int, hub: Neighbour) -> None:
        """Look after a hub from now on."""
        self._hubs[number] = hub
        self._poller.register(number, select.POLLIN)

    def remove(self, number: int) -> None:
        """Do so no longer, before the descriptor is closed."""
        if self._hubs.pop(number, None) is not None:
            self._poller.unregister(number)

    @property
    def portion(self) -> int:
        """How many items may be put into one before it is looked after."""
        return max(_FEWEST, _TOGETHER // self.bursting)

    def visit(self, now: float) -> None:
        """Drive those that have something to do, unless that was done a moment ago."""
        if now < self._visit_at:
            return
        self._visit_at = now + PAUSE
        for number, _ in self._poller.poll(0):
            hub = self._hubs.get(number)
            if hub is not None:
                hub.drive()


_neighbours: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Neighbours]
_neighbours = weakref.WeakKeyDictionary()


def neighbours_on(loop: asyncio.AbstractEventLoop) -> Neighbours:
    """Those on one loop."""
    found = _neighbours.get(loop)
    if found is None:
        found = _neighbours[loop] = Neighbours()
    return found
