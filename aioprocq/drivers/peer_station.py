"""A peer's station: what one process does with a queue that another owns.

Invariants:

* A put has its frame in the kernel when it returns.
* What was taken is held before the lock is released.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from contextlib import suppress

from ..errors import OwnerLost, QueueShutDown
from ..machines.peer import Peer
from ..machines.record import DeadRecord, Waiter
from ..machines.statistics import QueueStatistics
from ..wire import frames as wire
from ..wire.ahead import open_ahead
from ..wire.frames import BATCH_BYTES, BATCH_ITEMS, Ask, Kind
from ..wire.page import ALERT, BELL, HANDED, PUBLISHED, State
from ..wire.payload import Parcel, Payload, size_of
from .peer_link import GONE, PeerLink
from .ring import RingWriter
from .station import Token, putting
from .transport import (
    DONTWAIT,
    send_loaded,
)
from .waiting import ThreadWaiter, running_loop

__all__ = ["PeerStation"]

_GLANCES = 8
"""Times that a get is to wait, of which one looks first, after a look in vain."""

_BURST = 0.0001
"""Seconds within which a put that follows another belongs to the same burst."""


class PeerStation(PeerLink):
    """One queue in a process that does not own it."""

    # Putting

    def put(self, payload: Payload) -> bool:
        """Put one item; False: there is no room, or the lane is full."""
        lock = self.lock
        lock.acquire()
        try:
            machine = self.machine or self._user()
            now = time.monotonic()
            burst, self._burst_until = now < self._burst_until, now + _BURST
            ring = self._ring
            if (
                not burst
                or ring is None
                or type(payload) is not bytes
                or machine.sized
                or machine.outbox
            ):
                return self._put_message(machine, payload)
            if now > self._pulse_at:
                self._feel_pulse(now)
            if self._shut or not machine.begin_one():
                self._check_open()
                return False
            # What it follows may still be on the lane.
            if not ring.put(payload, machine.put - 1 if self._sent else None):
                return self._send_put(machine, payload, 0)
            self._sent = False
            if not self._listed:
                self._listed = True
                putting[self] = None
        finally:
            lock.release()
        # To release a lock is a fence, as the ring needs one here.
        if machine.page[BELL] != ring.rung or ring.tail >= ring.urge_at:
            self._ring_bell(ring)
        return True

    def _ring_bell(self, ring: RingWriter) -> None:
        with self.lock:
            if ring.must_ring():
                self._send_bell()

    def tell(self) -> None:
        """Tell the owner of what lies unread in the ring, if it takes its time."""
        with self.lock:
            self._listed = False
            if not self._lost and self._ring is not None and self._ring.lies_unread:
                with suppress(OwnerLost, QueueShutDown):  # nobody asks for it here
                    self._send_bell()

    def _put_message(self, machine: Peer, payload: Payload) -> bool:
        if isinstance(payload, Parcel):
            return self._put_parcel(machine, payload)
        size = len(payload) if machine.sized else 0
        if self._shut or not (
            machine.begin_put(1, size) if size else machine.begin_one()
        ):
            self._check_open()
            return False
        return self._send_put(machine, payload, size)

    def _send_put(self, machine: Peer, frame: bytes, size: int) -> bool:
        try:
            if not machine.outbox or self._flush():
                self._send(frame, DONTWAIT)
                self._sent = True
                return True
        except BlockingIOError:
            pass
        except GONE:
            self._lose()
            raise self._gone_error() from None
        machine.take_back_put(1, size)
        machine.lane_full = True
        return False

    def _put_parcel(self, machine: Peer, parcel: Parcel) -> bool:
        if self._shut or not machine.begin_put(1, parcel.size):
            self._check_open()
            return False
        sent = False
        try:
            announce = wire.encode_flag(Kind.ANNOUNCE, len(parcel.descriptors))
            data = wire.encode_parcel(0, 0, parcel.size, parcel.head)
            numbers = [d.fileno() for d in parcel.descriptors]
            if self._lanes is not None and self._flush():
                self._send(announce, DONTWAIT)
                send_loaded(self._lanes.up, data, numbers)
                self._sent = True
                sent = True
        except BlockingIOError:
            pass  # an announcement alone does no harm; it is sent again
        except GONE:
            self._lose()
            raise self._gone_error() from None
        finally:
            if not sent:
                machine.take_back_put(1, parcel.size)
                machine.lane_full = True
        return sent

    def put_batch(self, payloads: list[Payload]) -> int:
        """Put as many of the items as there is room for."""
        done = 0
        while done < len(payloads):
            batch = _cut(payloads, done)
            if len(batch) == 1 or self.settings.max_bytes is not None:
                batch = batch[:1]
                count = int(self.put(batch[0]))
            else:
                count = self._send_batch(batch)
            done += count
            if count < len(batch):
                break
        return done

    def _send_batch(self, batch: list[Payload]) -> int:
        with self.lock:
            machine = self._user()
            count = 0 if self._shut else machine.begin_put(len(batch), 0)
            if not count:
                self._check_open()
                return 0
            if self._flush():
                try:
                    # Only a batch of one can be a parcel; see _cut.
                    frame = wire.encode_batch(batch[:count])  # type: ignore[arg-type]
                    self._send(frame, DONTWAIT)
                    self._sent = True
                    return count
                except BlockingIOError:
                    pass
                except GONE:
                    self._lose()
                    raise self._gone_error() from None
            machine.take_back_put(count, 0)
            machine.lane_full = True
            return 0

    def begin_put(self, waiter: Waiter) -> None:
        """Let a putter wait for room, or for the lane to have some."""
        with self.lock:
            machine = self._user()
            self._check_open()
            machine.wait_to_put(waiter)
            self._prepare(waiter)
            self._settle_down()
            if machine.lane_full:
                self._await_writing()

    def ask_for_room(self, payload: Payload) -> None:
        """A put that does not wait found no room: ask for some."""
        with self.lock:
            self._machine().ask_room_for(size_of(payload))
            self._tell()

    def come_to_put(self, waiter: Waiter) -> None:
        """A putter that was woken is about to put."""
        with self.lock:
            if self.machine is not None:
                self.machine.come(waiter)

    def end_put(self, waiter: Waiter) -> None:
        """A putter waits no longer: let the next one use the room."""
        with self.lock:
            machine = self.machine
            if machine is None:
                return
            machine.stop_putting(waiter)
            if machine.putters:
                machine.pass_room_on()
                self._wake_machine()
            self._flush()

    # Getting

    def take(self, holder: Hashable) -> object:
        """Hand out an item that has come; None: none has."""
        lock = self.lock
        lock.acquire()
        try:
            machine = self.machine
            if machine is None or len(machine.items) < 2 or machine.outbox:
                return self._take_next(holder)
            # As ``Peer.take`` does, which costs one call more for each item.
            page, handed = machine.page, machine.handed + 1
            page[HANDED] = handed
            if page[ALERT] < handed:
                return self._take_next(holder)
            machine.handed = handed
            if self.joinable:
                held = machine.holdings
                if held.next == handed - 1 and holder == held.holder:
                    held.next = handed
                else:
                    held.hold(handed - 1, holder)
            return machine.items.popleft()
        finally:
            lock.release()

    def _take_next(self, holder: Hashable) -> object:
        # The same, where there may be something to say to the hub.
        machine = self._user()
        if not machine.items:
            machine = self._open_next(machine)
        item = machine.take()
        if item is None:
            if machine.failure is not None:
                self._raise_failure(machine)
        elif self.joinable:
            machine.hold(holder)
        if machine.outbox:
            self._flush()
        return item

    def _open_next(self, machine: Peer) -> Peer:
        # Unpickle a whole batch, if nobody can tell that from item by item.
        batch = machine.next_sealed()
        if batch is None:
            return machine
        start, items = machine.handed, None
        # Without the lock: what is allocated here may start a garbage collection,
        # and so somebody's finalizer, which may use this queue.
        self.lock.release()
        try:
            items = open_ahead(batch)
        finally:
            self.lock.acquire()
            machine.opened(batch, start, items)
        return self.machine or self._user()

    def take_many(self, holder: Hashable, most: int) -> list[object]:
        """Hand out several items of a batch that was opened."""
        with self.lock:
            machine = self._user()
            items = machine.take_many(most)
            if self.joinable:
                machine.hold_many(len(items), holder)
            if machine.outbox:
                self._flush()
            return items

    def _raise_failure(self, machine: Peer) -> None:
        failure, machine.failure = machine.failure, None
        if failure is not None:
            raise failure

    def take_delivery(
        self, holder: Hashable = None
    ) -> tuple[object, Token, int] | None:
        """Hand out an item for a delivery."""
        with self.lock:
            machine = self._user()
            if not machine.items:
                machine = self._open_next(machine)
            payload = machine.take()
            attempt = machine.attempts + 1
            if machine.outbox:
                self._flush()
            if machine.failure is not None:
                self._raise_failure(machine)
            if payload is None:
                return None
            return payload, machine.hold(None), attempt

    def refresh(self) -> None:
        """Take in what has come, without waiting; ask for one item more."""
        with self.lock:
            machine = self._user()
            if machine.available():
                return
            machine.starving(time.monotonic())
            self._take_in()
            if not machine.available():
                machine.ask_ahead()
            self._settle_down()

    def gather(self) -> None:
        """Take in what has come, for a call that wants all there is."""
        self.fetch()

    def take_ended(self, *, linger: bool) -> bool:
        """Whether a get that finds nothing should raise at once."""
        if self._is_open():
            return False
        with self.lock:
            return self._ended(self._user(), linger=linger)

    def _ended(self, machine: Peer, *, linger: bool) -> bool:
        state = self._state()
        if state is State.SHUT:
            # Nobody may be there to say that it is over: the owner may be waiting,
            # without its loop, for this process to end.
            qsize, unfinished, begun = self._published()
            if begun or qsize:
                return False
            state = State.DRAINED if unfinished else State.OVER
        self._take_in()
        self._settle_down()
        if machine.available():
            return False
        return state is State.OVER or not linger or bool(machine.holdings)

    def begin_get(self, waiter: Waiter) -> None:
        """Let a getter wait."""
        with self.lock:
            machine = self._user()
            machine.starving(time.monotonic())
            # A leader that is there already has begun to wait, maybe for ever.
            late = self._leader is None and isinstance(waiter, ThreadWaiter)
            machine.wait_to_get(waiter, late=late)
            if machine.available():
                machine.hand_on()
            self._prepare(waiter)
            self._settle_down()
            # The owner says that it shuts down, and then looks for our frames; we
            # have sent ours, and then look: one of us sees the other.
            shut = not self._is_open()
            if shut and not self._lost and self._ended(machine, linger=waiter.linger):
                waiter.ended = True
                waiter.wake()

    def end_get(self, waiter: Waiter, *, took: bool) -> None:
        """A getter waits no longer."""
        with self.lock:
            machine = self.machine
            if machine is None:
                return
            machine.stop_getting(waiter)
            if machine.getters:
                machine.hand_on()
            self._settle_down()

    # Settling

    def settle(self, token: Token, *, report: bool = True) -> bool:
        """An item is done; False: it is not held."""
        with self.lock:
            machine = self._machine()
            done = machine.settle(token, report=report)
            if not report and not self._is_open():
                machine.outbox.append(wire.REPORT)  # the owner may have looked before
            if machine.outbox:
                self._tell()
            return done

    def fail(self, token: Token, reason: str, *, final: bool) -> bool:
        """An attempt at an item failed; False: it is not held."""
        with self.lock:
            done = self._machine().fail(token, reason, final=final)
            self._tell()
            return done

    def fail_latest(self, holder: Hashable, reason: str) -> None:
        """The attempt at what ``holder`` was handed last failed."""
        with self.lock:
            machine = self._machine()
            token = machine.holdings.latest(holder)
            if token is not None:
                machine.fail(token, reason, final=False)
            self._tell()

    def settle_held(self, holder: Hashable) -> bool:
        """``task_done``, as far as this process holds something."""
        lock = self.lock
        lock.acquire()
        try:
            machine = self.machine or self._machine()
            done = machine.settle_first(holder)
            if machine.outbox:
                self._tell()
            return done
        finally:
            lock.release()

    def settle_anywhere(self) -> bool:
        """Ask for the oldest item held anywhere to be settled."""
        with self.lock:
            machine = self._machine()
            if not self._published()[1]:
                return False
            machine.forget(machine.request(Ask.TASK_DONE, Waiter()))
            self._tell()
            return True

    # Requests

    def begin_ask(self, ask: Ask, waiter: Waiter) -> int | None:
        """Ask the hub, and wait for its answer."""
        with self.lock:
            ident = self._machine().request(ask, waiter)
            self._prepare(waiter)
            self._settle_down()
            return ident

    def end_ask(self, ident: int) -> tuple[int | None, list[DeadRecord]]:
        """The answer, as far as it has come."""
        with self.lock:
            machine = self._machine()
            answer = machine.answers.get(ident)
            machine.forget(ident, cancel=True)
            self._flush()
            if answer is None:
                return None, []
            return answer.value, answer.letters

    def shutdown(self, *, immediate: bool) -> None:
        """No more puts, here at once, elsewhere as soon as the hub reads it."""
        with self.lock:
            machine = self._machine()
            self._shut = True
            machine.outbox.append(wire.encode_flag(Kind.SHUTDOWN, immediate))
            machine.end_putters()
            self._settle_down()
            if self._lost:
                raise self.lost_error()
        if running_loop() is None:
            self._flush_waiting()

    def qsize(self) -> int:
        """Items that wait, as the owner published it last."""
        self._check_alive()
        with self.lock:
            machine, published = self.machine, self._page()[PUBLISHED]
            qsize = self._published()[0]
            if machine is not None and qsize and published != self._looked_at:
                # Others may have been handed some that the owner knows nothing of.
                self._looked_at = published
                machine.outbox.append(wire.LOOK)
                self._flush()
            return qsize

    def statistics(self) -> QueueStatistics:
        """What the owner published last."""
        qsize = self.qsize()
        with self.lock:
            unfinished = self._published()[1]
        return QueueStatistics(
            qsize=qsize,
            unfinished=unfinished,
            state=self._state().name.lower(),
        )

    def fetch(self) -> bool:
        """Take in what has come, before waiting for it on an event loop."""
        with self.lock:
            machine = self._user()
            machine.starving(time.monotonic())
            self._take_in()
            self._settle_down()
            return True

    def glance(self) -> bool:
        """Take in what has come, unless the last look was in vain: is there an item?

        To wait for what is there already takes ten times as long; but with one item in
        flight nothing ever is.
        """
        self._glances += 1
        if self._glances % self._glance_every:
            return False
        self.fetch()
        machine = self.machine
        found = machine is not None and machine.available() > 0
        self._glance_every = 1 if found else _GLANCES
        return found


def _cut(payloads: list[Payload], start: int) -> list[Payload]:
    # The next items that fit into one frame; a parcel is alone in its list.
    batch: list[Payload] = []
    size = 0
    for payload in payloads[start : start + BATCH_ITEMS]:
        size += len(payload)
        if batch and size > BATCH_BYTES:
            break
        batch.append(payload)
    return batch
