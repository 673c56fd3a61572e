"""The hub and its peers against a model, in any order of events.

Hypothesis plays owner, peers, kernel and clock. The model is the fate of each item;
see ``simulation``. After each step the machines' invariants are checked, and at
rest that nobody is forgotten, and that nothing is lost or done twice.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aioprocq.wire.frames import Ask
from aioprocq.wire.page import ALERT, ANNOUNCE_WAITS, EPOCH, RETURNS, State
from aioprocq.wire.page import ROOM as ROOM_WORD

from .peer_side import Killed, PeerSide
from .session import Session
from .simulation import Settings

QUEUES = {
    "plain": Settings(),
    "plain, 1": Settings(maxsize=1),
    "plain, 3": Settings(maxsize=3),
    "plain, bytes": Settings(max_bytes=64),
    "joinable": Settings(joinable=True, max_deliveries=3),
    "joinable, 1": Settings(joinable=True, max_deliveries=3, maxsize=1),
    "joinable, 3": Settings(joinable=True, max_deliveries=3, maxsize=3),
    "joinable, bytes": Settings(joinable=True, max_deliveries=3, max_bytes=64),
    "once": Settings(joinable=True, max_deliveries=1),
    "once, 3": Settings(joinable=True, max_deliveries=1, maxsize=3),
    "once, bytes": Settings(joinable=True, max_deliveries=1, max_bytes=64, maxsize=3),
}

numbers = st.integers(0, 5)
sizes = st.integers(8, 40)
rarely = st.integers(0, 7).map(lambda n: n == 7)
often = st.integers(0, 3).map(bool)
few = st.integers(1, 4)
programs = st.lists(st.integers(0, 8), max_size=6)

_MOST_PEERS = 4


class Model(RuleBasedStateMachine):
    """Everything that may happen, one step at a time."""

    queue = Settings()

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(self.queue)
        self.world = self.session.world
        self.owner = self.session.owner
        self.hub = self.session.hub

    def peer(self, at: int) -> PeerSide | None:
        living = self.session.living
        return living[at % len(living)] if living else None

    @initialize(windows=st.lists(st.sampled_from([1, 6]), max_size=3))
    def connect_some(self, windows: list[int]) -> None:
        for window in windows:
            self.session.connect().machine.pace.window = window

    # The owner's process

    @rule(size=sizes, parcel=rarely, wait=often)
    def owner_puts(self, size: int, parcel: bool, wait: bool) -> None:
        self.owner.put(size, parcel=parcel, wait=wait)

    @rule(count=few, size=sizes)
    def owner_puts_some(self, count: int, size: int) -> None:
        for _ in range(count):
            self.owner.put(size, parcel=False, wait=False)

    @rule(count=few, size=sizes, known=st.booleans())
    def owner_puts_together(self, count: int, size: int, known: bool) -> None:
        self.owner.put_many(size, count, known=known)

    @rule(wait=often, linger=rarely, thief=rarely)
    def owner_gets(self, wait: bool, linger: bool, thief: bool) -> None:
        linger = linger and self.queue.joinable
        self.owner.get(wait=wait, linger=linger, thief=thief)

    @rule(at=numbers, how=numbers)
    def owner_moves(self, at: int, how: int) -> None:
        move: list[Callable[[int], object]] = [
            self.owner.come_to_get,
            self.owner.come_to_put,
            self.owner.come_to_get,
            self.owner.cancel_get,
            self.owner.cancel_put,
            self.owner.leave_join,
        ]
        move[how](at)

    @precondition(lambda self: self.queue.joinable)
    @rule(at=numbers, how=numbers)
    def owner_settles(self, at: int, how: int) -> None:
        if how < 3:
            self.owner.settle(at)
        elif how < 5:
            self.owner.fail(at, final=how == 4)
        else:
            self.owner.task_done()

    @precondition(lambda self: self.queue.joinable)
    @rule()
    def owner_joins(self) -> None:
        self.owner.join()

    @rule()
    def owner_looks(self) -> None:
        self.hub.statistics()
        self.world.event()

    # The peers' processes

    @precondition(lambda self: len(self.session.connected) < _MOST_PEERS)
    @rule()
    def peer_connects(self) -> None:
        self.session.connect()

    @rule(at=numbers, count=few, size=sizes, parcel=rarely, wait=often)
    def peer_puts(
        self, at: int, count: int, size: int, parcel: bool, wait: bool
    ) -> None:
        if peer := self.peer(at):
            peer.put(size, count, parcel=parcel, wait=wait)

    @rule(
        at=numbers,
        holder=st.sampled_from([None, 1, 2]),
        wait=often,
        linger=rarely,
        late=st.booleans(),
    )
    def peer_gets(
        self, at: int, holder: int | None, wait: bool, linger: bool, late: bool
    ) -> None:
        if peer := self.peer(at):
            peer.late = late
            peer.get(holder, wait=wait, linger=linger and self.queue.joinable)
            peer.flush()

    @rule(at=numbers)
    def peer_looks(self, at: int) -> None:
        if peer := self.peer(at):
            peer.look()

    @rule(at=numbers, count=few)
    def peer_gets_some(self, at: int, count: int) -> None:
        if peer := self.peer(at):
            for _ in range(count):
                peer.get(1, wait=True, linger=False)

    @rule(at=numbers, most=few, fed=st.booleans())
    def peer_takes_some(self, at: int, most: int, fed: bool) -> None:
        if peer := self.peer(at):
            if fed:
                self.feed(peer)
            peer.take_some(most)

    @rule(at=numbers, count=few, fed=st.booleans(), done=programs)
    def peer_gets_freely(self, at: int, count: int, fed: bool, done: list[int]) -> None:
        if peer := self.peer(at):
            if fed:
                self.feed(peer)
            peer.open_batch()
            peer.frees = True
            for turn in range(count):
                peer.get(1, wait=False, linger=False)
                if self.queue.joinable and turn in done:
                    peer.task_done(1)
            peer.frees = False

    @rule(at=numbers, before=programs, between=programs)
    def peer_is_alerted(self, at: int, before: list[int], between: list[int]) -> None:
        if peer := self.peer(at):
            self.feed(peer)
            peer.take_with_the_alert(
                lambda: self.hub_runs(before),
                lambda: self.hub_and_thread_run(peer, between),
            )

    def hub_and_thread_run(self, peer: PeerSide, program: list[int]) -> None:
        """What the hub, and another thread, do while one has yet to get the lock."""
        for step in program:
            if step < 5:
                self.hub_runs([step])
            elif step == 5:
                self.hub_runs([5])
            elif step == 6:
                peer.read()
            elif step == 7:
                peer.machine.catch_up()
            else:
                peer.flush()
                peer.hub_reads(4)

    def feed(self, peer: PeerSide) -> None:
        """Let a batch come to a peer, as far as there is one for it."""
        peer.get(1, wait=True, linger=False)
        self.owner.put_many(10, 4, known=False)
        peer.flush()
        peer.hub_reads(4)
        peer.hub_sends()
        while peer.read():
            pass

    @rule(at=numbers, which=numbers, how=st.integers(0, 7))
    def peer_moves(self, at: int, which: int, how: int) -> None:
        if peer := self.peer(at):
            move: list[Callable[[int], object]] = [
                peer.come_to_get,
                peer.come_to_put,
                peer.cancel_get,
                peer.cancel_put,
                peer.cancel_request,
                lambda _: peer.answers_come(),
                lambda _: peer.lane_is_free(),
                lambda _: peer.announce(),
            ]
            move[how](which)

    @precondition(lambda self: self.queue.joinable)
    @rule(at=numbers, which=numbers, how=st.integers(0, 6))
    def peer_settles(self, at: int, which: int, how: int) -> None:
        if peer := self.peer(at):
            if how < 3:
                peer.settle_one(which)
            elif how < 5:
                peer.fail(which, final=how == 4)
            else:
                peer.task_done(which % 3)

    @rule(at=numbers, ask=st.sampled_from(Ask))
    def peer_asks(self, at: int, ask: Ask) -> None:
        peer = self.peer(at)
        if peer is None or ask is Ask.CANCEL:
            return
        if self.queue.joinable or ask in (Ask.FLUSH, Ask.POLL):
            peer.request(ask)

    @rule(at=numbers)
    def peer_is_killed(self, at: int) -> None:
        if peer := self.peer(at):
            peer.kill()

    # Lanes and clock

    @rule(at=numbers, count=few)
    def peer_sends(self, at: int, count: int) -> None:
        if peer := self.peer(at):
            peer.flush(count)

    @rule(at=numbers, count=few, full=rarely)
    def peer_reads(self, at: int, count: int, full: bool) -> None:
        if peer := self.peer(at):
            for _ in range(count):
                peer.read(full=full)

    @rule(at=numbers, count=few)
    def hub_sends(self, at: int, count: int) -> None:
        if connected := self.session.connected:
            connected[at % len(connected)].hub_sends(count)

    @rule(at=numbers, count=few)
    def hub_reads(self, at: int, count: int) -> None:
        if connected := self.session.connected:
            connected[at % len(connected)].hub_reads(count)

    @rule()
    def everything_is_sent(self) -> None:
        for peer in self.session.connected:
            peer.hub_sends()
            if peer.alive:
                peer.flush()
            peer.hub_reads(4)

    @rule(peer_reads=st.lists(st.booleans(), max_size=5))
    def hub_reclaims(self, peer_reads: list[bool]) -> None:
        for peer in self.session.connected:
            peer.reclaim(peer_reads)

    @rule(count=few)
    def hub_ticks(self, count: int) -> None:
        for _ in range(count):
            self.world.tick()

    @rule(seconds=st.sampled_from([1e-6, 1e-4, 0.01, 0.2]))
    def time_passes(self, seconds: float) -> None:
        deadline = self.hub.deadline
        self.world.now += seconds
        if deadline is not None and deadline <= self.world.now:
            self.world.tick()

    # In the middle of something

    @rule(at=numbers, word=st.sampled_from([ALERT, EPOCH]), most=few, program=programs)
    def peer_pauses_in_take(
        self, at: int, word: int, most: int, program: list[int]
    ) -> None:
        if peer := self.peer(at):
            if most > 1:
                self.feed(peer)
            peer.pause_in_take(word, most, lambda: self.hub_runs(program))

    @rule(at=numbers, size=sizes, program=programs)
    def peer_pauses_in_put(self, at: int, size: int, program: list[int]) -> None:
        if peer := self.peer(at):
            peer.pause_in_put(size, lambda: self.hub_runs(program))

    def hub_runs(self, program: list[int]) -> None:
        """What the hub does while a peer stands still."""
        for step in program:
            if step == 0:
                raise Killed
            if step == 1:
                self.hub.statistics()
                self.world.event()
            elif step == 2:
                self.owner.get(wait=True, linger=False)
            elif step == 3:
                for peer in self.session.connected:
                    peer.hub_reads(4)
            elif step == 4:
                self.owner.shutdown(immediate=False)
            else:
                self.world.tick()
                for peer in self.session.connected:
                    peer.reclaim([])

    @rule(
        at=numbers,
        word=st.sampled_from([EPOCH, ALERT, ROOM_WORD, RETURNS, ANNOUNCE_WAITS]),
        program=programs,
    )
    def hub_will_pause(self, at: int, word: int, program: list[int]) -> None:
        if peer := self.peer(at):
            peer.page.before_store[word] = lambda: self.peer_runs(peer, program)

    def peer_runs(self, peer: PeerSide, program: list[int]) -> None:
        """What a peer does while the hub stands still."""
        for step in program:
            if not peer.alive or peer.busy:
                return
            if step == 1:
                peer.take_some(3)
            if step < 2:
                peer.get(1, wait=bool(step), linger=False)
            elif step == 2:
                peer.put(20, 1, parcel=False, wait=True)
            elif step == 3:
                peer.settle_one(0)
            elif step == 4:
                peer.fail(0, final=False)
            elif step == 5:
                peer.read()
            else:
                peer.flush()

    # At rest

    @rule(asleep=st.sets(numbers, max_size=3))
    def rest(self, asleep: set[int]) -> None:
        living = self.session.living
        self.session.quiesce([peer for at, peer in enumerate(living) if at in asleep])

    @precondition(lambda self: self.queue.joinable)
    @rule(at=numbers, by_name=st.booleans(), joins=st.booleans())
    def finish_a_long_job(self, at: int, by_name: bool, joins: bool) -> None:
        """Everybody waits for what one peer holds, and it comes for nothing more."""
        peer = self.peer(at)
        if peer is None or not peer.held:
            return
        if joins:
            self.owner.join()
        self.finish_all_but(peer)
        while peer.held:
            if by_name or not peer.has_for(1):
                peer.settle_one(0)
            else:
                peer.task_done(1)
        self.session.quiesce([peer])

    def finish_all_but(self, busy: PeerSide) -> None:
        """The owner gets what a busy peer was sent besides, and all is settled."""
        others = [peer for peer in self.session.living if peer is not busy]
        for _ in range(30):
            if not self.owner.getters:
                self.owner.get(wait=True, linger=False)
            self.session.quiesce([busy])
            for peer in others:
                while peer.held:
                    peer.settle_one(0)
            while self.owner.held:
                self.owner.settle(0)
            if not self.world.queued:
                break

    @precondition(lambda self: self.hub.state is State.OPEN)
    @rule(at=numbers, immediate=st.booleans(), really=rarely)
    def shut_down(self, at: int, immediate: bool, really: bool) -> None:
        peer = self.peer(at) if at else None
        if not really:
            return
        if peer is None:
            self.owner.shutdown(immediate=immediate)
        else:
            peer.shutdown(immediate=immediate)

    @precondition(lambda self: self.hub.state is not State.OPEN)
    @rule(really=rarely)
    def shut_down_at_once(self, really: bool) -> None:
        if really:
            self.owner.shutdown(immediate=True)

    @invariant()
    def machines_are_sound(self) -> None:
        for peer in self.session.living:
            peer.machine.check_invariants()

    def teardown(self) -> None:
        for peer in self.session.peers:
            peer.page.before_store.clear()
        self.session.drain()


def run(queue: str, examples: int, steps: int) -> None:
    model = type("Model", (Model,), {"queue": QUEUES[queue]})
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("queue", QUEUES)
def test_any_order_of_events(queue: str) -> None:
    run(queue, 120, 60)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("queue", QUEUES)
def test_any_order_of_events_for_long(queue: str) -> None:
    run(queue, 1000, 100)
