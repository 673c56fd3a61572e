"""How a thread of a peer's process waits for what the hub sends.

Invariants:

* Of all threads one at a time looks before it waits, and one, the leader, waits.
* What is found is read with the lock held, or by the leader.
"""

from __future__ import annotations

import select
import threading
import time

from ..machines.peer import Peer
from ..machines.record import Waiter
from ..wire.payload import Descriptor
from .peer_link import PeerLink
from .readiness import poll, poller_for, wait_for
from .spinning import SPIN, Experience, Spinner
from .station import Settings, Station, driving, loopless, putting, tell_before_waiting
from .transport import Lanes, Wakeup
from .waiting import FutureWaiter, ThreadWaiter

__all__ = ["PeerWaiting"]

_GLANCES = 8
"""Times that a get is to wait, of which one looks first, after a look in vain."""

_LATE = 0.001
"""Seconds after which a thread that waits says so, if it can wait for so long."""


class PeerWaiting(PeerLink):
    """The connection of one process, and the threads that wait for it."""

    interruptible = False
    """Whether a signal handler must be able to end a wait; for the whole process."""

    def __init__(
        self, settings: Settings, reception: Descriptor, page_file: Descriptor
    ) -> None:
        super().__init__(settings, reception, page_file)
        self._glances, self._glance_every = 0, 1
        self._polled: tuple[list[int], select.poll] = [], select.poll()
        self._spinner = Spinner()
        self._room_spinner = Spinner()
        self._room_experience = Experience()  # that of coroutines, likewise
        self._looked_with: tuple[list[int], select.poll] = [], select.poll()

    # Before waiting

    def glance(self, *, patient: bool) -> bool:
        """Take in what has come, unless the last look was in vain: is there an item?

        To wait for what is there already takes ten times as long; but with one item in
        flight nothing ever is. Then it helps to look for a moment: to wait is to tell
        many that one does.
        """
        if patient and self._spinner.willing and self._leader is None and not loopless:
            return self._look()
        self._glances += 1
        if self._glances % self._glance_every:
            return False
        self.fetch()
        machine = self.machine
        found = machine is not None and machine.available() > 0
        self._glance_every = 1 if found else _GLANCES
        return found

    def _look(self) -> bool:
        if putting:
            tell_before_waiting(burst=False)
        if self._spinner.at_once:  # likely, there is something again
            self.fetch()
            if self.machine is not None and self.machine.available():
                return True
        looking: Peer | None = None
        ready = False
        try:
            with self.lock:
                machine, lanes = self._user(), self._lanes
                if machine.begin_look(time.monotonic()):
                    looking = machine
                if machine.outbox:
                    self._flush()
            if looking is not None and lanes is not None:
                # A poller of its own: a thread that leads may poll meanwhile.
                ready = bool(self._spinner.spin(self._looker(lanes)))
        finally:
            if looking is not None:
                with self.lock:
                    looking.end_look()
        if not ready:
            return False
        with self.lock:
            self._take_in()
            self._check_pulse()
            self._settle_down()
            return self.machine is not None and self.machine.available() > 0

    def _looker(self, lanes: Lanes) -> select.poll:
        numbers = [end.fileno() for end in (lanes.down, lanes.alive) if end is not None]
        if self._looked_with[0] != numbers:
            self._looked_with = numbers, poller_for([n for n in numbers if n >= 0])
        return self._looked_with[1]

    # Waiting

    def _prepare(self, waiter: Waiter) -> None:
        if isinstance(waiter, FutureWaiter):
            self._watch(waiter.loop)
        elif isinstance(waiter, ThreadWaiter) and (self.interruptible or not _alone()):
            self._wakeup_for_leader()

    def _ends(self) -> tuple[Lanes | None, Wakeup | None]:
        # Who has the wakeup finds it set when another thread closes the queue, and
        # its number is no other file's until then.
        with self.lock:
            return self._lanes, self._wakeup

    def _listen(self, timeout: float | None) -> None:
        hubs = self._loopless()
        long = timeout is None or timeout > SPIN
        if long and not hubs and self._spinner.is_due() and self._spin():
            return
        lanes, wakeup = self._ends()
        if lanes is None:
            return
        alone = timeout is None and wakeup is None and lanes.alive is None
        if not (alone and not hubs and self._listen_alone()):
            self._sleep(timeout, hubs)

    def _spin(self) -> bool:
        lanes, wakeup = self._ends()
        if lanes is None:
            return False
        ready = self._spinner.spin(self._poller(_numbers(lanes, wakeup)))
        if not ready:
            return False
        _heed(wakeup, ready)
        with self.lock:
            self._take_in_as_leader()
        return True

    def _sleep(self, timeout: float | None, hubs: list[Station]) -> None:
        late, up = False, None
        with self.lock:
            lanes, wakeup, machine = self._lanes, self._wakeup, self.machine
            if lanes is None:
                return
            numbers = _numbers(lanes, wakeup)
            if machine is not None:
                late = machine.unannounced
                if machine.lane_full or machine.outbox:
                    up = lanes.up.fileno()
        if late:
            timeout = _LATE if timeout is None else min(timeout, _LATE)
        if hubs:
            with driving(hubs, timeout) as (more, timeout):
                ready = self._poll(numbers + more, up, timeout)
        else:
            ready = self._poll(numbers, up, timeout)
        _heed(wakeup, ready)
        with self.lock:
            self._take_in_as_leader()
            if late and not ready and self.machine is not None:
                self.machine.announce()
                self._flush()

    def _listen_alone(self) -> bool:
        # No other thread, no time to keep: one system call instead of two.
        machine = self.machine
        if machine is None or machine.outbox or machine.lane_full:
            return False
        if machine.unannounced:
            return False
        try:
            frame, descriptors = self._read(0)
        except BlockingIOError:  # somebody, a loop, has made the lane non-blocking
            return False
        with self.lock:
            try:
                self._understand(frame, descriptors)
            except BlockingIOError:
                return True
            self._settle_down()
        return True

    def _poller(self, numbers: list[int]) -> select.poll:
        if self._polled[0] != numbers:
            self._polled = numbers, poller_for(numbers)
        return self._polled[1]

    def _poll(
        self, numbers: list[int], up: int | None, timeout: float | None
    ) -> list[int]:
        if up is None:
            return wait_for(self._poller(numbers), timeout)
        return poll(numbers, timeout, up)

    def _take_in_as_leader(self) -> None:
        leader, self._leader = self._leader, None
        try:
            self._take_in()
            self._check_pulse()
            if self._flush() and self.machine is not None and self.machine.lane_full:
                self.machine.pass_room_on()
            self._settle_down()
        finally:
            self._leader = leader


def _numbers(lanes: Lanes, wakeup: Wakeup | None) -> list[int]:
    ends = lanes.down, lanes.alive, wakeup
    numbers = [end.fileno() for end in ends if end is not None]
    return [number for number in numbers if number >= 0]  # it is being closed


def _heed(wakeup: Wakeup | None, ready: list[int]) -> None:
    if wakeup is not None and wakeup.fileno() in ready:
        wakeup.clear()


def _alone() -> bool:
    return threading.active_count() == 1
