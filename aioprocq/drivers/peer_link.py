"""A peer's connection: dialling, sending, and what the event loop says of it.

Invariants:

* It dials when it is first used, and after a fork anew.
* Control frames leave the outbox when the kernel has them, and not before.
"""

from __future__ import annotations

import asyncio
import select

from ..errors import OwnerLost, QueueClosed, QueueShutDown
from ..machines.peer import Peer
from ..wire import frames as wire
from ..wire.page import (
    BEGUN,
    PUBLISHED,
    QSIZE,
    ROOM,
    ROOM_BYTES,
    STATE,
    UNBOUNDED,
    UNFINISHED,
    UNLIMITED,
    Page,
    State,
)
from ..wire.payload import Descriptor
from .busy_poll import BusyPoll, busy_poll_on
from .peer_reading import PeerReading
from .readiness import poll
from .ring import RINGS, RingWriter
from .spinning import Experience
from .station import Settings, Station, putting
from .transport import (
    DONTWAIT,
    PORTABLE,
    Lanes,
    make_lanes,
    map_page,
    map_peer,
    opening,
    send_dial,
)
from .waiting import FutureWaiter, running_loop

__all__ = ["GONE", "PeerLink"]

_MOST_READS = 1000
_PULSE = 0.001
"""Seconds in a burst after which it is seen to that there still is an owner."""
_OPEN = int(State.OPEN)
GONE = (BrokenPipeError, ConnectionResetError, ConnectionRefusedError)


