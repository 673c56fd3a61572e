"""The event loop that a hub lives on, and what is done in its turns.

Invariants:

* The hub is bound to at most one event loop, the one it is first used on.
  Without one, blocking calls drive it while they wait.
* After every event ``_carry_out`` runs until the hub has nothing left to do.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ..errors import LoopMismatch
from ..machines.holdings import Holdings
from ..machines.record import Waiter
from ..wire.page import new_page
from ..wire.payload import Descriptor
from .busy_poll import BusyPoll, busy_poll_on
from .hub_lanes import HubLanes, new_hub
from .neighbours import Neighbours, neighbours_on
from .peer_station import PeerStation
from .readiness import poll
from .spinning import Experience
from .station import Settings, Station, driving, loopless
from .waiting import ThreadWaiter, running_loop

__all__ = ["HubLink"]


class HubLink(HubLanes):
    """A hub on its loop, or driven by the threads that wait."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.fresh = self.hub.store.fresh
        self._holdings = Holdings()
        self._neighbours = Neighbours()
        self._busy_poll: BusyPoll | None = None
        self._experience, self._expects = Experience(), False
        self._room_experience = Experience()
        self._flush_due = self._write_up_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._unsettled = False
        #: Whether dead letters stay out of the log, as somebody else tells of them.
        self.quiet = False
        self._granted_quick = 0
        # What may be put in a burst without looking: no room was given away since.
        self._allotted = self._allotted_bytes = 0
        self._plain = not settings.joinable and not self.hub.room.bounded
        self._may_hurry = not self.hub.room.bounded
        loopless[id(self)] = self
        self.bind()

    # The event loop

    def bind(self) -> None:
        """Bind the hub to the running loop, if there is one and it has none."""
        loop = running_loop()
        if loop is not None and self.loop is None and not self._disposed:
            self.loop = loop
            loopless.pop(id(self), None)
            loop.add_reader(self._readiness.fileno(), self._on_ready)
            self._busy_poll = busy_poll_on(loop)
            self._neighbours = neighbours_on(loop)
            self._neighbours.add(self._readiness.fileno(), self)
            self._arm()

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind to this loop, or raise LoopMismatch when bound to another."""
        if self.loop is None:
            with self.lock:
                self.bind()
        if self.loop is not loop:
            raise LoopMismatch(
                f"queue {self.settings.name!r} belongs to another event loop; "
                "create it, and use it, on one loop, or call q.sync in a thread"
            )

    def _on_ready(self) -> None:
        with self.lock:
            self._fetches = 0
            self._take_in()
            if self._expects and self.hub.store.waiting and self._busy_poll is not None:
                self._expects = False
                self._busy_poll.came(self._experience)
            if self.sink is None or not self.hub.store.waiting:
                self._carry_out()
                return
        try:
            self.sink()
        finally:
            # Whoever it has woken comes before what is to be written up here.
            if self.loop is not None and not self._write_up_due:
                self._write_up_due = True
                self.loop.call_soon(self._on_write_up)

    def expect(self) -> None:
        """On the loop: an item is about to come, with which somebody will go on."""
        loop, busy_poll = self.loop, self._busy_poll
        if loop is None or busy_poll is None:
            return
        # Who puts in a burst is looked after elsewhere.
        if self._by_record and not self._rings:
            self._expects = busy_poll.expect(self._experience, loop)

    def _on_write_up(self) -> None:
        with self.lock:
            self._write_up_due = False
            self._carry_out()

    def _on_timer(self) -> None:
        with self.lock:
            self._timer = None
            self._carry_out()

    def _on_flush(self) -> None:
        with self.lock:
            self._flush_due = False
            self._neighbours.bursting -= 1
            untouched = self.quick == self._granted_quick
            self.quick = self._granted_quick = 0
            if not untouched:
                self._carry_out()
                self._neighbours.put_at = time.monotonic()  # the burst may go on

    def _due(self) -> float | None:
        times = [t for t in (self.hub.deadline, self._retry_at) if t is not None]
        return min(times, default=None)

    def _arm(self) -> None:
        loop = self.loop
        if loop is None or loop.is_closed() or not self._is_sooner():
            return
        if running_loop() is loop:
            self._set_timer()
        else:
            loop.call_soon_threadsafe(self._set_timer)

    def _is_sooner(self) -> bool:
        # Whether something is due before the timer comes, if there is one.
        due = self._due()
        return due is not None and (self._timer is None or due < self._timer_at)

    def _set_timer(self) -> None:
        due = self._due()
        if due is None or self.loop is None or not self._is_sooner():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        delay = max(0.0, due - time.monotonic())
        self._timer = self.loop.call_later(delay, self._on_timer)

    # Taking in and carrying out; the lock is held

    def _take_in(self) -> bool:
        if self._disposed:
            return False
        for connection in list(self._rings):
            self._empty_ring(connection)
        ready = self._readiness.ready()
        self._attend(ready)
        if self._reception_number in ready:
            # A new peer's first put may be there already.
            self._attend(self._readiness.ready())
        if self._rings:
            self._look_again()
            return True
        return bool(ready)

    def _carry_out(self) -> None:
        self._allotted = 0
        hub = self.hub
        dealer = hub.dealer
        now = time.monotonic()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry()
        if hub.deadline is not None and now >= hub.deadline:
            self._take_in()  # what was sent before counts before the pages do
            hub.tick(now)
        while True:
            hub.settle_down(now)
            again = bool(hub.reclaims)
            while dealer.outgoing:
                record, _ = dealer.outgoing.popitem()
                connection = self._by_record.get(record)
                if connection is not None and not record.stalled:
                    again |= self._send(connection)
            for record in list(hub.reclaims) if again else ():
                frames = self._by_record[record].empty_lane()
                hub.reclaimed(record, frames, now)
            if not again:
                break
        if dealer.woken:
            self._wake(dealer.woken)
        if hub.store.news:
            self._log_dead_letters()
        if hub.deadline is not None or self._retry_at is not None:
            self._arm()

    def _log_dead_letters(self) -> None:
        for record in self.hub.news():
            if self.quiet:
                continue
            self._log(
                logging.ERROR,
                "%s: gave an item up after %d deliveries: %s",
                self.settings.name,
                record.attempts,
                record.reason,
            )

    # Waiting in a thread

    def _listen(self, timeout: float | None) -> None:
        wakeup = self._wakeup_for_leader()
        if self._disposed or (self._leader is not None and self._leader.signalled):
            return
        with driving([self, *self._loopless()], timeout) as (numbers, timeout):
            if self._disposed:
                return
            ready = poll([*numbers, wakeup.fileno()], timeout)
        if wakeup.fileno() in ready:
            wakeup.clear()

    def drive_due(self) -> tuple[int, float | None] | None:
        """What to poll to drive this, and in how many seconds something is due."""
        with self.lock:
            if self._disposed:
                return None
            self._carry_out()
            due = self._due()
            delay = None if due is None else max(0.0, due - time.monotonic())
            return self._readiness.fileno(), delay

    def drive(self) -> None:
        """Take in and carry out."""
        with self.lock:
            if self._disposed:
                return
            self._take_in()
            self._carry_out()
        if self.sink is not None and self.hub.store.waiting:
            self._tell_sink_later()

    def _tell_sink_later(self) -> None:
        # It runs without the lock, and on its loop.
        if (loop := self.home) is None:
            return
        if running_loop() is loop:
            loop.call_soon(self._on_ready)
        else:
            loop.call_soon_threadsafe(self._on_ready)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bind()

    def _prepare(self, waiter: Waiter) -> None:
        # A thread that will lead must be in reach of ``wake``.
        if isinstance(waiter, ThreadWaiter):
            self._wakeup_for_leader()

    def _end_waits(self) -> None:
        for waiter in self.hub.local_waiters():
            waiter.ended = True
            waiter.wake()

    # The end

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """The loop that this is bound to, if it is not closed."""
        return None if self.loop is None or self.loop.is_closed() else self.loop

    def handle(self) -> tuple[int, int]:
        """Descriptors for a handle."""
        return self._reception_sender.fileno(), self._page_file.fileno()

    def inherit(self) -> Station:
        """In a forked child: a peer, with none of the owner's descriptors."""
        loopless.pop(id(self), None)
        if self._disposed:
            self._renew_lock()  # somebody who is not here may have had it
            self.loop = None  # which was to close them, and is not here either
            self._close_sockets()
            return self
        if self._wakeup is not None:
            self._wakeup.close()
        sender = Descriptor(self._reception_sender.detach())
        station = PeerStation(self.settings, sender, self._page_file)
        self._close_sockets()
        self._forget_segments()
        # Without the items, which hold segments, for what the loop still calls here.
        self.hub = new_hub(self.settings, new_page())
        self.fresh = self.hub.store.fresh
        return station

    def _close_sockets(self) -> None:
        if self._close_lanes():
            self._neighbours.remove(self._readiness.fileno())
            self._readiness.close()
            self._wakeup = None

    def dispose(self) -> None:
        """Close everything; the peers see OwnerLost."""
        with self.lock:
            if self._disposed:
                return
            self._disposed = True
            loopless.pop(id(self), None)
            loop = self.loop
            self._wake(list(self.hub.joiners))
        self._drop_segments()
        if loop is not None and not loop.is_closed() and running_loop() is not loop:
            loop.call_soon_threadsafe(self._release)
        else:
            self._release()

    def _release(self) -> None:
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._readiness.fileno())
        if self._timer is not None:
            self._timer.cancel()
        with self.lock:
            self._close_sockets()
            self._page_file.close()
            self.hub.page = new_page()
