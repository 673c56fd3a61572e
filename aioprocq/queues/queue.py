"""Queue: the asynchronous face.

Invariants:

* What has no room, or no item, is waited for in ``_wait_to_put`` and
  ``_wait_to_get``, and nowhere else.
* Between the end of a wait and the put or take that follows, nothing is awaited:
  cancelled means that nothing was put, or taken.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Hashable, Iterable
from contextlib import suppress
from pickle import loads
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..drivers.station import Settings
from ..errors import OwnerLost, QueueClosed, QueueEmpty, QueueFull, QueueShutDown
from ..machines.lock_free import MISSING
from ..machines.statistics import QueueStatistics
from ..wire.ahead import Opened
from ..wire.frames import Ask
from ..wire.payload import (
    OUT_OF_BAND,
    Parcel,
    Payload,
    dumps,
    escalate,
    expected,
    size_of,
)
from .checks import check_bytes, check_count, check_maxsize, check_timeout
from .chunks import Chunk, chunks
from .gathering import take_more
from .handle import Handle, arrive
from .packing import empty, full, pack, task_holder, unpack
from .sync import SyncQueue

__all__ = ["Queue"]

T = TypeVar("T")
R = TypeVar("R")

_numbers = itertools.count(1)
_YIELD_EVERY = 4


if TYPE_CHECKING:
    from typing import Generic as _Generic
else:

    class _Generic:
        # As the standard library's queues do it; lighter than typing.Generic.
        __class_getitem__ = classmethod(GenericAlias)


class Queue(_Generic[T]):
    """A queue between processes, owned by the process that creates it.

    Use it from coroutines of the owner and of any process that it was handed to;
    ``sync`` is the same queue for plain functions and threads. Items are pickled
    at ``put``, in the caller, and are handed out first in, first out, in the order
    in which they arrived at the owner.

    Args:
        maxsize: the most items that wait at a time; zero or less is unbounded.
        max_bytes: the most bytes of pickled items that wait at a time.
        name: for messages and ``repr``; one is made up when it is None.

    A consumer that dies takes with it what it was handed. What it was not handed
    yet goes to another one; see JoinableQueue for items that must not be lost.
    """

    _joinable = False

    def __init__(
        self,
        maxsize: float = 0,
        *,
        max_bytes: int | None = None,
        name: str | None = None,
    ) -> None:
        self._create(maxsize, max_bytes, name, 1)

    def _create(
        self, maxsize: float, max_bytes: int | None, name: str | None, deliveries: int
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string, not {type(name).__name__}")
        settings = Settings(
            name=name or f"queue-{os.getpid()}-{next(_numbers)}",
            maxsize=check_maxsize(maxsize),
            max_bytes=check_bytes(max_bytes),
            joinable=self._joinable,
            max_deliveries=deliveries,
            uid=os.urandom(16),
            owner=os.getpid(),
        )
        self._adopt(Handle.create(settings))

    def _adopt(self, handle: Handle) -> None:
        self._handle = handle

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _arrive, (type(self), *self._handle.reduce())

    def __repr__(self) -> str:
        settings = self._handle.settings
        place = "owner" if self._handle.owner else "peer"
        try:
            figures = self.statistics()
            state = f"{figures.state} qsize={figures.qsize}"
            if self._handle.closed:
                state = f"closed, {state}"
        except QueueClosed:
            state = "closed"
        except OwnerLost:
            state = "owner lost"
        return (
            f"<{type(self).__name__} {settings.name!r} {place} {state} "
            f"maxsize={settings.maxsize}>"
        )

    @property
    def sync(self) -> SyncQueue[T]:
        """The blocking face of the same queue, for plain functions and threads."""
        return SyncQueue(self._handle)

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._handle.settings.name

    @property
    def maxsize(self) -> float:
        """The most items that wait at a time, as it was given."""
        return self._handle.settings.maxsize

    # Putting

    async def put(self, item: T, *, timeout: float | None = None) -> None:
        """Put an item, waiting for room if there is none.

        Args:
            item: anything that pickles; what is large goes through shared memory.
            timeout: seconds to wait for room; None waits as long as it takes.

        Raises:
            QueueFull: there was no room in time.
            QueueShutDown: the queue was shut down; also while this waited.
            OwnerLost: the owner's process is gone.
            ValueError: the queue is closed here, or the item exceeds ``max_bytes``.
            OSError: there are no descriptors left for a large item.

        Cancellation: a cancelled put has put nothing. A put that returned in a
        worker outlives that worker.
        """
        until = None if timeout is None else check_timeout(timeout)
        station = self._handle.station
        try:
            data: Payload = (
                dumps(item, 5, buffer_callback=escalate)
                if expected.buffers
                else dumps(item, 5)
            )
        except Exception:
            data = pack(station, item)
        else:
            if station.quick > 0 and len(data) < OUT_OF_BAND:
                station.quick -= 1
                station.fresh.append(data)
                return
            if len(data) >= OUT_OF_BAND or station.sized:
                data = pack(station, item)
        if not station.put(data):
            await self._wait_to_put([data], until)

    async def _wait_to_put(self, payloads: list[Payload], until: float | None) -> int:
        station = self._handle.station
        done = 0
        while done < len(payloads):
            waiter = station.future_waiter(size=size_of(payloads[done]))
            if await station.await_room(until):
                if self._handle.closed:
                    raise station.closed_error()
                count = station.put_batch(payloads[done:])
                done += count
                if count:
                    continue
            station.begin_put(waiter)
            try:
                if not await station.sleep(waiter, until):
                    raise QueueFull(full(self.name, self.maxsize))
                if self._handle.closed:
                    raise station.closed_error()
                station.come_to_put(waiter)
                done += station.put_batch(payloads[done:])
            finally:
                station.end_put(waiter)
        return done

    def put_nowait(self, item: T) -> None:
        """Put an item if there is room now; QueueFull if there is none.

        In the owner's process this is exact. In another one there is room if the
        owner has granted some; a call that fails asks for it, and the next one
        finds it. ``sync.put(item, block=False)`` asks the owner. Raises otherwise
        as ``put`` does.
        """
        station = self._handle.station
        payload = pack(station, item)
        if not station.put(payload):
            station.ask_for_room(payload)
            raise QueueFull(full(self.name, self.maxsize))

    async def put_many(
        self,
        items: Iterable[T] | AsyncIterable[T],
        *,
        timeout: float | None = None,
    ) -> None:
        """Put the items of an iterable, in few messages.

        They are taken from ``items`` as there is room for them. ``timeout`` is for
        all of them together. When it is over, when this is cancelled, or when an
        item does not pickle, those before it may have been put; a note on the
        error says how many were. Raises as ``put`` does.
        """
        until = check_timeout(timeout)
        done = 0
        try:
            station = self._handle.station
            if type(items) is not list and isinstance(items, AsyncIterable):
                async for item in items:
                    await self._put_chunk(Chunk([pack(station, item)]), until)
                    done += 1
                return
            for number, chunk in enumerate(chunks(station, items), 1):
                await self._put_chunk(chunk, until)
                done += chunk.count
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        except Exception as failure:
            failure.add_note(f"aioprocq: {done} of the items, or more, were put")
            raise

    async def _put_chunk(self, chunk: Chunk, until: float | None) -> None:
        if left := chunk.put(self._handle.station):
            await self._wait_to_put(left, until)

    # Getting

    async def get(self, *, timeout: float | None = None) -> T:
        """Get the oldest item, waiting for one if there is none.

        Args:
            timeout: seconds to wait for an item; None waits as long as it takes.

        Raises:
            QueueEmpty: there was no item in time.
            QueueShutDown: the queue was shut down, and nothing is left in it.
            OwnerLost: the owner's process is gone.
            ValueError: the queue is closed here.
            OSError: there are no descriptors left for a large item, which stays.

        Large arrays are views of shared memory, to be read only: copy what you want
        to write to.

        Cancellation: a cancelled get has taken nothing. What unpickling raises is
        raised here; the item counts as handed out.
        """
        until = None if timeout is None else check_timeout(timeout)
        payload: Any
        station = self._handle.station
        if (free := station.free_items) is not None and not station.joinable:
            try:
                payload = next(free, MISSING)
            except BaseException:
                station.free_items = None  # it may have announced more than it took
                raise
            if payload is not MISSING:
                return payload  # type: ignore[no-any-return]
        holder = task_holder() if station.joinable else None
        payload = station.take(holder)
        if payload is None:
            payload = await self._wait_to_get(station.take, holder, until)
        kind = type(payload)
        if kind is bytes:
            try:
                return loads(payload)  # type: ignore[no-any-return]
            except Exception:
                pass  # again, below, where the failure is dealt with
        elif kind is not Parcel and kind is not Opened:
            return payload  # type: ignore[no-any-return]
        return unpack(station, payload, holder, None)  # type: ignore[return-value]

    async def _wait_to_get(
        self,
        take: Callable[[Hashable], R | None],
        holder: Hashable,
        until: float | None,
        *,
        linger: bool = False,
    ) -> R:
        station = self._handle.station
        while True:
            got = None
            if station.fetch() and (got := take(holder)) is not None:
                return got
            if station.take_ended(linger=linger):
                raise station.shut_error()
            if until is not None and until <= time.monotonic():
                raise QueueEmpty(empty(self.name))
            waiter = station.future_waiter(linger=linger)
            station.begin_get(waiter)
            try:
                if until is None:
                    await waiter.future
                    woken = True
                else:
                    woken = await station.sleep(waiter, until)
                self._handle.check_gets()
                got = take(holder)
            finally:
                station.end_get(waiter, took=got is not None)
            if got is not None:
                return got
            if waiter.ended:
                raise self._handle.station.shut_error()
            if not woken:
                raise QueueEmpty(empty(self.name))

    def get_nowait(self) -> T:
        """Get an item that is here now; QueueEmpty if there is none.

        In the owner's process this is exact. In another one it takes what has
        arrived there, and asks for an item to be sent; ``sync.get(block=False)``
        asks the owner. Raises otherwise as ``get`` does.
        """
        station = self._handle.station
        holder = task_holder() if station.joinable else None
        payload = station.take(holder)
        if payload is None:
            station.refresh()
            payload = station.take(holder)
        if payload is None:
            if station.take_ended(linger=False):
                raise station.shut_error()
            raise QueueEmpty(empty(self.name))
        return unpack(station, payload, holder, None)  # type: ignore[return-value]

    async def get_many(
        self, max_items: int, *, timeout: float | None = None
    ) -> list[T]:
        """Get one item at least, and then all that are here, up to a limit.

        Raises, and is cancelled, as ``get`` is.
        """
        check_count(max_items, "max_items")
        station = self._handle.station
        items = [await self.get(timeout=timeout)]
        holder = task_holder() if station.joinable else None
        take_more(self._handle, station, holder, items, max_items)
        return items

    def __aiter__(self) -> AsyncIterator[T]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[T]:
        while True:
            try:
                item = await self.get()
            except QueueShutDown:
                return
            yield item

    # Figures

    def qsize(self) -> int:
        """How many items wait: put, and not handed out to anybody.

        Exact in the owner's process. Elsewhere it is what the owner published
        last, without a round trip, and late by what is in the air.
        """
        return self._handle.station.qsize()

    def empty(self) -> bool:
        """Whether nothing waits; as exact as ``qsize`` is."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether ``maxsize`` items wait; as exact as ``qsize`` is."""
        maxsize = self._handle.settings.maxsize
        return 0 < maxsize <= self.qsize()

    def statistics(self) -> QueueStatistics:
        """The figures of this moment; a peer knows only some of them."""
        return self._handle.station.statistics()

    # Finishing

    def task_done(self) -> None:
        """Only what a JoinableQueue handed out can be settled: ValueError."""
        raise ValueError("task_done() called too many times")

    async def join(self) -> None:
        """Wait until everything that was put is finished.

        For a Queue that is: handed out. For a JoinableQueue: settled, given up, or
        thrown away by an immediate shutdown; the death of a consumer never makes
        this wait for ever. Raises OwnerLost. Cancellation changes nothing.
        """
        await self._ask(Ask.JOIN)

    async def flush(self) -> None:
        """Wait until what this process has put has arrived at the owner."""
        await self._ask(Ask.FLUSH)

    async def _ask(self, ask: Ask) -> list[Any]:
        station = self._handle.station
        while True:
            waiter = station.future_waiter()
            ident = station.begin_ask(ask, waiter)
            if ident is None:
                return station.end_ask(0)[1]
            try:
                await station.sleep(waiter, None)
            except BaseException:  # the owner may be gone, which is not to be told now
                with suppress(OwnerLost, QueueClosed):
                    station.end_ask(ident)
                raise
            value, found = station.end_ask(ident)
            if not self._handle.owner and value is not None:
                return found

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue for everybody, from any process.

        Puts raise QueueShutDown from now on, those that wait included. Gets drain
        what is left and then raise it. With ``immediate``, what waits is thrown
        away and counts as done; what was handed out is still to be settled. To do
        it again changes nothing.

        When an immediate shutdown returns in the owner's process everybody has been
        told: the owner may block then, in ``Process.join`` for instance. Otherwise its
        loop is needed until the queue is empty.
        """
        self._handle.station.shutdown(immediate=immediate)

    def close(self) -> None:
        """Use the queue no longer in this process; once or more.

        A peer hangs up. The owner's hub goes on serving the others, and its
        ``qsize``, ``empty``, ``task_done`` and ``join`` still answer.
        """
        self._handle.close()

    async def aclose(self) -> None:
        """Close; in the owner's process end the hub, so that peers see OwnerLost."""
        self._handle.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if failure is not None:
            self.shutdown(immediate=True)
            return
        try:
            await self._drain()
        except BaseException:
            self.shutdown(immediate=True)
            raise
        self.shutdown()

    async def _drain(self) -> None:
        """Wait for what ``async with`` waits for before it shuts down."""


def _arrive(kind: type[Queue[Any]], settings: Settings, places: list[Any]) -> Any:
    queue = kind.__new__(kind)
    queue._adopt(arrive(settings, places))
    return queue
