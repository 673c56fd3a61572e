"""What supervisors tell of their workers."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from ..drivers.segment import open_payload
from ..machines.restart import ExitReason
from ..wire.payload import Payload

__all__ = ["EventStream", "Events", "HeldItem", "WorkerEvent"]

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item that a worker held when it died.

    Attributes:
        queue: the name of its JoinableQueue.
        attempts: how many attempts at it have failed, this one included.
    """

    queue: str
    attempts: int
    _payload: Payload = field(repr=False)

    @property
    def item(self) -> object:
        """The item, unpickled when it is asked for; raises what that raises."""
        return open_payload(self._payload)


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that has happened to a worker.

    Attributes:
        kind: the state that the worker is in now: "starting", "ready", "draining",
            "stopping", "exited", "backing off" or "failed"; or "suspect".
        group: the name of its group.
        worker: its own name.
        pid: its process id; None when it has no process.
        attempt: how many processes have been started in its place.
        time: seconds since the epoch.
        reason: why it exited, or is to.
        status: how it ended, in words: "exit code 3", "signal SIGSEGV".
        held: what it held of JoinableQueues when it ended; that is delivered again.
        failure: what it raised, with its traceback in a note.
        detail: more for people to read: stacks, limits, delays.
    """

    kind: str
    group: str
    worker: str
    pid: int | None
    attempt: int
    time: float
    reason: ExitReason | None = None
    status: str = ""
    held: tuple[HeldItem, ...] = ()
    failure: BaseException | None = None
    detail: str = ""


class EventStream:
    """The events of a supervisor from now on, as an asynchronous iterator.

    It ends when the supervisor has ended. A reader that is more than 10,000 events
    behind misses the oldest; ``missed`` says how many.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._events: deque[WorkerEvent] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WorkerEvent:
        """The next event. Cancellation: it is the next one's."""
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        return self._events.popleft()

    def _add(self, event: WorkerEvent) -> None:
        self._events.append(event)
        if len(self._events) > _MOST:
            self._events.popleft()
            self.missed += 1
        self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class Events:
    """Everybody who reads the events of one supervisor."""

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._ended = False

    def subscribe(self) -> EventStream:
        """A new reader."""
        stream = EventStream()
        if self._ended:
            stream._end()
        self._streams.add(stream)
        return stream

    def publish(self, event: WorkerEvent) -> None:
        """Tell everybody."""
        for stream in self._streams:
            stream._add(event)

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        for stream in self._streams:
            stream._end()
