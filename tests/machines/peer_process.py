"""One process other than the owner's in a simulation, call by call."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import get_ident

from aioprocq.machines.lock_free import MISSING
from aioprocq.machines.peer import Peer
from aioprocq.machines.record import DeadRecord, Frame, Loaded
from aioprocq.wire import frames as wire
from aioprocq.wire.ahead import Opened
from aioprocq.wire.frames import Ask, Kind
from aioprocq.wire.page import HANDED, ROOM, SETTLED, State
from aioprocq.wire.payload import Parcel

from .owner_side import OwnerSide
from .simulation import Consumer, Item, PausingPage, SimWaiter, World

__all__ = ["LANE", "Killed", "PeerProcess", "Request"]

ME = get_ident()
"""Who may go without the lock in a joinable queue; the rules call it holder 1."""

LANE = 4
"""Frames that a lane holds."""


class Killed(BaseException):
    """The process is gone, in the middle of something."""


@dataclass
class Request:
    """A request that waits for its answer."""

    ident: int
    ask: Ask
    waiter: SimWaiter
    letters: int | None = None


@dataclass
class PeerProcess:
    """The machine of one peer, and those who wait in its process."""

    world: World
    owner: OwnerSide
    name: str
    getters: list[SimWaiter] = field(default_factory=list)
    putters: list[tuple[SimWaiter, Item]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    held: dict[int, Item] = field(default_factory=dict)
    dropped: dict[int, Item] = field(default_factory=dict)  # settled, or failed
    up: deque[Frame] = field(default_factory=deque)
    down: deque[Frame] = field(default_factory=deque)
    alive: bool = True
    asked_in_passing: bool = False  # for room, without waiting for it
    late: bool = False  # whether it puts off to say that it waits
    busy: bool = False  # it stands still in the middle of a call
    frees: bool = False  # whether what is open may be handed out without the lock
    between: Callable[[], None] | None = None  # what happens once a run is found closed

    def __post_init__(self) -> None:
        settings = self.world.settings
        self.consumer = Consumer(self.name)
        self.page = PausingPage()
        self.record = self.world.hub.connect(len(self.world.items), self.page)
        self.machine = Peer(
            self.page, joinable=settings.joinable, sized=settings.max_bytes is not None
        )
        self.announced_down = 0
        self.world.event()

    # The peer's driver: putting

    def put(self, size: int, count: int, *, parcel: bool, wait: bool) -> None:
        """Put items, or wait for room."""
        if self.world.settings.max_bytes is not None or parcel:
            count = 1
        items = [
            self.world.new_item(self.name, size, parcel=parcel) for _ in range(count)
        ]
        done = self._put(items)
        for item in items[done:] if wait else ():
            self._wait_to_put(item)
        if done < len(items) and not wait:
            self.machine.ask_room_for(items[done].size)
            self.asked_in_passing = True
        self.after()

    def _put(self, items: list[Item]) -> int:
        machine = self.machine
        size = items[0].size
        if len(items) > 1 or machine.sized:
            count = machine.begin_put(len(items), size)
        else:
            count = int(machine.begin_one())
        if not count:
            return 0
        self.flush()
        frames = self._frames(items[:count])
        if machine.outbox or len(self.up) + len(frames) > LANE:
            machine.take_back_put(count, size)
            machine.lane_full = True
            return 0
        self.up.extend(frames)
        for item in items[:count]:
            item.sent = True
        return count

    def _frames(self, items: list[Item]) -> list[Frame]:
        payload = items[0].payload
        if isinstance(payload, Parcel):
            data = wire.encode_parcel(0, 0, payload.size, payload.head)
            announce = wire.encode_flag(Kind.ANNOUNCE, len(payload.descriptors))
            return [announce, Loaded(data, payload.descriptors)]
        if len(items) == 1:
            return [payload]
        return [wire.encode_batch([item.payload for item in items])]  # type: ignore[misc]

    def _wait_to_put(self, item: Item) -> None:
        waiter = SimWaiter(size=item.size)
        self.machine.wait_to_put(waiter)
        self.putters.append((waiter, item))

    def come_to_put(self, at: int) -> bool:
        """A putter that was called comes; False: none was."""
        called = [pair for pair in self.putters if pair[0].called]
        if not called:
            return False
        waiter, item = called[at % len(called)]
        self.putters.remove((waiter, item))
        self.machine.come(waiter)
        waiter.called = False
        done = waiter.ended or self._put([item])
        self._leave_putting(waiter)
        if not done:
            self._wait_to_put(item)
            self.after()
        return True

    def cancel_put(self, at: int) -> None:
        """A putter is cancelled, even one that was called."""
        if self.putters:
            waiter, _ = self.putters.pop(at % len(self.putters))
            self._leave_putting(waiter)

    def _leave_putting(self, waiter: SimWaiter) -> None:
        machine = self.machine
        machine.stop_putting(waiter)
        if machine.putters and not machine.lane_full:
            machine.pass_room_on()
        self.after()

    def lane_is_free(self) -> bool:
        """The kernel says that the up lane has room again."""
        if not self.machine.lane_full or len(self.up) >= LANE - 1:
            return False
        self.flush()
        self.machine.pass_room_on()
        self.after()
        return True

    # The peer's driver: getting

    def get(self, holder: int | None, *, wait: bool, linger: bool) -> None:
        """Take an item, or wait for one."""
        if not self._take(holder) and wait and not self._ended(linger=linger):
            waiter = SimWaiter(linger=linger)
            self._wait_to_get(waiter)
            self.getters.append(waiter)
        self.after()

    def _ended(self, *, linger: bool) -> bool:
        state = self.world.hub.state
        if state is State.DRAINED:
            return not linger or bool(self.machine.holdings)
        return state is State.OVER

    def _wait_to_get(self, waiter: SimWaiter) -> None:
        machine = self.machine
        machine.starving(self.world.now)
        machine.wait_to_get(waiter, late=self.late)
        if machine.items:
            machine.hand_on()

    def look(self) -> None:
        """Begin to look for a moment, or end it and take what has come meanwhile."""
        if not self.machine.looking:
            self.machine.begin_look(self.world.now)
        else:
            self.machine.end_look()
            self._take(1)
        self.after()

    def announce(self) -> None:
        """Somebody has waited for long."""
        self.machine.announce()
        self.after()

    def _take(self, holder: int | None) -> bool:
        machine = self.machine
        holder = ME if holder == 1 else holder
        if machine.free is not None and self._take_freely(holder):
            return True
        payload = machine.take()
        if machine.failure is not None:
            assert machine.failure.errno == errno.EMFILE
            machine.failure = None
        if payload is None:
            return False
        # Bytes, as everything is here, are wrapped when they are open, and only then.
        assert isinstance(payload, Opened) == machine.open
        if isinstance(payload, Opened):
            payload = payload.item
        if self.world.settings.joinable:
            machine.hold(holder)
        self._handed(payload, machine.handed - 1)
        if self.frees and machine.open and len(machine.items) > 1:
            run = machine.run_to_free(get_ident)
            if run is not None:
                machine.set_free(run)
        return True

    def _take_freely(self, holder: int | None) -> bool:
        machine = self.machine
        run, index = machine.free, machine.last - len(machine.items)
        assert run is not None
        if machine.joinable and holder != ME:
            run.close()  # as it is when another thread asks
            return False
        payload = next(run.items, MISSING)
        if payload is not MISSING:
            self._handed(payload, index)
            return True
        if (between := self.between) is not None and self.page[HANDED] > index:
            self.between = None
            self._stand_between(between, machine.items[0], index)
        return False

    def _stand_between(
        self, meanwhile: Callable[[], None], payload: object, index: int
    ) -> None:
        # It was announced, and an alert was found: now the lock is to be acquired.
        self.world.pausing += 1
        self.busy = True
        try:
            meanwhile()
        except Killed:
            if max(self.page[HANDED], self.record.lane.handed) > index:
                self._count_announced([payload])
            raise
        finally:
            self.world.pausing -= 1
            self.busy = False

    def take_some(self, most: int) -> None:
        """Open the batch that is here, and take some of it at once."""
        machine = self.machine
        self.open_batch()
        taken = machine.take_many(most)
        if self.world.settings.joinable:
            machine.hold_many(len(taken), ME)
        for index, payload in enumerate(taken, machine.handed - len(taken)):
            self._handed(payload, index)
        self.after()

    def open_batch(self) -> None:
        """Open the batch that is here, if there is one."""
        machine = self.machine
        if not machine.items and (batch := machine.next_sealed()) is not None:
            machine.opened(batch, machine.handed, list(batch))

    def take_with_the_alert(
        self, before: Callable[[], None], between: Callable[[], None]
    ) -> None:
        """Set a run free, and get of it after the hub may have set the alert."""
        self.open_batch()
        self.frees = True
        try:
            self.get(1, wait=False, linger=False)
            before()
            self.between = between
            self.get(1, wait=True, linger=False)
        except Killed:
            self.kill()
        finally:
            self.frees, self.between = False, None

    def _handed(self, payload: object, index: int) -> None:
        item = self.world.item(payload)  # type: ignore[arg-type]  # opened or not, it is the payload here
        self.consumer.note(item, self.machine.attempts)
        if self.world.settings.joinable:
            self.held[index] = item
            item.holder = None if item.outcome else self
        else:
            item.end("got")

    def come_to_get(self, at: int) -> bool:
        """A getter that was called comes; False: none was."""
        called = [waiter for waiter in self.getters if waiter.called]
        if not called:
            return False
        waiter = called[at % len(called)]
        took = self._take(1)
        self.machine.stop_getting(waiter)
        waiter.called = False
        if took or waiter.ended or self._ended(linger=waiter.linger):
            self.getters.remove(waiter)
            self.machine.hand_on()
        else:
            self._wait_to_get(waiter)
        self.after()
        return True

    def cancel_get(self, at: int) -> None:
        """A getter is cancelled, even one that was called."""
        if self.getters:
            waiter = self.getters.pop(at % len(self.getters))
            self.machine.stop_getting(waiter)
            self.machine.hand_on()
            self.after()

    def pause_in_take(
        self, word: int, most: int, meanwhile: Callable[[], None]
    ) -> None:
        """Hand out one item, or several, with other things happening in the middle."""
        machine = self.machine
        waiting = [*machine.items, *(machine.sealed or ())]
        waiting += (p for batch in machine.later for p in batch[2])
        machine.catch_up()
        before = machine.handed

        def pause() -> None:
            count = announced()
            self.world.pausing += count
            self.busy = True
            try:
                meanwhile()
            finally:
                self.world.pausing -= count
                self.busy = False

        def announced() -> int:
            return self.page[HANDED] - before if most > 1 else 1

        def announces() -> None:
            self.page.before_load[word] = pause

        try:
            if most > 1:  # it loads the alert before it announces anything, too
                self.page.before_store[HANDED] = announces
                self.take_some(most)
            else:
                announces()
                self._take(1)
        except Killed:
            self._kill_announced(waiting[: announced()])
            return
        finally:
            self.page.before_load.clear()
            self.page.before_store.pop(HANDED, None)
        self.after()

    def _kill_announced(self, payloads: list[object]) -> None:
        self._count_announced(payloads)
        self.kill()

    def _count_announced(self, payloads: list[object]) -> None:
        # It died after it had said that it hands the items out, which counts unless
        # the hub had taken them back before.
        flying = [p for flight in self.record.lane.air for p in flight.payloads]
        absorbed = self.record.lane.handed >= self.page[HANDED]
        for payload in payloads:
            item = self.world.item(payload)  # type: ignore[arg-type]  # it is not opened yet, or is its payload
            if not absorbed and item not in map(self.world.item, flying):
                pass
            elif self.world.settings.joinable:
                item.holder = None if item.outcome else self
            else:
                item.end("got")

    def pause_in_put(self, size: int, meanwhile: Callable[[], None]) -> None:
        """Put an item, with other things happening in the middle."""

        def pause() -> None:
            self.busy = True
            try:
                meanwhile()
            finally:
                self.busy = False

        self.page.before_load[ROOM] = pause
        try:
            self.put(size, 1, parcel=False, wait=True)
        except Killed:
            self.kill()
        finally:
            self.page.before_load.clear()

    # The peer's driver: settling

    def settle(self, index: int, holder: int | None = None) -> None:
        """An item is done."""
        item = self.dropped[index] = self.held.pop(index)
        if holder is None:
            assert self.machine.settle(index)
        else:
            assert self._settle_first(holder, index)
        assert not self.machine.settle(index)
        item.holder = None
        if item.outcome is None:
            item.end("settled")
        self.after()

    def _settle_first(self, holder: int, index: int) -> bool:
        run = self.machine.free
        settling = None if run is None else run.settling
        if settling is not None and (calm := next(settling, None)) is not None:
            assert self.page[SETTLED] == index + 1
            if not calm:
                self.machine.yield_if_asked()
            return True
        return self.machine.settle_first(holder)

    def settle_one(self, at: int) -> None:
        """Some item that is held here is done."""
        if self.held:
            self.settle(list(self.held)[at % len(self.held)])

    def task_done(self, holder: int) -> None:
        """``task_done`` of somebody here; ask the hub when nothing is held."""
        holder = ME if holder == 1 else holder
        index = self._first_held(holder)
        if index is None:
            assert not self.machine.settle_first(holder)
            self.request(Ask.TASK_DONE)
        else:
            self.settle(index, holder)

    def has_for(self, holder: int) -> bool:
        """Whether ``task_done`` of somebody here settles something."""
        return self._first_held(ME if holder == 1 else holder) is not None

    def _first_held(self, holder: int) -> int | None:
        run = self.machine.free
        if run is not None and run.settling is not None:
            return min(self.held, default=None)  # they are one run, of one holder
        self.machine.catch_up()
        return self.machine.holdings.choose(holder)

    def fail(self, at: int, *, final: bool) -> None:
        """An attempt at some item that is held here has failed."""
        if self.held:
            index = list(self.held)[at % len(self.held)]
            item = self.dropped[index] = self.held.pop(index)
            assert self.machine.fail(index, "it failed", final=final)
            assert not self.machine.fail(index, "it failed again", final=final)
            item.holder = None
            item.returning = item.outcome is None
            self.after()

    # The peer's driver: requests

    def request(self, ask: Ask) -> None:
        """Ask the hub for something."""
        waiter = SimWaiter()
        ident = self.machine.request(ask, waiter)
        self.requests.append(Request(ident, ask, waiter))
        self.after()

    def answers_come(self) -> bool:
        """Take the answers that have come; False: none has."""
        done = [request for request in self.requests if request.waiter.called]
        for request in done:
            self.requests.remove(request)
            answer = self.machine.answers[request.ident]
            assert answer.value is not None
            if request.ask is Ask.DEAD_LETTERS:
                self._check_letters(answer.letters, request.letters)
            self.machine.forget(request.ident, cancel=True)
            if request.ask is Ask.POLL and answer.value:
                self._take(None)
            self.after()
        return bool(done)

    def _check_letters(self, letters: list[DeadRecord], expected: int | None) -> None:
        dead = self.world.hub.store.dead
        assert expected is not None
        assert len(letters) == expected
        # What was taken back in the middle of the answer has come after the rest.
        numbers = {self.world.item(letter.payload).number: letter for letter in letters}
        assert len(numbers) == expected
        for record in dead[:expected]:
            letter = numbers[self.world.item(record.payload).number]
            assert (letter.attempts, letter.reason) == (record.attempts, record.reason)
            assert type(letter.payload) is type(record.payload)

    def cancel_request(self, at: int) -> None:
        """An answer is waited for no longer."""
        if self.requests:
            request = self.requests.pop(at % len(self.requests))
            self.machine.forget(request.ident, cancel=True)
            self.after()

    def shutdown(self, *, immediate: bool) -> None:
        """Shut the queue down from here."""
        self.machine.outbox.append(wire.encode_flag(Kind.SHUTDOWN, immediate))
        self.machine.end_putters()
        self.after()

    # Lanes

    def after(self) -> None:
        """After each call: tell those who were woken."""
        self.world.call(self.machine.woken)
        self.machine.check_invariants()

    def flush(self, most: int = 1000) -> bool:
        """Send frames from the outbox; False: none was sent."""
        outbox, sent = self.machine.outbox, False
        while outbox and most and len(self.up) < LANE:
            self.up.append(outbox.popleft())
            sent, most = True, most - 1
        return sent

    # The end

    def kill(self) -> None:
        """The process is gone; what it had sent is still read."""
        self.alive = False
        for frame in self.machine.outbox:
            # What was not sent has not happened.
            if frame[-1] == Kind.SETTLE:
                self._revive(wire.decode_number(frame))
            elif frame[-1] == Kind.RETURN:
                self._revive(wire.decode_return(frame)[0])
        self.machine.outbox.clear()

    def _revive(self, index: int) -> None:
        item = self.dropped[index]
        item.returning = False
        if self.page[SETTLED] <= index and item.outcome in (None, "settled"):
            item.outcome, item.holder = None, self
