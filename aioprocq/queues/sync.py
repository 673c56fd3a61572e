"""The blocking face: for plain functions in workers, and for threads.

The same operations as the asynchronous face, over the same stations; what waits
there on the event loop waits here in the calling thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from pickle import loads
from typing import Any, Generic, TypeVar

from ..drivers.ring import SHORT, write_of, writes
from ..drivers.station import Station
from ..drivers.threads import here, thread_number
from ..drivers.waiting import running_loop
from ..errors import (
    LoopMismatch,
    OwnerLost,
    QueueClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
)
from ..machines.lock_free import MISSING
from ..machines.statistics import QueueStatistics
from ..wire.ahead import Opened
from ..wire.frames import Ask
from ..wire.page import BELL, PUT, RING_TAIL, ROOM, UNBOUNDED
from ..wire.payload import (
    OUT_OF_BAND,
    Parcel,
    Payload,
    dumps,
    escalate,
    expected,
    size_of,
)
from .checks import check_count, check_timeout
from .chunks import chunks
from .delivery import DeadLetter, Delivery
from .gathering import take_more
from .handle import Handle
from .packing import empty, full, letters, pack, unpack

__all__ = ["SyncQueue"]

T = TypeVar("T")
R = TypeVar("R")


class SyncQueue(Generic[T]):
    """A queue as ``multiprocessing`` has it: calls that block.

    Get it from ``Queue.sync``. It may be used from any number of threads at once.
    In an owner without a running event loop, a blocking call drives the queue
    while it waits; between calls nobody does. On the thread of a running event
    loop a call that could block raises LoopMismatch, a RuntimeError.
    """

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __repr__(self) -> str:
        return f"<blocking face of queue {self._handle.settings.name!r}>"

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._handle.settings.name

    # Putting

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item, waiting for room if there is none and ``block`` is true.

        Args:
            obj: anything that pickles; what is large goes through shared memory.
            block: False raises QueueFull at once, and ignores the timeout.
            timeout: seconds to wait for room; None waits as long as it takes.

        Raises: as ``Queue.put`` does. A put that returned outlives its process.
        """
        until = None if timeout is None or not block else check_timeout(timeout)
        station = self._handle.station
        if station.awaited and block and running_loop() is not None:
            raise _on_loop("put")
        try:
            data: Payload = (
                dumps(obj, 5, buffer_callback=escalate)
                if expected.buffers
                else dumps(obj, 5)
            )
        except Exception:
            data = pack(station, obj)
        else:
            length = len(data)
            if length < SHORT and station.quick_until:
                # As ``PeerPutting.put`` does, which costs one call more for each item.
                tail, lock = 0, station.lock
                for mine in station.turns:
                    if not mine:
                        station.await_turn()
                        continue
                    try:
                        machine, ring = station.machine, station.ring
                        if (
                            time.monotonic() < station.quick_until
                            and machine is not None
                            and ring is not None
                            and (end := ring.at + 4 + length) <= ring.limit
                        ):
                            page, count = machine.page, machine.put + 1
                            page[PUT] = count
                            if page[UNBOUNDED] or count <= page[ROOM]:
                                machine.put = count
                                write = writes[length] or write_of(length)
                                write(ring.memory, ring.at, length, data)
                                ring.at = end
                                page[RING_TAIL] = tail = ring.lap + end
                            else:
                                page[PUT] = count - 1
                    finally:
                        lock.release()
                    break
                if tail and ring is not None:
                    # To release a lock is a fence, as the ring needs one here.
                    if page[BELL] != ring.rung or tail >= ring.urge_at:
                        station.ring_bell(ring)
                    return
            elif length >= OUT_OF_BAND or station.sized:
                data = pack(station, obj)
        if block and running_loop() is not None:
            raise _on_loop("put")
        if not station.put(data):
            if not block:
                return self._put_now(data)
            self._wait_to_put([data], until)

    def _put_now(self, payload: Payload) -> None:
        station = self._handle.station
        station.ask_for_room(payload)
        if not self._handle.owner and running_loop() is None:
            self._ask(Ask.FLUSH)  # when this is answered, so is the other
            if station.put(payload):
                return
        raise QueueFull(full(self.name, station.settings.maxsize))

    def _wait_to_put(self, payloads: list[Payload], until: float | None) -> None:
        station = self._handle.station
        done = 0
        while done < len(payloads):
            waiter = station.new_waiter(size=size_of(payloads[done]))
            if station.look_for_room(until):
                count = station.put_batch(payloads[done:])
                done += count
                if count:
                    continue
            station.begin_put(waiter)
            try:
                if not station.block(waiter, until):
                    raise QueueFull(full(self.name, station.settings.maxsize))
                if self._handle.closed:
                    raise station.closed_error()
                station.come_to_put(waiter)
                done += station.put_batch(payloads[done:])
            finally:
                station.end_put(waiter)

    def put_nowait(self, obj: T) -> None:
        """Put an item if there is room now; QueueFull if there is none."""
        self.put(obj, block=False)

    def put_many(self, items: Iterable[T], timeout: float | None = None) -> None:
        """Put the items of an iterable, in few messages; see ``Queue.put_many``."""
        if running_loop() is not None:
            raise _on_loop("put_many")
        until = check_timeout(timeout)
        done = 0
        try:
            for chunk in chunks(self._handle.station, items):
                if left := chunk.put(self._handle.station):
                    self._wait_to_put(left, until)
                done += chunk.count
        except Exception as failure:
            failure.add_note(f"aioprocq: {done} of the items, or more, were put")
            raise

    # Getting

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Get the oldest item, waiting for one if there is none and ``block`` is true.

        Args:
            block: False raises QueueEmpty at once, after the owner was asked, and
                ignores the timeout.
            timeout: seconds to wait for an item; None waits as long as it takes.

        Raises: as ``Queue.get`` does.
        """
        item: Any
        until = None
        if timeout is not None and block:
            until = check_timeout(timeout)
        station = self._handle.station
        if station.awaited and block and running_loop() is not None:
            raise _on_loop("get")
        if (free := station.free_items) is not None:
            try:
                item = next(free, MISSING)
            except BaseException:
                station.free_items = None  # it may have announced more than it took
                raise
            if item is not MISSING:
                return item  # type: ignore[no-any-return]
        holder = (here.number or thread_number()) if station.joinable else None
        item = station.take(holder)
        if item is None:
            if block and running_loop() is not None:
                raise _on_loop("get")
            item = self._wait(station.take, holder, block, until)
        kind = type(item)
        if kind is bytes or kind is Parcel or kind is Opened:
            item = self._open(station, item, holder)
        return item  # type: ignore[no-any-return]

    def _wait(
        self,
        take: Callable[[Hashable], R | None],
        holder: Hashable,
        block: bool,
        until: float | None,
        *,
        linger: bool = False,
    ) -> R:
        if not block or (until is not None and until <= time.monotonic()):
            return self._ask_for_one(take, holder)
        station = self._handle.station
        while True:
            found = station.glance(patient=until is None)
            self._handle.check_gets()
            if found and (got := take(holder)) is not None:
                return got
            if station.take_ended(linger=linger):
                if (got := take(holder)) is not None:
                    return got
                raise station.shut_error()
            waiter, got = station.new_waiter(linger=linger), None
            station.begin_get(waiter)
            try:
                self._handle.check_gets()  # a signal may have come between the two
                woken = station.block(waiter, until)
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

    def _ask_for_one(self, take: Callable[[Hashable], R | None], holder: Hashable) -> R:
        station = self._handle.station
        station.refresh()
        got = take(holder)
        if got is None and not self._handle.owner and running_loop() is None:
            self._ask(Ask.POLL)
            got = take(holder)
        if got is not None:
            return got
        if station.take_ended(linger=False):
            raise station.shut_error()
        raise QueueEmpty(empty(self.name))

    def get_nowait(self) -> T:
        """Get an item if there is one; QueueEmpty if there is none.

        In a process that does not own the queue this asks the owner. On the thread
        of a running event loop it takes what has arrived, as ``Queue.get_nowait``.
        """
        return self.get(block=False)

    def get_many(self, max_items: int, timeout: float | None = None) -> list[T]:
        """Get one item at least, and then all that are here, up to a limit."""
        check_count(max_items, "max_items")
        station = self._handle.station
        items = [self.get(timeout=timeout)]
        take_more(self._handle, station, thread_number(), items, max_items)
        return items

    def __iter__(self) -> Iterator[T]:
        if running_loop() is not None:
            raise _on_loop("get")
        holder = None
        if self._handle.settings.joinable:
            holder = thread_number()
        item: Any
        while True:
            # As in get, but for what is the same for every item.
            station = self._handle.station
            if (free := station.free_items) is not None:
                try:
                    item = next(free, MISSING)
                except BaseException:
                    station.free_items = None  # as in get
                    raise
                if item is not MISSING:
                    yield item
                    continue
            try:
                item = station.take(holder)
                if item is None:
                    if running_loop() is not None:
                        raise _on_loop("get")
                    item = self._wait(station.take, holder, True, None)
                kind = type(item)
                if kind is bytes or kind is Parcel or kind is Opened:
                    item = self._open(station, item, holder)
            except QueueShutDown:
                return
            yield item

    def _open(self, station: Station, payload: object, holder: Hashable) -> Any:
        if type(payload) is bytes:
            try:
                return loads(payload)
            except Exception:
                pass  # again, below, where the failure is dealt with
        return unpack(station, payload, holder, None)

    def deliveries(self) -> Iterator[Delivery[T]]:
        """The items one by one, each to be settled by name, until shutdown.

        At a shutdown it ends when nothing is left that a dying consumer could
        still return, so that somebody is there to take it.
        """
        while True:
            try:
                delivery = self.get_delivery(linger=True)
            except QueueShutDown:
                return
            yield delivery

    def get_delivery(
        self, timeout: float | None = None, *, linger: bool = False
    ) -> Delivery[T]:
        """Get the oldest item as a Delivery; otherwise as ``get``."""
        if running_loop() is not None:
            raise _on_loop("get_delivery")
        if not self._handle.settings.joinable:
            raise TypeError("only a JoinableQueue has deliveries; create one of those")
        until = check_timeout(timeout)
        station = self._handle.station
        got = station.take_delivery()
        if got is None:
            got = self._wait(station.take_delivery, None, True, until, linger=linger)
        payload, token, attempt = got
        item: Any = unpack(station, payload, None, token)
        return Delivery(station, token, item, attempt)

    # Figures

    def qsize(self) -> int:
        """How many items wait; see ``Queue.qsize``."""
        return self._handle.station.qsize()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether ``maxsize`` items wait."""
        return 0 < self._handle.settings.maxsize <= self.qsize()

    def statistics(self) -> QueueStatistics:
        """The figures of this moment."""
        return self._handle.station.statistics()

    # Finishing

    def task_done(self) -> None:
        """Settle what this thread got first; see ``JoinableQueue.task_done``."""
        station = self._handle.station
        free = station.free_settling
        if free is not None and (calm := next(free, None)) is not None:
            if not calm:
                station.yield_if_asked()
            return
        if self._handle.settings.joinable:
            if station.settle_held(here.number or thread_number()):
                return
            if self._handle.owner or running_loop() is not None:
                if station.settle_anywhere():
                    return
            elif self._ask(Ask.TASK_DONE)[0] == 0:
                return
        raise ValueError("task_done() called too many times")

    def join(self, timeout: float | None = None) -> bool:
        """Wait until everything is finished: True; or for ``timeout`` seconds: False.

        See ``Queue.join``.
        """
        if running_loop() is not None:
            raise _on_loop("join")
        value, _ = self._ask(Ask.JOIN, check_timeout(timeout))
        return value is not None

    def dead_letters(self) -> list[DeadLetter]:
        """What was given up on, oldest first."""
        return letters(self._ask(Ask.DEAD_LETTERS)[1])

    def flush(self) -> None:
        """Wait until what this process has put has arrived at the owner."""
        self._ask(Ask.FLUSH)

    def _ask(
        self, ask: Ask, until: float | None = None
    ) -> tuple[int | None, list[Any]]:
        station = self._handle.station
        while True:
            waiter = station.new_waiter()
            ident = station.begin_ask(ask, waiter)
            if ident is None:
                return station.end_ask(0)
            try:
                woken = station.block(waiter, until)
            except BaseException:
                with suppress(OwnerLost, QueueClosed):
                    station.end_ask(ident)
                raise
            value, found = station.end_ask(ident)
            if not woken:
                return None, found
            if not self._handle.owner and value is not None:
                return value, found

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue for everybody; see ``Queue.shutdown``."""
        self._handle.station.shutdown(immediate=immediate)

    def close(self) -> None:
        """Use the queue no longer in this process; see ``Queue.close``."""
        self._handle.close()

    def join_thread(self) -> None:
        """Do nothing: there is no thread. For code written for multiprocessing."""

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no thread. For code written for multiprocessing."""


def _on_loop(name: str) -> LoopMismatch:
    return LoopMismatch(
        f"sync.{name}() could block this thread's running event loop; await "
        f"{name}() of the queue itself instead"
    )
