"""A peer's station: what one process does with a queue that another owns.

Invariants:

* What was taken is held before the lock is released.
"""

from __future__ import annotations

import time
from collections.abc import Hashable
from threading import get_ident

from ..machines.peer import Peer
from ..machines.record import DeadRecord, Waiter
from ..machines.statistics import QueueStatistics
from ..wire import frames as wire
from ..wire.ahead import open_ahead, wrapped
from ..wire.frames import Ask, Kind
from ..wire.page import ALERT, ANNOUNCE_WAITS, HANDED, PUBLISHED, State
from .peer_putting import PeerPutting
from .station import Token
from .threads import end_run_with_thread
from .waiting import FutureWaiter, ThreadWaiter, running_loop

__all__ = ["PeerStation"]

_MANY = 32
"""Items of a batch, one of which was taken alone, for which to go without the lock."""


class PeerStation(PeerPutting):
    """One queue in a process that does not own it."""

    # Getting

    def take(self, holder: Hashable) -> object:
        """Hand out an item that has come; None: none has."""
        if self.lock.locked():
            self.await_turn()
        with self.lock:
            machine = self.machine
            if machine is None:
                return self._take_next(holder)
            if machine.free is not None or self.free_items is not None:
                self._catch_up(machine)
            if (handed := machine.handed + 1) >= machine.last or machine.outbox:
                return self._take_next(holder)
            # As ``Peer.take`` does, which costs one call more for each item.
            page = machine.page
            page[HANDED] = handed
            if (alert := page[ALERT]) and alert <= handed:
                return self._take_next(holder)
            machine.handed = handed
            if self.joinable:
                held = machine.holdings
                if held.next == handed - 1 and holder == held.holder:
                    held.next = handed
                else:
                    held.hold(handed - 1, holder)
            item = machine.items.popleft()
            if not machine.open:
                return item
            many = len(machine.items) > _MANY and machine.free_once != machine.last
        if many:
            self._set_free(machine, holder)
        return wrapped(item)

    def _set_free(self, machine: Peer, holder: Hashable) -> None:
        # A task is no thread, and what tells one is no step of its own.
        thread = isinstance(holder, int) and holder > 0
        # Without the lock, as in ``_open_next``.
        run = machine.run_to_free(get_ident if thread else None)
        if run is None:
            return
        if self.joinable:
            end_run_with_thread(self)
        with self.lock:
            if self.machine is machine and machine.set_free(run):
                self.free_items, self.free_settling = run.items, run.settling

    def _catch_up(self, machine: Peer) -> None:
        machine.catch_up()
        self.free_items = self.free_settling = None

    def _take_next(self, holder: Hashable) -> object:
        # The same, with the lock held; there may be something to say to the hub.
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
        start = machine.handed
        items: list[object] | None = None
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
        self.guard()
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
        self.guard()
        with self.lock:
            machine = self._user()
            if not machine.items:
                machine = self._open_next(machine)
            payload = machine.take()
            attempt = machine.attempts + 1
            if machine.outbox:
                self._flush()
            if payload is None:
                self._raise_failure(machine)
                return None
            # A failure is another item's, and waits for who finds none.
            return payload, machine.hold(None), attempt

    def refresh(self) -> None:
        """Take in what has come, without waiting; ask for one item more."""
        self.guard()
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
            elif isinstance(waiter, FutureWaiter) and not machine.page[ANNOUNCE_WAITS]:
                self._expect(waiter.loop)
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
        self.guard()
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
        self.guard()
        with self.lock:
            done = self._machine().fail(token, reason, final=final)
            self._tell()
            return done

    def fail_latest(self, holder: Hashable, reason: str) -> None:
        """The attempt at what ``holder`` was handed last failed."""
        self.guard()
        with self.lock:
            machine = self._machine()
            machine.catch_up()
            token = machine.holdings.latest(holder)
            if token is not None:
                machine.fail(token, reason, final=False)
            self._tell()

    def settle_held(self, holder: Hashable) -> bool:
        """``task_done``, as far as this process holds something."""
        if self.lock.locked():
            self.await_turn()
        with self.lock:
            machine = self.machine or self._machine()
            done = machine.settle_first(holder)
            if machine.outbox:
                self._tell()
            return done

    def yield_if_asked(self) -> None:
        """Something was settled without the lock, and the alert is a new one."""
        self.guard()
        with self.lock:
            machine = self.machine
            if machine is not None:
                machine.yield_if_asked()
                if machine.outbox:
                    self._tell()

    def settle_anywhere(self) -> bool:
        """Ask for the oldest item held anywhere to be settled."""
        self.guard()
        self._check_alive()  # the figures of an owner that is gone stay as they are
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
        self.guard()
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
        self.guard()
        with self.lock:
            machine = self._machine()
            self._shut = True
            self.quick_until = 0.0
            machine.outbox.append(wire.encode_flag(Kind.SHUTDOWN, immediate))
            machine.end_putters()
            self._settle_down()
            if self._lost:
                raise self.lost_error()
        if running_loop() is None:
            self._flush_waiting()

    def qsize(self) -> int:
        """Items that wait, as the owner published it last."""
        self.guard()
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
