"""The hubs of one event loop, for a coroutine that gives the loop no turn.

While it puts and puts, into whatever queues, nobody hears the peers of the others ask
for items: so now and then a put looks after them too.
"""

from __future__ import annotations

import asyncio
import select
import weakref
from typing import Protocol

__all__ = ["Neighbours", "neighbours_on"]


class Neighbour(Protocol):
    """A hub, as far as its neighbours know it."""

    def drive(self) -> None:
        """Take in and carry out."""


class Neighbours:
    """Some hubs, by descriptors that are readable while they have something to do."""

    __slots__ = ("__weakref__", "_hubs", "_poller")

    def __init__(self) -> None:
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

    def visit(self) -> None:
        """Drive those that have something to do."""
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
