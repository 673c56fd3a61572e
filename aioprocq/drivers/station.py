"""What the two kinds of station have in common: one queue, as one process has it.

A station puts a machine and its sockets under one lock, so that coroutines and
any number of threads of a process can use them together.

Invariants:

* The machine is touched only with ``lock`` held, and nothing waits while it is.
* At most one thread, the leader, waits on the sockets; a running event loop may
  watch them besides.
* Whatever the machine decided is carried out before the lock is released.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from ..errors import OwnerLost, QueueClosed, QueueShutDown
from ..machines.peer import Peer
from ..machines.record import DeadRecord, Waiter
from ..machines.statistics import QueueStatistics
from ..wire.frames import Ask
from ..wire.page import UNLIMITED
from ..wire.payload import Draft, Payload, expected
from .mappings import Mappings
from .pool import SegmentPool
from .ring import RingWriter
from .segment import build_parcel, open_payload
from .transport import Wakeup
from .turns import Turns
from .waiting import FutureWaiter, ThreadWaiter, running_loop

__all__ = [
    "Settings",
    "Station",
    "Token",
    "driving",
    "loopless",
    "putting",
    "tell_before_waiting",
]

Token = int
"""What names an item that a process holds: its lane index, or its place."""


putting: dict[Station, None] = {}
"""The stations whose last put may lie unread in a ring."""


loopless: weakref.WeakValueDictionary[int, Station] = weakref.WeakValueDictionary()
"""The stations of this process that own a queue and have no event loop, by their id."""


class Settings:
    """What the creator of a queue decided; it travels with every handle."""

    __slots__ = (
        "joinable",
        "max_bytes",
        "max_deliveries",
        "maxsize",
        "name",
        "owner",
        "uid",
    )

    def __init__(
        self,
        *,
        name: str,
        maxsize: float,
        max_bytes: int | None,
        joinable: bool,
        max_deliveries: int,
        uid: bytes,
        owner: int,
    ) -> None:
        self.name = name
        self.maxsize = maxsize
        self.max_bytes = max_bytes
        self.joinable = joinable
        self.max_deliveries = max_deliveries
        self.uid = uid
        self.owner = owner

    @property
    def unbounded(self) -> bool:
        """Whether there is room for everything, as the hub takes it."""
        items, size = self.maxsize, self.max_bytes
        return not 0 < items < UNLIMITED and (size is None or size >= UNLIMITED)

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class Station(Turns, ABC):
    """One queue in one process."""

    # What every put and get looks at, close together: a process may have many queues.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "awaited",
        "free_items",
        "free_settling",
        "fresh",
        "joinable",
        "machine",
        "quick",
        "quick_until",
        "ring",
        "sized",
    )

    owns = False
    """Whether the queue's hub lives here."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(f"queue {settings.name!r}")
        expected.look()
        self.settings = settings
        self.joinable = settings.joinable
        self.sized = settings.max_bytes is not None
        #: What a peer that is connected has, to be used with the lock held.
        self.machine: Peer | None = None
        #: What gives an item, and what settles one, without the lock; of a peer.
        self.free_items: Iterator[object] | None = None
        self.free_settling: Iterator[bool] | None = None
        #: Whether a coroutine has waited here, or begun a burst: who blocks may be on
        #: a loop, too.
        self.awaited = False
        #: What a peer that is connected, and may use one, has; with the lock held.
        self.ring: RingWriter | None = None
        #: Until then a put of a peer may go into the ring, and need not look around.
        self.quick_until = 0.0
        #: How many puts of the owner may go into ``fresh`` without a look around.
        self.quick = 0
        self.fresh: deque[Payload] = deque()
        self.pool = SegmentPool()
        self.mappings = Mappings()
        self._leader: ThreadWaiter | None = None
        self._followers: deque[ThreadWaiter] = deque()
        self._wakeup: Wakeup | None = None

    # What the faces call. Everything that does not wait:

    @abstractmethod
    def put(self, payload: Payload) -> bool:
        """Put one item; False: there is no room.

        Raises QueueShutDown, OwnerLost, OSError.
        """

    def ring_bell(self, ring: RingWriter) -> None:
        """Tell the owner that something is in the ring, if it is to be told."""
        raise NotImplementedError

    @abstractmethod
    def put_batch(
        self, payloads: list[Payload], lengths: list[int] | None = None
    ) -> int:
        """Put as many of the items as there is room for: how many.

        ``lengths`` are theirs, if they are known. The lists belong to the station then.
        """

    @abstractmethod
    def take(self, holder: Hashable) -> object:
        """Hand out an item that is here already; None: none is.

        It is to be unpickled if it is bytes or a Parcel, and unwrapped if it is
        Opened. ``holder`` holds it, when the queue is joinable.
        """

    def take_many(self, holder: Hashable, most: int) -> list[object]:
        """Hand out some that are here and unpickled already: none, if in doubt."""
        return []

    @abstractmethod
    def take_delivery(
        self, holder: Hashable = None
    ) -> tuple[object, Token, int] | None:
        """Hand out an item for a delivery: with its token and its attempt."""

    @abstractmethod
    def refresh(self) -> None:
        """Look whether something has come, without waiting."""

    @abstractmethod
    def fetch(self) -> bool:
        """Take in what has come, before waiting for it on an event loop.

        False: there is nothing new, and no use in another look.
        """

    def glance(self, *, patient: bool) -> bool:
        """Before waiting in a thread: whether a look at the lane has found an item.

        ``patient``: the look may take a moment.
        """
        return False

    @abstractmethod
    def gather(self) -> None:
        """Take in what has come, for a call that wants all there is."""

    @abstractmethod
    def take_ended(self, *, linger: bool) -> bool:
        """Whether a get that finds nothing should raise QueueShutDown at once."""

    @abstractmethod
    def begin_get(self, waiter: Waiter) -> None:
        """Let a getter wait."""

    @abstractmethod
    def end_get(self, waiter: Waiter, *, took: bool) -> None:
        """A getter waits no longer; unless it took, another has its turn."""

    def look_for_room(self, until: float | None) -> bool:
        """Before waiting in a thread: whether a look that may take a moment found some.

        ``until``: when the wait is to end.
        """
        return False

    async def await_room(self, until: float | None) -> bool:
        """Before waiting in a coroutine: look for room in a few turns of its loop.

        True: it has looked, so that anything may have happened; try to put again.
        Cancellation: nothing was done.
        """
        return False

    @abstractmethod
    def begin_put(self, waiter: Waiter) -> None:
        """Let a putter wait for room."""

    @abstractmethod
    def end_put(self, waiter: Waiter) -> None:
        """A putter waits no longer; call it after it has put."""

    @abstractmethod
    def ask_for_room(self, payload: Payload) -> None:
        """A put that does not wait found no room: ask for some, for the next."""

    @abstractmethod
    def come_to_put(self, waiter: Waiter) -> None:
        """A putter that was woken is about to put."""

    @abstractmethod
    def settle(self, token: Token, *, report: bool = True) -> bool:
        """An item is done; False: it is not held.

        Without ``report`` the owner may hear of it only when it hears of something
        else: for a queue that nobody joins.
        """

    @abstractmethod
    def fail(self, token: Token, reason: str, *, final: bool) -> bool:
        """An attempt at an item failed; False: it is not held."""

    @abstractmethod
    def fail_latest(self, holder: Hashable, reason: str) -> None:
        """The attempt at what ``holder`` was handed last failed."""

    @abstractmethod
    def settle_held(self, holder: Hashable) -> bool:
        """``task_done``, as far as this process holds something."""

    def yield_if_asked(self) -> None:
        """Something was settled without the lock, and the alert is a new one."""

    @abstractmethod
    def settle_anywhere(self) -> bool:
        """``task_done`` when this process holds nothing: without waiting."""

    @abstractmethod
    def begin_ask(self, ask: Ask, waiter: Waiter) -> int | None:
        """Ask the hub; None: there is nothing to wait for."""

    @abstractmethod
    def end_ask(self, ident: int) -> tuple[int | None, list[DeadRecord]]:
        """The answer, as far as it has come."""

    @abstractmethod
    def shutdown(self, *, immediate: bool) -> None:
        """No more puts."""

    @abstractmethod
    def qsize(self) -> int:
        """Items that wait."""

    @abstractmethod
    def statistics(self) -> QueueStatistics:
        """The figures of this moment."""

    @abstractmethod
    def dispose(self) -> None:
        """Give everything back."""

    @abstractmethod
    def handle(self) -> tuple[int, int]:
        """Descriptors for a handle: of the reception, and of the hub's page."""

    @abstractmethod
    def inherit(self) -> Station:
        """In a child after a fork: the station to use there."""

    @abstractmethod
    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raise LoopMismatch when a coroutine of this loop must not wait here."""

    def drive(self) -> None:
        """Do what is due here, while the calling thread waits for another queue."""
        raise NotImplementedError

    def drive_due(self) -> tuple[int, float | None] | None:
        """What to poll to drive this, and when something is due; None: it has ended."""
        raise NotImplementedError

    def _loopless(self) -> list[Station]:
        # Owned here, and on no event loop: whoever waits, for whatever queue of
        # this process, has to drive them, or two queues would wait for each other.
        if not loopless:
            return []
        # A copy, made at once: another thread may create one, or close one.
        hubs = [reference() for reference in loopless.valuerefs()]
        return [hub for hub in hubs if hub is not None and hub is not self]

    # How sockets are waited for:

    @abstractmethod
    def _listen(self, timeout: float | None) -> None:
        """As the leader, without the lock: wait for news and take them in."""

    @abstractmethod
    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have a loop watch the sockets; the lock is held."""

    def pack(self, draft: bytes | Draft) -> Payload:
        """A payload from a pickle; OSError leaves nothing behind."""
        return build_parcel(draft, self.pool) if isinstance(draft, Draft) else draft

    def open(self, payload: Payload) -> object:
        """What a payload was made of."""
        return open_payload(payload, self.mappings)

    @property
    def busy(self) -> bool:
        """Whether some thread, this one perhaps, is in the middle of something here."""
        return self.lock.locked() or self.pool.busy or self.mappings.busy

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """An event loop that serves this, if one does."""
        return None

    def _forget_segments(self) -> None:
        # In a forked child, where a lock may be held by nobody: what this has would
        # keep segments of the parent from being used again.
        self.pool, self.mappings = SegmentPool(), Mappings()

    def _drop_segments(self) -> None:
        # Who still puts, or gets, here goes without them.
        self.pool.close()
        self.mappings.close()

    def new_waiter(self, *, size: int = 0, linger: bool = False) -> ThreadWaiter:
        """A waiter for the calling thread."""
        if putting:
            tell_before_waiting(burst=size > 0)
        return ThreadWaiter(self._nudge, size=size, linger=linger)

    def future_waiter(self, *, size: int = 0, linger: bool = False) -> FutureWaiter:
        """A waiter for the calling coroutine."""
        if putting:
            tell_before_waiting(burst=size > 0)
        loop = running_loop()
        if loop is None:
            raise RuntimeError("no running event loop")
        self.awaited = True
        self.check_loop(loop)
        return FutureWaiter(loop, size=size, linger=linger)

    async def sleep(self, waiter: FutureWaiter, until: float | None) -> bool:
        """Wait until woken: True; or until the time comes: False.

        Cancellation leaves the waiter where it is: the caller takes it out.
        """
        if until is None:
            await waiter.future
            return True
        loop = waiter.loop
        delay = until - time.monotonic()
        timer = loop.call_later(max(0.0, delay), waiter._set)
        try:
            await waiter.future
        finally:
            timer.cancel()
        return waiter.woken or waiter.ended

    def block(self, waiter: ThreadWaiter, until: float | None) -> bool:
        """Wait in a thread until woken: True; or until the time comes: False."""
        try:
            return self._block(waiter, until)
        finally:
            if self._followers:
                self._step_down(waiter)

    def _block(self, waiter: ThreadWaiter, until: float | None) -> bool:
        while not waiter.signalled:
            timeout = None if until is None else until - time.monotonic()
            if timeout is not None and timeout <= 0:
                return False
            if self._lead(waiter):
                try:
                    if not waiter.signalled:
                        self._listen(timeout)
                finally:
                    self._step_down(waiter)
            else:
                try:
                    waiter.sleep(-1 if timeout is None else timeout)
                finally:
                    with self.lock:
                        if waiter in self._followers:
                            self._followers.remove(waiter)
        return True

    def _lead(self, waiter: ThreadWaiter) -> bool:
        with self.lock:
            if self._leader is None:
                self._leader = waiter
                return True
            if not waiter.signalled:
                self._followers.append(waiter)
            return False

    def _step_down(self, waiter: ThreadWaiter) -> None:
        # Also by one who was asked to lead and had to leave at that moment.
        with self.lock:
            if self._leader is waiter:
                self._leader = None
            if self._leader is None and self._followers:
                self._followers.popleft().alert()

    def _nudge(self, waiter: Waiter) -> None:
        # The leader does not wait for its own lock but on the sockets.
        wakeup = self._wakeup
        if waiter is self._leader and wakeup is not None:
            wakeup.set()

    def _wakeup_for_leader(self) -> Wakeup:
        if self._wakeup is None:
            self._wakeup = Wakeup()
        return self._wakeup

    def _wake(self, waiters: list[Waiter]) -> None:
        for waiter in waiters:
            waiter.wake()
        waiters.clear()

    def end_gets(self) -> None:
        """Wake whoever waits to get, for the last time; peers can."""
        raise NotImplementedError

    def tell(self, *, burst: bool) -> None:
        """Who puts will wait: tell the owner what lies unread in a ring; peers can.

        ``burst``: what is put after that belongs to the same burst.
        """
        raise NotImplementedError

    @property
    def waiting(self) -> bool:
        """Whether somebody in this process waits to get, from another's queue."""
        return False

    def end_waits(self) -> None:
        """Wake everybody of this process who waits here: its handle is closed."""
        self.guard()
        with self.lock:
            self._end_waits()

    @abstractmethod
    def _end_waits(self) -> None:
        """The same, with the lock held."""

    def closed_error(self) -> QueueClosed:
        """The error for a queue whose handle was closed in this process."""
        return QueueClosed(
            f"Queue {self.settings.name!r} is closed; use it before its close()"
        )

    def lost_error(self) -> OwnerLost | QueueClosed:
        """The error for a queue whose owner is gone."""
        return OwnerLost(
            f"the owner of queue {self.settings.name!r}, process "
            f"{self.settings.owner}, is gone; end this process, or connect to the "
            "queue of a new owner"
        )

    def shut_error(self) -> QueueShutDown:
        """The error for a queue that was shut down."""
        return QueueShutDown(
            f"queue {self.settings.name!r} is shut down; leave the loop that uses it"
        )


def tell_before_waiting(*, burst: bool) -> None:
    """Tell the owners what lies unread in rings.

    An answer to what was put may be what is waited for. And what is put after the wait
    belongs to another burst, unless it is for room that somebody waits: ``burst``.
    """
    for station in list(putting):
        putting.pop(station, None)
        station.tell(burst=burst)


@contextmanager
def driving(
    hubs: list[Station], timeout: float | None
) -> Iterator[tuple[list[int], float | None]]:
    """While a thread polls, and when it has: drive the hubs that nobody drives."""
    numbers = []
    for hub in hubs:
        driven = hub.drive_due()
        if driven is None:
            continue
        number, due = driven
        numbers.append(number)
        if due is not None:
            timeout = due if timeout is None else min(timeout, due)
    yield numbers, timeout
    for hub in hubs:
        hub.drive()
