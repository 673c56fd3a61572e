"""What the owner's process does with its hub, between the events of the lanes.

Invariants:

* ``join`` waiters exist only while something is unfinished.
* After a shutdown nothing is put but what had been begun before it.
* Nothing here serves anybody: ``Hub.settle_down`` does, after each event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from ..wire import frames as wire
from ..wire.frames import Kind
from ..wire.page import (
    ABSORBED,
    ARRIVED,
    BEGUN,
    COUNTED,
    OPEN,
    PUBLISHED,
    PUT,
    QSIZE,
    STATE,
    UNFINISHED,
    Page,
    State,
)
from ..wire.payload import Payload
from .dealer import Dealer
from .lane import Lane, Stray
from .record import DeadRecord, PeerRecord, Waiter
from .room import Room
from .statistics import QueueStatistics
from .store import Store

__all__ = ["HubState"]


class HubState:
    """The state of one queue, and the operations of its owner."""

    def __init__(
        self,
        *,
        maxsize: float = 0,
        max_bytes: int | None = None,
        joinable: bool = False,
        max_deliveries: int = 1,
        page: Page,
    ) -> None:
        sized = max_bytes is not None
        self.store = Store(
            joinable=joinable, max_deliveries=max_deliveries, sized=sized
        )
        self.dealer = Dealer(self.store)
        self.room = Room(maxsize, max_bytes)
        self.page = page
        page[BEGUN] = 1
        self.state = OPEN
        self.immediate = False
        self.joiners: deque[Waiter] = deque()
        self.peer_joins: dict[tuple[PeerRecord, int], None] = {}
        self.reclaims: dict[PeerRecord, None] = {}
        self.deadline: float | None = None
        self.deaths = self.put_by_gone = 0
        self._polls = 0
        self._published = 0
        self._watching = False
        self._unseen = False

    # What the owner's process does

    def qsize(self) -> int:
        """Items that were put and not handed out, now."""
        for peer in self.dealer.peers:
            self.dealer.absorb(peer)
        return self.store.waiting + self.dealer.flying

    def fits(self, size: int) -> bool:
        """Whether an item of ``size`` bytes may be put now."""
        if not self.room.bounded:
            return True
        return self.room.fits(self.qsize(), size, self.store.size)

    def free(self) -> tuple[int, int]:
        """How many items the owner may put now, and how many bytes, at the most."""
        self.room.owner_puts = True
        return self.room.free(self.qsize(), self.store.size)

    def put(self, payload: Payload) -> None:
        """Put an item that fits."""
        self.store.put(payload)

    def take(self) -> Stray | None:
        """Hand an item out to the owner's process, if one waits here."""
        return self.store.take()

    def wait_to_get(self, waiter: Waiter) -> None:
        """Let a getter of the owner's process wait for its turn."""
        self.dealer.getters.append(waiter)

    def stop_getting(self, waiter: Waiter) -> None:
        """The getter has come to take its item, or waits no longer."""
        if waiter.woken:
            waiter.woken = False
            self.dealer.reserved -= 1
        elif waiter in self.dealer.getters:
            self.dealer.getters.remove(waiter)

    def wait_to_put(self, waiter: Waiter) -> None:
        """Let a putter of the owner's process stand in line for room."""
        self.room.line.append(waiter)

    def stop_putting(self, waiter: Waiter) -> None:
        """The putter has come to use its room, or waits no longer."""
        if waiter.woken:
            waiter.woken = False
            self.room.unkeep(waiter)
        else:
            self.room.leave(waiter)

    def finish(self, seq: int) -> bool:
        """The owner's process is done with an item that it held."""
        return self.store.finish(seq)

    def fail(self, seq: int, reason: str, *, final: bool = False) -> bool:
        """The owner's process gives an item back after a failed attempt."""
        stray = self.store.held.pop(seq, None)
        if stray is not None:
            self.store.fail(stray, reason, final=final)
        return stray is not None

    def finish_oldest(self, deliveries: Collection[int] = ()) -> bool:
        """Settle the oldest item held anywhere; False: nothing is held.

        But for deliveries of the owner's process, which are settled by name. Those of
        others are not known here.
        """
        mine = min((s for s in self.store.held if s not in deliveries), default=None)
        oldest: tuple[int, int, Lane] | None = None
        for peer in self.dealer.peers:
            self.dealer.absorb(peer)
            first = peer.lane.oldest()
            if first is not None and (oldest is None or first[0] < oldest[0]):
                oldest = *first, peer.lane
        if mine is not None and (oldest is None or mine < oldest[0]):
            return self.store.finish(mine)
        if oldest is None:
            return False
        oldest[2].overrule(oldest[1])
        self.store.finished += 1
        return True

    def wait_to_join(self, waiter: Waiter) -> None:
        """Wake the waiter when nothing is unfinished."""
        self.joiners.append(waiter)

    def stop_joining(self, waiter: Waiter) -> None:
        """The waiter waits no longer."""
        if waiter in self.joiners:
            self.joiners.remove(waiter)

    def local_waiters(self) -> list[Waiter]:
        """Those of the owner's process who wait for items or for room."""
        line = [w for w in self.room.line if isinstance(w, Waiter)]
        return [*self.dealer.getters, *line]

    def shutdown(self, *, immediate: bool) -> None:
        """No more puts; with ``immediate``, throw away what waits."""
        if self.state is OPEN:
            self.state = State.SHUT
            for peer in self.dealer.peers:
                self.dealer.absorb(peer)  # who settles after this says so
            for putter in self.room.close(list(self.dealer.peers)):
                if isinstance(putter, PeerRecord):
                    self._end(putter, State.SHUT)
                else:
                    putter.ended = True
                    self.dealer.woken.append(putter)
        if immediate and not self.immediate:
            self.immediate = True
            self.store.discard()
            for peer in self.dealer.peers:
                if peer.lane.in_air:
                    self.reclaims[peer] = None

    def statistics(self) -> QueueStatistics:
        """The figures of this moment."""
        qsize = self.qsize()
        store, dealer = self.store, self.dealer
        held = len(store.held) + sum(p.lane.holding for p in dealer.peers)
        return QueueStatistics(
            qsize=qsize,
            unfinished=store.unfinished,
            held=held,
            put=store.tail,
            returned=store.returns,
            redelivered=store.redelivered,
            dead_letters=len(store.dead),
            peers=len(dealer.peers),
            peers_gone=self.deaths,
            getters_waiting=len(dealer.getters) + len(dealer.blocked),
            putters_waiting=len(self.room.line),
            state=self.state.name.lower(),
        )

    def news(self) -> list[DeadRecord]:
        """The items given up on since the last call, to be logged."""
        news, self.store.news = self.store.news, []
        return news

    def publish(self) -> None:
        """Write into the shared page what peers may read of it."""
        page, store = self.page, self.store
        self._published += 2
        page[PUBLISHED] = self._published - 1
        page[QSIZE] = len(store.returned) + len(store.fresh) + self.dealer.flying
        page[UNFINISHED] = store.head + len(store.fresh) - store.finished
        if self.state is not OPEN:
            page[BEGUN] = self._begun()
            page[STATE] = self.state
        changed = self.dealer.changed
        while changed:
            peer = changed.popitem()[0]
            peer.page[ABSORBED] = peer.lane.handed
            peer.page[ARRIVED] = peer.received
            peer.page[COUNTED] = peer.counted
        page[PUBLISHED] = self._published

    def _begun(self) -> bool:
        """Whether a put that a peer has begun has not arrived."""
        return any(p.page[PUT] > p.received for p in self.dealer.peers)

    def _end(self, peer: PeerRecord, state: State) -> None:
        self.dealer.post(peer, wire.encode_flag(Kind.END, state))
