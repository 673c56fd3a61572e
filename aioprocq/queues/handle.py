"""A process's hold on one queue: made here, inherited by a fork, or received.

Invariants:

* A process has at most one handle of a queue: a queue that arrives where it is
  known already is the one that is known.
* After a fork the child's handles have stations of their own, undialled.
* When the last face of a handle is gone, its station is disposed of.
* A handle that is retired hands nothing out any more, here; all else goes on.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from ..drivers.peer_station import PeerStation
from ..drivers.station import Settings, Station
from ..errors import CannotTravel, QueueShutDown
from ..wire.payload import Descriptor, carry, receive_carried

__all__ = [
    "Handle",
    "arrive",
    "count_takes",
    "owned_among",
    "retire_all",
    "someone_waits",
]


class Handle:
    """What the faces of one queue in one process share."""

    __slots__ = ("__weakref__", "_finalizer", "settings", "station")

    def __init__(self, station: Station) -> None:
        self.settings: Settings = station.settings
        self.station = station
        dispose_of_postponed()
        self._finalizer = weakref.finalize(self, _dispose, station)
        _handles[self.settings.uid] = self
        if _counting is not None:
            self.count(_counting)
        if _retired:
            self.retire()

    @classmethod
    def create(cls, settings: Settings) -> Handle:
        """Make a queue that this process owns."""
        # Most workers own none, and need not wait for the import.
        from ..drivers.hub_station import HubStation

        return cls(HubStation(settings))

    @property
    def owner(self) -> bool:
        """Whether the queue's hub is behind this handle.

        It is in the process that created it, unless the queue was closed there and
        has come back, as another peer.
        """
        return self.station.owns and self.settings.owner == os.getpid()

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return isinstance(self.station, _Closed)

    def close(self) -> None:
        """Use it no longer; the owner's hub serves the others all the same."""
        if isinstance(self.station, _Closed):
            return
        station = self.station
        while isinstance(station, _Deferred | _Retired | _Counting):
            station = station.behind
        station.guard()
        self.station = _Closed(station, owner=self.owner)  # type: ignore[assignment]
        station.end_waits()
        if not self.owner:
            self._finalizer()

    def defer(self, failure: Exception) -> None:
        """Have the next get raise what one item of several raised."""
        if isinstance(self.station, _Closed | _Retired):
            return  # there is none
        self.station = _Deferred(self, self.station, failure)  # type: ignore[assignment]

    def recover(self, deferred: object) -> None:
        """What was deferred is being raised: go on, unless it was closed meanwhile."""
        if isinstance(self.station, _Deferred) and self.station is deferred:
            self.station = self.station.behind

    def check_gets(self) -> None:
        """Raise what a get raises when nothing is handed out here any more.

        For one that waits: another thread may have closed the queue meanwhile, or a
        signal retired it. One that begins finds another station.
        """
        if isinstance(self.station, _Retired | _Closed):
            raise self.station.shut_error()

    def retire(self) -> None:
        """Hand nothing out any more in this process, which is about to end.

        Whoever waits to get wakes up and raises QueueShutDown. A signal handler
        may call this wherever it interrupts.
        """
        if self.owner or isinstance(self.station, _Closed | _Retired):
            return
        end_gets = self.station.end_gets
        self.station = _Retired(self.station)  # type: ignore[assignment]
        end_gets()

    def count(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called for every item that is handed out here."""
        if not self.owner:
            self.station = _Counting(self.station, tell)  # type: ignore[assignment]

    def dispose(self) -> None:
        """Close, and in the owner's process end the queue for everybody."""
        self.close()
        self._finalizer()

    def inherit(self) -> None:
        """In a child after a fork."""
        self._finalizer.detach()
        self.station = self.station.inherit()
        self._finalizer = weakref.finalize(self, _dispose, self.station)

    def reduce(self) -> tuple[Settings, list[Any]]:
        """What travels: the settings, and the places of two descriptors."""
        descriptors = self.station.handle()
        places = carry(descriptors)
        if places is not None:
            return self.settings, list(places)
        duplicate = _spawning()
        if duplicate is not None:
            return self.settings, [duplicate(number) for number in descriptors]
        raise CannotTravel(
            f"queue {self.settings.name!r} can be handed to a process as an argument "
            "of multiprocessing.Process, in initargs of an executor, or through "
            "another aioprocq queue; it cannot be pickled by itself"
        )


_handles: weakref.WeakValueDictionary[bytes, Handle] = weakref.WeakValueDictionary()


def arrive(settings: Settings, places: list[Any]) -> Handle:
    """The handle of a queue that has come from another process."""
    descriptors = [
        Descriptor(receive_carried(p) if isinstance(p, int) else p.detach())
        for p in places
    ]
    known = _handles.get(settings.uid)
    if known is not None and not isinstance(known.station, _Closed):
        return known
    return Handle(PeerStation(settings, *descriptors))


def _spawning() -> Any:
    # The standard library's way to take a descriptor along to a process that is
    # being started; None when none is.
    context = sys.modules.get("multiprocessing.context")
    if context is None or context.get_spawning_popen() is None:
        return None
    from multiprocessing.reduction import DupFd

    return DupFd


_postponed: list[Station] = []


def _dispose(station: Station) -> None:
    # A garbage collection may call this anywhere, even where this thread has the lock
    # of the very same station, which serves a loop or lies in wait to be told.
    if not station.busy:
        station.dispose()
    elif (loop := station.home) is not None:
        loop.call_soon_threadsafe(station.dispose)
    else:
        _postponed.append(station)


def dispose_of_postponed() -> None:
    """Dispose of stations that were busy when their handles went."""
    for _ in range(len(_postponed)):
        _dispose(_postponed.pop(0))


class _Deferred:
    """A station whose next item did not unpickle: the next get says so."""

    free_items = free_settling = None  # so that every get asks here

    def __init__(self, handle: Handle, station: Station, failure: Exception) -> None:
        self._handle = handle
        self.behind = station
        self._failure = failure
        self.quick = 0

    def __getattr__(self, name: str) -> Any:
        if name not in ("take", "take_delivery", "take_many"):
            return getattr(self.behind, name)
        self._handle.recover(self)
        raise self._failure

    def inherit(self) -> Station:
        return self.behind.inherit()


class _Counting:
    """A station that tells of each item that it hands out."""

    free_items = free_settling = None  # so that every get asks here

    def __init__(self, station: Station, tell: Callable[[], None]) -> None:
        self.behind = station
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    def take(self, holder: Hashable) -> object:
        item = self.behind.take(holder)
        if item is not None:
            self._tell()
        return item

    def take_many(self, holder: Hashable, most: int) -> list[object]:
        items = self.behind.take_many(holder, most)
        for _ in items:
            self._tell()
        return items

    def take_delivery(self, holder: Hashable = None) -> Any:
        got = self.behind.take_delivery(holder)
        if got is not None:
            self._tell()
        return got

    def inherit(self) -> Station:
        return self.behind.inherit()


class _Retired:
    """The station of a handle in a process that is to take no more items."""

    free_items = free_settling = None  # so that every get asks here

    _ended = frozenset(
        {"begin_get", "fetch", "refresh", "take", "take_delivery", "take_many"}
    )

    def __init__(self, station: Station) -> None:
        self.behind = station

    def __getattr__(self, name: str) -> Any:
        if name in self._ended:
            raise self.shut_error()
        return getattr(self.behind, name)

    def shut_error(self) -> QueueShutDown:
        """The error for a get: the queue goes on, without this process."""
        return QueueShutDown(
            f"this worker is draining and gets nothing more from queue "
            f"{self.behind.settings.name!r}; leave the loop that gets"
        )

    def inherit(self) -> Station:
        return self.behind.inherit()


class _Closed:
    """The station of a handle that was closed."""

    free_items = free_settling = None  # so that every call asks here

    _still = frozenset(
        {
            "begin_ask",
            "block",
            "check_loop",
            "dispose",
            "end_ask",
            "future_waiter",
            "new_waiter",
            "qsize",
            "settle",
            "settle_anywhere",
            "settle_held",
            "settings",
            "shutdown",
            "sleep",
            "statistics",
        }
    )

    def __init__(self, station: Station, *, owner: bool) -> None:
        self._station = station
        self.owns = owner

    def __getattr__(self, name: str) -> Any:
        if name in ("busy", "home") or (self.owns and name in self._still):
            return getattr(self._station, name)
        raise self._station.closed_error()

    def dispose(self) -> None:
        """Dispose of the station behind it; to do it again is fine."""
        self._station.dispose()

    def inherit(self) -> _Closed:
        return _Closed(self._station.inherit(), owner=False)


_counting: Callable[[], None] | None = None


def count_takes(tell: Callable[[], None]) -> None:
    """Have ``tell`` called for every item of any queue handed out in this process."""
    global _counting
    _counting = tell
    for handle in list(_handles.values()):
        handle.count(tell)


_retired = False


def retire_all() -> None:
    """Hand out nothing more in this process; see ``Handle.retire``.

    Nor from queues that are still on their way: a worker may have to leave while it
    imports what it was to do.
    """
    global _retired
    _retired = True
    for handle in list(_handles.values()):
        handle.retire()


def someone_waits() -> bool:
    """Whether anybody in this process waits to get; callable like ``retire_all``."""
    return any(
        handle.station.waiting
        for handle in list(_handles.values())
        if not (handle.owner or handle.closed)
    )


def owned_among(numbers: Iterable[int]) -> list[Handle]:
    """The queues of this process whose descriptors these are."""
    wanted = set(numbers)
    return [
        handle
        for handle in list(_handles.values())
        if handle.owner
        and not handle.closed
        and wanted.intersection(handle.station.handle())
    ]


def _after_fork() -> None:
    global _retired
    _retired = False  # that is about the parent
    failures = []
    for handle in list(_handles.values()):
        try:
            handle.inherit()
        except Exception as failure:
            failures.append(failure)  # the others are to be of use all the same
    while _postponed:  # the parent ends these for their peers; here they are closed
        _postponed.pop().inherit().dispose()
    if failures:
        raise failures[0]


os.register_at_fork(after_in_child=_after_fork)
