"""The putting half of a peer's station.

Invariants:

* A put has its frame in the kernel, or its item in the ring, when it returns.
* What follows something in another place says so: items arrive in their order.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from ..errors import OwnerLost, QueueShutDown
from ..machines.peer import Peer
from ..machines.record import Waiter
from ..wire import frames as wire
from ..wire.frames import BATCH_BYTES, BATCH_ITEMS, Kind
from ..wire.page import BELL, PUT, RING_TAIL, ROOM, UNBOUNDED
from ..wire.payload import Parcel, Payload, size_of
from .busy_poll import take_turns
from .peer_link import GONE
from .peer_waiting import PeerWaiting
from .ring import SHORT, RingWriter, write_of, writes
from .spinning import SPIN
from .station import putting
from .transport import DONTWAIT, send_loaded
from .waiting import running_loop

__all__ = ["PeerPutting"]

_BURST = 0.0001
"""Seconds within which a put that follows another belongs to the same burst."""

_MOST_OTHERS = 10
"""Puts that may have made a burst longer since the last look at its end."""


class PeerPutting(PeerWaiting):
    """What one process puts into a queue that another owns."""

    def put(self, payload: Payload) -> bool:
        """Put one item; False: there is no room, or the lane is full."""
        lock = self.lock
        for mine in self.turns:
            if not mine:
                self.await_turn()
                continue
            try:
                now = time.monotonic()
                if type(payload) is not bytes or (
                    now >= self.quick_until and not self._begin_quick(now)
                ):
                    return self._put_message(self.machine or self._user(), payload)
                machine, ring = self.machine, self.ring
                assert machine is not None
                assert ring is not None
                # As ``begin_one`` does, which costs one call more for each item.
                page, count = machine.page, machine.put + 1
                page[PUT] = count
                if not page[UNBOUNDED] and count > page[ROOM]:
                    page[PUT] = count - 1
                    self._check_open()
                    return False
                machine.put = count
                # As ``RingWriter.put`` does; most items in one step, without a call.
                length, at = len(payload), ring.at
                end = at + 4 + length
                if length < SHORT and end <= ring.limit:
                    write = writes[length] or write_of(length)
                    write(ring.memory, at, length, payload)
                    ring.at = end
                    page[RING_TAIL] = ring.lap + end
                elif not ring.put(payload, count - 1):
                    return self._send_put(machine, payload, 0)
            finally:
                lock.release()
            break
        assert ring is not None
        # To release a lock is a fence, as the ring needs one here.
        if page[BELL] != ring.rung or ring.lap + ring.at >= ring.urge_at:
            self.ring_bell(ring)
        return True

    def _begin_quick(self, now: float) -> bool:
        """Whether a put belongs to a burst; until ``quick_until`` others do, too."""
        machine = self.machine
        if machine is None:
            machine, now = self._user(), time.monotonic()  # to dial takes a while
        putting[self] = None
        others = min(machine.put - self._burst_from, _MOST_OTHERS)
        burst = now < self._burst_until + others * _BURST
        self._burst_until, self._burst_from = now + _BURST, machine.put + 1
        self.quick_until = 0.0
        if not burst or self.ring is None or machine.outbox:
            return False
        if now > self._pulse_at:
            self._feel_pulse(now)
        if self._shut:
            self._check_open()
        self.quick_until = self._pulse_at
        self.awaited |= running_loop() is not None
        return True

    def ring_bell(self, ring: RingWriter) -> None:
        """Tell the owner that something is in the ring, if it is to be told."""
        with self.lock:
            if ring.must_ring():
                self.quick_until = 0.0  # the hub sleeps: see whether it still is one
                self._send_bell()

    def tell(self, *, burst: bool) -> None:
        """Tell the owner of what lies unread in the ring, if it takes its time."""
        with self.lock:
            self.quick_until = 0.0
            if not burst:
                self._burst_until = 0.0
            if not self._lost and self.ring is not None and self.ring.lies_unread:
                with suppress(OwnerLost, QueueShutDown):  # nobody asks for it here
                    self._send_bell()

    def _break_off(self) -> None:
        if self.ring is not None:
            self.ring.break_off()

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
                self._break_off()
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
                self._break_off()
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

    def put_batch(
        self, payloads: list[Payload], lengths: list[int] | None = None
    ) -> int:
        """Put as many of the items as there is room for."""
        if lengths and len(lengths) > 1 and not self.sized and _fits(lengths):
            return self._send_batch(payloads, lengths)
        done = 0
        while done < len(payloads):
            batch = _cut(payloads, done)
            if len(batch) == 1 or self.settings.max_bytes is not None:
                batch = batch[:1]
                count = int(self.put(batch[0]))
            else:
                count = self._send_batch(batch, None)
            done += count
            if count < len(batch):
                break
        return done

    def _send_batch(self, batch: list[Payload], lengths: list[int] | None) -> int:
        self.guard()
        with self.lock:
            machine = self._user()
            count = 0 if self._shut else machine.begin_put(len(batch), 0)
            if not count:
                self._check_open()
                return 0
            if self._flush():
                try:
                    if count < len(batch):
                        batch, lengths = batch[:count], None
                    # Only a batch of one can be a parcel; see _cut.
                    frame = wire.encode_batch(batch, lengths)  # type: ignore[arg-type]
                    self._send(frame, DONTWAIT)
                    self._break_off()
                    return count
                except BlockingIOError:
                    pass
                except GONE:
                    self._lose()
                    raise self._gone_error() from None
            machine.take_back_put(count, 0)
            machine.lane_full = True
            return 0

    def look_for_room(self, until: float | None) -> bool:
        """Before waiting in a thread: whether a look at the page has found room.

        The owner grants it there as it gets items, and tells of it once in a turn of
        its loop.
        """
        machine, spinner = self._machine_to_look(until), self._room_spinner
        if machine is None or not spinner.is_due():
            return False
        return spinner.look(partial(machine.has_room, 0))

    async def await_room(self, until: float | None) -> bool:
        """Before waiting in a coroutine: look for room in a few turns of its loop."""
        machine, experience = self._machine_to_look(until), self._room_experience
        if machine is None or not experience.is_due():
            return False
        await take_turns(experience, partial(machine.has_room, 0), 1)
        return True

    def _machine_to_look(self, until: float | None) -> Peer | None:
        machine = self.machine
        if machine is None or machine.sized or machine.lane_full or machine.putters:
            return None
        if until is not None and until - time.monotonic() < SPIN:
            return None
        return machine

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
            # As in ``begin_get``: who shuts the queue down may not look again.
            if not (self._lost or self._is_open()):
                machine.end_putters()
                self._wake_machine()

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


def _fits(lengths: list[int]) -> bool:
    return len(lengths) <= BATCH_ITEMS and sum(lengths) <= BATCH_BYTES


def _cut(payloads: list[Payload], start: int) -> list[Payload]:
    # The next items that fit into one frame; a parcel is alone in its list.
    if _fits(list(map(len, payloads))):
        return payloads[start:]  # as in most cases, it is all of them
    batch: list[Payload] = []
    size = 0
    for payload in payloads[start : start + BATCH_ITEMS]:
        size += len(payload)
        if batch and size > BATCH_BYTES:
            break
        batch.append(payload)
    return batch
