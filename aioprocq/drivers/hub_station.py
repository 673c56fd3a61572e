"""The owner's station: what the process that created a queue does with it.

Invariants:

* ``quick`` puts may be appended to ``fresh`` without the lock; while any are
  left, a flush is due on the loop.
* What depends on a page of a peer is looked at again ``_FENCE`` seconds later
  before a call that cannot wait relies on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable

from ..machines.record import DeadRecord, Waiter
from ..machines.statistics import QueueStatistics
from ..wire.frames import BATCH_BYTES, Ask
from ..wire.page import OPEN, STATE, UNLIMITED, State
from ..wire.payload import Payload, size_of
from .busy_poll import take_turns
from .hub_watch import HubWatch
from .spinning import SPIN
from .station import Token
from .waiting import FutureWaiter, running_loop

__all__ = ["HubStation"]

_FENCE = 0.00005
"""Seconds in which a store of another process has become visible here."""

_MOST_FENCES = 40
_MOST_QUICK = 256
_MOST_FETCHES = 16
"""Times that a coroutine finds more in the rings before the loop has a turn.

One that finds many items counts for more.
"""

_MANY = 64
_MOST_AWAITED = 256
"""Items that a queue may have of whose room a coroutine does not wait to be told."""

_BURST = 0.00002
"""Seconds within which a put that follows another belongs to the same burst."""


class HubStation(HubWatch):
    """One queue in the process that created it."""

    owns = True

    # Putting

    def put(self, payload: Payload) -> bool:
        """Put one item; False: there is no room."""
        if self.lock.locked():
            self.await_turn()
        with self.lock:
            hub = self.hub
            if self.loop is None:
                self.bind()
            if hub.state is not OPEN:
                raise self.shut_error()
            if not self._may_hurry:
                if self._allotted and self._put_allotted(payload):
                    return True
                if not self._fits(size_of(payload)):
                    self._carry_out()  # what was taken in meanwhile
                    return False
            hub.store.put(payload)
            hurried = self._flush_due
            self._flush_after(payload)
        if hurried and len(self._neighbours) > 1 and running_loop() is self.loop:
            # Many items, and the loop has not had a turn since.
            self._neighbours.visit(self._neighbours.put_at)
        return True

    def _put_allotted(self, payload: Payload) -> bool:
        size = size_of(payload) if self.sized else 0
        if size > self._allotted_bytes or running_loop() is not self.loop:
            return False
        self._allotted -= 1
        self._allotted_bytes -= size
        self.hub.store.put(payload)
        return True

    def _fits(self, size: int) -> bool:
        if self.hub.fits(size):
            return True
        if not self.hub.room.granted:
            return False
        # Room that peers were granted ahead is taken back, exactly, but for
        # what they have begun to send meanwhile.
        self.hub.room.revoke(at_once=True)
        time.sleep(_FENCE)
        self._take_in()
        self.hub.room.collect()
        return self.hub.fits(size)

    def _flush_after(self, payload: Payload) -> None:
        loop = self.loop
        if loop is None or running_loop() is not loop:
            self._carry_out()
            return
        # A put that no other follows at once, be it to another queue, needs no flush:
        # that would cost the loop one more turn. Of several in a row the second is
        # the first to need it.
        burst = self._flush_due or time.monotonic() - self._neighbours.put_at < _BURST
        self._hear(1)
        self._carry_out()
        self._neighbours.put_at = time.monotonic()
        if not burst:
            return
        if self.hub.dealer.getters:
            self.quick = self._granted_quick = 0
            return
        if not self._flush_due:
            self._flush_soon(loop)
        most = min(_MOST_QUICK, self._neighbours.portion)
        most = min(most, BATCH_BYTES // (len_of(payload) + 1))
        if self._may_hurry:
            self.quick = self._granted_quick = most
        else:
            self._granted_quick = -1  # the flush is for all that is put until then
            free, self._allotted_bytes = self.hub.free()
            self._allotted = max(0, min(most, free))

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        self._flush_due = True
        self._neighbours.bursting += 1
        loop.call_soon(self._on_flush)

    def put_batch(
        self, payloads: list[Payload], lengths: list[int] | None = None
    ) -> int:
        """Put as many of the items as there is room for."""
        self.guard()
        with self.lock:
            hub = self.hub
            if self.loop is None:
                self.bind()
            if hub.state is not OPEN:
                raise self.shut_error()
            self.quick = 0
            count = len(payloads)
            if not self._may_hurry:
                count = self._put_what_fits(payloads)
                self._hear(1)
            elif not hub.pass_on(payloads, lengths):
                heard = self._hear(count)
                if hub.state is not OPEN:
                    self._carry_out()
                    raise self.shut_error()
                if not (heard and hub.pass_on(payloads, lengths)):
                    hub.store.put_many(payloads)
            self._carry_out()
            return count

    def _hear(self, count: int) -> bool:
        # Peers may have asked for so many items while this loop did not wait.
        wanted = not self._connections or self.hub.dealer.wants(count)
        return not wanted and self._take_in()

    def _put_what_fits(self, payloads: list[Payload]) -> int:
        done = 0
        while done < len(payloads):
            free = 0 if self.sized else self.hub.free()[0]
            if free > 1:
                part = payloads[done : done + free]
                self.hub.store.put_many(part)
                done += len(part)
            elif self._fits(size_of(payloads[done])):
                self.hub.put(payloads[done])
                done += 1
            else:
                break
        return done

    async def await_room(self, until: float | None) -> bool:
        """Before waiting in a coroutine: look for room in a few turns of its loop.

        Consumers that go through a batch make some without saying so, and then half of
        what there may be goes together. Where that is much, they may say so all the
        same: it is once for many items.
        """
        room = self.hub.room
        if self.sized or room.line or room.maxsize > _MOST_AWAITED:
            return False
        if not self._by_record or (
            until is not None and until - time.monotonic() < SPIN
        ):
            return False
        if not self._room_experience.is_due():
            return False
        with self.lock:
            self._carry_out()
        enough = (room.maxsize + 1) // 2
        await take_turns(self._room_experience, self._room, enough)
        return True

    def _room(self) -> int:
        with self.lock:
            hub = self.hub
            return 0 if hub.room.line or hub.state is not OPEN else hub.free()[0]

    def begin_put(self, waiter: Waiter) -> None:
        """Let a putter wait for room."""
        with self.lock:
            self.hub.wait_to_put(waiter)
            self._prepare(waiter)
            self._carry_out()

    def ask_for_room(self, payload: Payload) -> None:
        """Nothing to do: the owner knows."""

    def come_to_put(self, waiter: Waiter) -> None:
        """A putter that was woken is about to put: its place is free for it."""
        with self.lock:
            self.hub.stop_putting(waiter)

    def end_put(self, waiter: Waiter) -> None:
        """A putter waits no longer."""
        with self.lock:
            self.hub.stop_putting(waiter)
            self._carry_out()

    # Getting

    def take(self, holder: Hashable) -> Payload | None:
        """Hand out an item that waits; None: none does."""
        lock = self.lock
        for mine in self.turns:
            if not mine:
                self.await_turn()
                continue
            try:
                if self.loop is None:
                    self.bind()
                hub = self.hub
                if self._plain and not (
                    self._unsettled or hub.joiners or hub.peer_joins
                ):
                    # As ``Store.take_plain`` does, at one call more for each item.
                    store = hub.store
                    if store.returned or store.sized or not store.fresh:
                        return store.take_plain()
                    store.head += 1
                    store.finished += 1
                    return store.fresh.popleft()
                if self.joinable:
                    stray = hub.take()
                    if stray is None:
                        return None
                    self._holdings.hold(stray.seq, holder)
                    payload: Payload | None = stray.payload
                else:
                    payload = hub.store.take_plain()
                    if payload is None:
                        return None
                told = self._flush_due and self._granted_quick < 0  # soon, by the loop
                frees = self._plain or not self._may_hurry
                if self._unsettled or hub.room.line or (frees and not told):
                    self._room_freed()
            finally:
                lock.release()
            break
        return payload

    def take_delivery(
        self, holder: Hashable = None
    ) -> tuple[Payload, Token, int] | None:
        """Hand out an item for a delivery."""
        self.guard()
        with self.lock:
            stray = self.hub.take()
            if stray is None:
                return None
            self._holdings.hold(stray.seq, None)
            if not self._may_hurry or self._unsettled:
                self._room_freed()
            return stray.payload, stray.seq, stray.attempts + 1

    def _room_freed(self) -> None:
        self._unsettled = False
        self._granted_quick = -1
        # A loop tells peers that wait for room once, when it is about to wait.
        line = self.hub.room.line
        if line and isinstance(line[0], Waiter):
            self._carry_out()
        elif not self._flush_due:
            if self.loop is None or running_loop() is not self.loop:
                self._carry_out()
            else:
                self._flush_soon(self.loop)

    def refresh(self) -> None:
        """Look whether something has come, and take back what nobody started."""
        self.guard()
        with self.lock:
            self._take_in()
            self._carry_out()
            hub = self.hub
            if hub.store.waiting or not hub.qsize():
                return
            for record in list(hub.dealer.peers):
                if record.lane.in_air and not record.lane.frozen:
                    frames = self._by_record[record].empty_lane()
                    hub.dealer.reclaimed(record, frames, recall=True)
            if hub.dealer.recalls:
                time.sleep(_FENCE)
                hub.dealer.verify()
            self._unsettled = True  # whoever called takes first, then the others

    def fetch(self) -> bool:
        """Take in what a peer in a burst has put meanwhile, a few times in a turn.

        Everything else is taken in by the loop, in its turns.
        """
        if not self._rings or self._streaming or self._fetches >= _MOST_FETCHES:
            return False
        self._fetches += 1
        with self.lock:
            found = [self._empty_ring(one) for one in list(self._rings)]
            if not any(found):
                return False
            self._fetches += self.hub.store.waiting // _MANY
            self._carry_out()
            return True

    def gather(self) -> None:
        """Take in what has come from peers and was not looked at yet."""
        with self.lock:
            if self._take_in():
                self._carry_out()

    def take_ended(self, *, linger: bool) -> bool:
        """Whether a get that finds nothing should raise at once."""
        if self.hub.state is OPEN:
            return False
        with self.lock:
            state = self.hub.state
            if self.hub.qsize():
                return False
            if state is State.SHUT:
                self._take_in()
                self._carry_out()
                state = self.hub.state
            if state is State.DRAINED:
                return not linger or bool(self.hub.store.held)
            return state is State.OVER

    def begin_get(self, waiter: Waiter) -> None:
        """Let a getter wait."""
        with self.lock:
            hub = self.hub
            self.quick = self._allotted = 0
            hub.wait_to_get(waiter)
            self._prepare(waiter)
            if hub.store.waiting or hub.dealer.flying or hub.state is not OPEN:
                self._carry_out()
            if isinstance(waiter, FutureWaiter) and len(hub.dealer.getters) == 1:
                self.expect()

    def end_get(self, waiter: Waiter, *, took: bool) -> None:
        """A getter waits no longer."""
        with self.lock:
            woken = waiter.woken
            self.hub.stop_getting(waiter)
            if woken and not took:
                self._carry_out()

    # Settling

    def settle(self, token: Token, *, report: bool = True) -> bool:
        """An item is done; False: it is not held."""
        self.guard()
        with self.lock:
            done = self.hub.finish(token)
            self._holdings.drop(token)
            self._settled()
            return done

    def _settled(self) -> None:
        hub = self.hub
        if not hub.store.unfinished or hub.state is not OPEN or hub.store.news:
            self._carry_out()

    def fail(self, token: Token, reason: str, *, final: bool) -> bool:
        """An attempt at an item failed; False: it is not held."""
        self.guard()
        with self.lock:
            done = self.hub.fail(token, reason, final=final)
            self._holdings.drop(token)
            self._carry_out()
            return done

    def fail_latest(self, holder: Hashable, reason: str) -> None:
        """The attempt at what ``holder`` was handed last failed."""
        self.guard()
        with self.lock:
            token = self._holdings.latest(holder)
        if token is not None:
            self.fail(token, reason, final=False)

    def settle_held(self, holder: Hashable) -> bool:
        """``task_done``, as far as this process holds something."""
        self.guard()
        with self.lock:
            token = self._holdings.choose(holder)
        return token is not None and self.settle(token)

    def settle_anywhere(self) -> bool:
        """Settle the oldest item that is held anywhere."""
        self.guard()
        with self.lock:
            self._take_in()
            done = self.hub.finish_oldest(self._holdings.deliveries())
            self._carry_out()
            return done

    def forget_dead(self) -> None:
        """Drop the dead letters: somebody else keeps account of them."""
        with self.lock:
            self.hub.store.dead.clear()

    # Requests, which the owner answers itself

    def begin_ask(self, ask: Ask, waiter: Waiter) -> int | None:
        """Wait for ``join``; everything else is answered at once."""
        self.guard()
        with self.lock:
            self._take_in()
            self._carry_out()
            for record in self.hub.dealer.peers:
                self.hub.dealer.absorb(record)
            if ask is not Ask.JOIN or not self.hub.store.unfinished:
                return None
            if self._disposed:  # those who hold the rest cannot say so any more
                raise self.closed_error()
            self.hub.wait_to_join(waiter)
            self._prepare(waiter)
            return id(waiter)

    def end_ask(self, ident: int) -> tuple[int | None, list[DeadRecord]]:
        """Wait for ``join`` no longer; without a waiter, the dead letters."""
        with self.lock:
            for waiter in list(self.hub.joiners):
                if id(waiter) == ident:
                    self.hub.stop_joining(waiter)
            return 0, list(self.hub.store.dead)

    def shutdown(self, *, immediate: bool) -> None:
        """No more puts."""
        self.guard()
        with self.lock:
            self.quick = 0
            hub = self.hub
            hub.page[STATE] = max(hub.state, State.SHUT)  # before looking for dials
            self._take_in()
            hub.shutdown(immediate=immediate)
            self._carry_out()
            self._finish_recalls()
            # So that who only blocks after this, as in Process.join, has told the peers
            # that it is over, if it is: those also who looked before it was.
            if hub.dealer.flying:
                time.sleep(_FENCE)
                hub.qsize()
                self._carry_out()
            self._take_in()
            self._carry_out()

    def _finish_recalls(self) -> None:
        # Here, where nobody may turn the loop again. A peer that was about to hand an
        # item out says at once what became of it; one that had is not waited for.
        dealer = self.hub.dealer
        for _ in range(_MOST_FENCES if dealer.recalls else 0):
            time.sleep(_FENCE)
            self._take_in()
            dealer.verify()
            self._carry_out()
            if not any(p.lane.frozen and p.lane.in_air for p in dealer.peers):
                return

    def qsize(self) -> int:
        """Items that wait, exactly."""
        self.guard()
        with self.lock:
            if self._take_in():
                self._carry_out()
            return self.hub.qsize()

    def statistics(self) -> QueueStatistics:
        """The figures of this moment."""
        self.guard()
        with self.lock:
            self._take_in()
            self._carry_out()
            return self.hub.statistics()


def len_of(payload: Payload) -> int:
    """Bytes of a payload in a batch."""
    return min(size_of(payload), UNLIMITED)