class PeerLink(PeerReading):
    """The connection of one process to a queue that another owns."""

    def __init__(
        self, settings: Settings, reception: Descriptor, page_file: Descriptor
    ) -> None:
        super().__init__(settings)
        self._reception = reception
        self._page_file = page_file
        self._hub_page: Page | None = None
        self._mourned: Peer | None = None
        self._dialling: Lanes | None = None
        self._looked_at = -1
        self._burst_until = self._pulse_at = 0.0
        self._burst_from = 0  # the puts that count for ``_burst_until``
        self._lost = self._disposed = False
        self._shut = False
        self._loops: dict[asyncio.AbstractEventLoop, bool] = {}
        self._writers: set[asyncio.AbstractEventLoop] = set()
        self._experience = Experience()
        self._expecting: BusyPoll | None = None

    def _dialled(self) -> Peer:
        # With the lock held. OSError, or OwnerLost, leaves things as they were.
        if self.machine is not None:
            return self.machine
        if self._lost:
            raise self.lost_error()
        with opening:
            lanes = self._dialling = make_lanes()
        try:
            page, memory = map_peer(lanes.page)
            if self.settings.unbounded:
                # So that the first put need not wait for the owner to look up.
                page[ROOM] = page[ROOM_BYTES] = UNLIMITED
                page[UNBOUNDED] = 1
            self._send_dial(lanes)
        except BaseException as failure:
            lanes.close()
            if isinstance(failure, GONE):
                self._lost = True
                raise self.lost_error() from None
            raise
        finally:
            with opening:
                lanes.close_sent()
                self._dialling = None
                self._lanes = lanes if lanes.up.fileno() >= 0 else None
        settings = self.settings
        self.machine = Peer(
            page, joinable=settings.joinable, sized=settings.max_bytes is not None
        )
        self._send, self._receive = lanes.up.send, lanes.down.recv
        # Where bytes are counted, each item is announced with its own.
        if RINGS and not PORTABLE and settings.max_bytes is None:
            self.ring = RingWriter(page, memory)
        else:
            self.ring = None
        # An owner that shuts the queue down says so before it looks for dials: who
        # sees it open here has its puts counted.
        self._shut = self._state() is not State.OPEN
        return self.machine

    def _send_dial(self, lanes: Lanes) -> None:
        while True:
            try:
                return send_dial(self._reception.fileno(), lanes)
            except BlockingIOError:
                # The owner has a crowd at its reception, or is asleep.
                poll([], 1.0, self._reception.fileno())

    def _machine(self) -> Peer:
        if self._lost:
            raise self.lost_error()
        return self.machine or self._dialled()

    def _page(self) -> Page:
        if self._hub_page is None:
            self._hub_page = map_page(self._page_file.fileno(), write=False)
        return self._hub_page

    def _published(self) -> tuple[int, int, int]:
        """Items that wait, that are unfinished, and BEGUN, with our own counted.

        With the lock held. The owner may be writing: read again until it is not.
        """
        page, machine = self._page(), self.machine or self._mourned
        for _ in range(_MOST_READS):
            version = page[PUBLISHED]
            qsize, unfinished, begun = page[QSIZE], page[UNFINISHED], page[BEGUN]
            if machine is not None:
                waiting, open_ones = machine.corrections()
                qsize, unfinished = qsize + waiting, unfinished + open_ones
            if page[PUBLISHED] == version and not version & 1:
                break
        return max(0, qsize), max(0, unfinished), begun

    def _state(self) -> State:
        return State(self._page()[STATE])

    def _is_open(self) -> bool:
        return self._page()[STATE] == _OPEN

    def _lose(self) -> None:
        self._lost = True
        self.quick_until = 0.0
        self._end_waits()
        if self.machine is not None:
            self.machine.catch_up()
            self._mourned = self.machine
        self.machine = None  # so that one look tells every call
        for loop in list(self._loops):
            self._unwatch(loop)

    def lost_error(self) -> OwnerLost | QueueClosed:
        """The error for a queue whose owner is gone, or talks nonsense.

        Or which another thread has closed here.
        """
        if self._disposed:
            return self.closed_error()
        if not self._breach:
            return super().lost_error()
        return OwnerLost(
            f"the owner of queue {self.settings.name!r} sent a message that is not of "
            f"the protocol ({self._breach}), so this process has hung up; see that "
            "both run the same version of aioprocq"
        )

    def _user(self) -> Peer:
        """The machine, for a get or a put."""
        if self._lost:
            raise self._gone_error()
        return self.machine or self._dialled()

    def _gone_error(self) -> OwnerLost | QueueShutDown | QueueClosed:
        """What a get or a put raises when the owner is gone.

        An owner that has shut its queue down, and ends when everything is done,
        has left in order, also for who only comes back then.
        """
        if self._disposed or self._breach:
            return self.lost_error()
        left = any(self._published()) or self._state() is State.OPEN
        return self.lost_error() if left else self.shut_error()

    def end_gets(self) -> None:
        """Wake whoever waits to get, for the last time.

        A signal handler may call this wherever it interrupts: it takes no lock.
        """
        for waiter in list(self.machine.getters) if self.machine is not None else ():
            waiter.ended = True
            if isinstance(waiter, FutureWaiter):
                waiter.loop.call_soon_threadsafe(waiter.wake)
            else:
                waiter.wake()

    @property
    def waiting(self) -> bool:
        """Whether somebody in this process waits to get; takes no lock."""
        machine = self.machine
        return machine is not None and (machine.looking or bool(machine.getters))

    def _end_waits(self) -> None:
        if self.machine is not None:
            for waiter in self.machine.everyone():
                waiter.ended = True
                waiter.wake()

    def _check_open(self) -> None:
        if self._shut or not self._is_open():
            raise self.shut_error()

    def _check_alive(self) -> None:
        with self.lock:
            if PORTABLE:
                self._machine()  # a reception of datagrams shows no end, a dial does
                self._check_pulse()
            if self._lost:
                raise self.lost_error()
            if self._hung_up():
                self._lose()
                raise self.lost_error()

    # Sending; the lock is held

    def _flush(self) -> bool:
        """Send the frames that control things; False: the lane is full."""
        machine = self.machine
        if machine is None:
            return True
        outbox = machine.outbox
        try:
            while outbox:
                self._send(outbox[0], DONTWAIT)
                outbox.popleft()
        except BlockingIOError:
            machine.catch_up()  # each get is to try again from now on
            self._await_writing()
            return False
        except GONE:
            self._lose()
        return True

    def _feel_pulse(self, now: float) -> None:
        # Who only writes into the ring would not see that its reader has died.
        self._pulse_at = now + _PULSE
        if self._hung_up():
            self._lose()
            raise self._gone_error()

    def _send_bell(self) -> None:
        try:
            self._send(wire.REPORT, DONTWAIT)
        except BlockingIOError:
            pass  # what fills the lane wakes the hub as well
        except GONE:
            self._lose()
            raise self._gone_error() from None

    def _hung_up(self) -> bool:
        lanes = self._lanes
        number = self._reception.fileno() if lanes is None else lanes.up.fileno()
        poller = select.poll()
        poller.register(number, 0)
        return bool(poller.poll(0))

    def _tell(self) -> None:
        """Send the control frames of a call that returns at once, or raise."""
        self._flush()
        if self._lost:
            raise self.lost_error()

    def _await_writing(self) -> None:
        wakeup = self._wakeup
        if self._leader is not None and wakeup is not None:
            wakeup.set()  # so that it watches the up lane too
        loop = running_loop()
        if loop is None:
            return
        if loop not in self._writers and self._lanes is not None:
            self._writers.add(loop)
            loop.add_writer(self._lanes.up.fileno(), self._on_writable, loop)

    def _on_writable(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            if self._lanes is not None:
                loop.remove_writer(self._lanes.up.fileno())
            self._writers.discard(loop)
            if self._flush() and self.machine is not None:
                self.machine.pass_room_on()
                self._wake_machine()

    def _flush_waiting(self) -> None:
        # For a thread: control frames must not stay behind when it goes on.
        while True:
            with self.lock:
                if self._lost or self._flush() or self._lanes is None:
                    return
                up = self._lanes.up.fileno()
            poll([], 1.0, up)

    # Waiting

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """A peer may be used from any loop."""

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loops.get(loop) or self._lanes is None:
            return
        self._loops[loop] = True
        loop.add_reader(self._lanes.down.fileno(), self._on_readable, loop)
        if self._lanes.alive is not None:
            loop.add_reader(self._lanes.alive.fileno(), self._on_readable, loop)

    def _unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._loops.pop(loop, None) or self._lanes is None:
            return
        if loop.is_closed():
            return
        ends = [end for end in (self._lanes.down, self._lanes.alive) if end]
        if running_loop() is loop:
            for end in ends:
                loop.remove_reader(end.fileno())
        else:
            for end in ends:
                loop.call_soon_threadsafe(loop.remove_reader, end.fileno())

    def _on_readable(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            machine = self.machine
            if machine is None or self._leader is not None:
                return
            if not (machine.getters or machine.putters or machine.answers):
                self._unwatch(loop)  # leave it unread: the hub can take it back
                return
            self._take_in()
            if self._expecting is not None and machine.available():
                self._expecting.came(self._experience)
                self._expecting = None
            self._check_pulse()
            self._settle_down()

    def _expect(self, loop: asyncio.AbstractEventLoop) -> None:
        # A coroutine begins to wait: an item may be about to come.
        busy_poll = busy_poll_on(loop)
        if busy_poll.expect(self._experience, loop):
            self._expecting = busy_poll

    def _check_pulse(self) -> None:
        alive = self._lanes.alive if self._lanes is not None else None
        if alive is None:
            return
        try:
            if not alive.recv(1, DONTWAIT):
                self._lose()
        except BlockingIOError:
            return
        except ConnectionResetError:
            self._lose()

    # The end

    def handle(self) -> tuple[int, int]:
        """Descriptors for a handle."""
        return self._reception.fileno(), self._page_file.fileno()

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """A loop that watches this, if one does that is not closed."""
        return next((loop for loop in self._loops if not loop.is_closed()), None)

    def inherit(self) -> Station:
        """In a forked child: the same queue, to be dialled anew."""
        putting.pop(self, None)
        if self._dialling is not None:
            self._dialling.close()
            self._dialling.close_sent()
        elif self._lanes is not None:
            self._lanes.close()
        if self._wakeup is not None:
            self._wakeup.close()
        self._forget_segments()
        if self.machine is not None and self.machine.free is not None:
            self.machine.free.close()  # and no more: the page is the parent's
        self.machine = None  # with the items that have come, and hold segments
        return type(self)(self.settings, self._reception, self._page_file)

    def dispose(self) -> None:
        """Hang up: the hub takes back what was not handed out or not settled."""
        putting.pop(self, None)
        with self.lock:
            if not self._lost:
                self._flush()
            self._disposed = True
            self._lose()
            lanes, self._lanes = self._lanes, None
            self._wakeup = None
        self._drop_segments()
        if lanes is not None:
            lanes.close()
