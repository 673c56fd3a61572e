"""Who gets the waiting items: shares, and taking back what was sent too early.

Invariants:

* Items go only to peers with credit, and to waiters of the owner's process; the
  one that has waited longest comes first, those who are blocked before those
  who only ask ahead.
* While somebody is blocked and nothing waits, no peer keeps items that it has
  not handed out, without a hand-out meanwhile, for more than twice ``PATIENCE``.
* Taking back is exact: from the lane, because the kernel gives each message to
  one reader; from what a peer has read, because the peer looks at its page
  after it has announced each hand-out, and the hub looks at that announcement
  ``PATIENCE`` after it has set the alert.

The last point is Dekker's algorithm. It needs each side's store to be seen
before its own load, and Python has no fence; a store buffer drains in less than
a microsecond, so waiting a thousand times as long stands in for one. The item
that the peer announced within this time stays in the air until the peer has
said what became of it.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from ..wire.frames import (
    Kind,
    encode_bounced,
    encode_dead,
    encode_flag,
    encode_items,
    encode_parcel,
    encode_void,
    peek_items,
)
from ..wire.page import ALERT, ANNOUNCE_WAITS, EPOCH, HANDED, RECALLED, RETURNS
from ..wire.payload import Parcel, Payload
from .lane import Stray
from .record import DeadRecord, Frame, Loaded, PeerRecord, Waiter
from .store import Store

__all__ = ["PATIENCE", "Dealer"]

PATIENCE = 0.001
"""Seconds that sent items may lie unread while somebody else is blocked."""

_READER_PATIENCE = 20
"""How many times longer they may for a peer that was blocked when it was sent
them: it is as idle as who waits, and taking them back costs them their order."""

_LOOKS = 4


class Dealer:
    """Sends the items of one store to those who want them."""

    __slots__ = (
        "ahead",
        "blocked",
        "changed",
        "flying",
        "getters",
        "outgoing",
        "peers",
        "recalls",
        "reserved",
        "store",
        "woken",
    )

    def __init__(self, store: Store) -> None:
        self.store = store
        self.peers: dict[PeerRecord, None] = {}
        self.getters: deque[Waiter] = deque()
        self.blocked: deque[PeerRecord] = deque()
        self.ahead: deque[PeerRecord] = deque()
        self.reserved = self.flying = self.recalls = 0
        self.outgoing: dict[PeerRecord, None] = {}
        self.changed: dict[PeerRecord, None] = {}
        self.woken: list[Waiter] = []

    @property
    def available(self) -> int:
        """Waiting items that are not kept for a waiter that was woken."""
        return self.store.waiting - self.reserved

    def absorb(self, peer: PeerRecord, certain: int = 0) -> int:
        """Take over what a peer's page says: how many items were finished.

        Items below lane index ``certain`` were handed out, beyond doubt.
        """
        lane, store = peer.lane, self.store
        handed = lane.absorb(certain)
        done = lane.absorb_settled() if store.joinable else handed
        if handed:
            self.flying -= handed
            peer.stale = 0
            peer.waking = False
            self.changed[peer] = None
            if store.sized:
                store.size -= lane.freed
                lane.freed = 0
        if done:
            store.finished += done
            peer.counted += done
            self.changed[peer] = None
        if lane.belated:
            peer.counted += lane.belated
            lane.belated = 0
            self.changed[peer] = None
        return handed + done

    def enlist(self, peer: PeerRecord) -> None:
        """A peer may have credit now: see that it stands in a line."""
        if peer.listed or not peer.open:
            return
        peer.listed = True
        (self.blocked if peer.blocked else self.ahead).append(peer)

    def promote(self, peer: PeerRecord) -> None:
        """A peer that asked ahead is blocked now."""
        peer.blocked = True
        if peer.listed and peer in self.ahead:
            self.ahead.remove(peer)
            self.blocked.append(peer)
        self.enlist(peer)

    def deal(self) -> None:
        """Send what waits, as far as it is wanted: an equal share in each round."""
        store = self.store
        turns = 0
        while (available := store.waiting - self.reserved) > 0:
            if self.getters:
                waiter = self.getters.popleft()
                waiter.woken = True
                self.reserved += 1
                self.woken.append(waiter)
                continue
            count = len(self.blocked) + len(self.ahead)
            if not count:
                return
            turns = turns or count
            peer = self._next_in_line()
            peer.listed = False
            if peer.open:
                self.send(peer, min(-(-available // turns), peer.lane.credit))
                self.enlist(peer)
            turns -= 1

    def wants(self, count: int) -> bool:
        """Whether some peer takes items; so many, if there is only one that does."""
        peers = len(self.blocked) + len(self.ahead)
        if peers != 1:
            return peers > 0
        return (self.blocked or self.ahead)[0].lane.credit >= count

    def pass_on(self, payloads: list[Payload], lengths: list[int] | None) -> bool:
        """Send new items at once, if nothing waits and one peer takes them all.

        As if they had been put and dealt; the list belongs to the lane from then on.
        Otherwise False: they have to be put.
        """
        count = len(payloads)
        if count < 2 or len(self.blocked) + len(self.ahead) != 1:
            return False
        if self.getters or self.reserved:  # who was woken may have been robbed
            return False
        line = self.blocked or self.ahead
        peer = line[0]
        lane = peer.lane
        if lane.want - lane.sent < count or not peer.open:
            return False
        lengths = lengths or list(map(len, payloads))
        place = self.store.pass_on(payloads, lengths)
        if place is None:
            return False
        self._launch(peer, place, 0, payloads, lengths)
        if line is self.blocked or lane.want == lane.sent:
            line.popleft()
            peer.listed = False
            self.enlist(peer)
        return True

    def _next_in_line(self) -> PeerRecord:
        # Who has just begun to wait, and says so in its page only, is the quickest to
        # go on; but one that has something to do elsewhere had better not be chosen.
        ahead = self.ahead
        if ahead and len(self.blocked) + len(ahead) > 1:
            for peer in islice(reversed(ahead), _LOOKS):
                if peer.waits and peer.open:
                    self.absorb(peer)
                    if not peer.lane.holding:
                        ahead.remove(peer)
                        peer.blocked = True
                        return peer
        return (self.blocked or ahead).popleft()

    def send(self, peer: PeerRecord, limit: int) -> None:
        """Send a peer one batch of at most ``limit`` items."""
        self._launch(peer, *self.store.batch(limit))

    def _launch(
        self,
        peer: PeerRecord,
        seq: int,
        attempts: int,
        payloads: list[Payload],
        lengths: list[int],
    ) -> None:
        start = peer.lane.launch(seq, payloads, attempts)
        self.flying += len(payloads)
        # One that was blocked will read as soon as it runs, in its turn.
        peer.waking = peer.blocked
        peer.blocked = peer.linger = False
        peer.stale = 0
        first = payloads[0]
        if isinstance(first, Parcel):
            self.post(peer, encode_flag(Kind.ANNOUNCE, len(first.descriptors)))
            data = encode_parcel(start, attempts, first.size, first.head)
            self.post(peer, Loaded(data, first.descriptors))
        else:
            # A batch with a parcel in it has this one item; see Store.batch.
            frame = encode_items(start, attempts, payloads, lengths)  # type: ignore[arg-type]
            self.post(peer, frame)

    def post(self, peer: PeerRecord, frame: Frame) -> None:
        """Leave a frame for the driver to send."""
        peer.outbox.append(frame)
        self.outgoing[peer] = None

    def post_dead(self, peer: PeerRecord, ident: int, record: DeadRecord) -> None:
        """Leave a frame with one dead letter."""
        payload = record.payload
        head = payload.head if isinstance(payload, Parcel) else payload
        data = encode_dead(ident, record.attempts, record.reason, head)
        if isinstance(payload, Parcel):
            self.post(peer, encode_flag(Kind.ANNOUNCE, len(payload.descriptors)))
            self.post(peer, Loaded(data, payload.descriptors))
        else:
            self.post(peer, data)

    def crowd(self, newcomer: PeerRecord) -> None:
        """From the second consumer on, peers say when they are blocked."""
        consumers = [p for p in self.peers if p.lane.want]
        if len(consumers) > 1:
            for peer in consumers:
                if not peer.page[ANNOUNCE_WAITS]:
                    peer.page[ANNOUNCE_WAITS] = 1
                    # It may be blocked already, even with items on their way.
                    if peer is not newcomer:
                        self.promote(peer)

    # Taking back

    def starved(self, *, polls: bool = False) -> bool:
        """Whether somebody waits while nothing does, and others have some."""
        if not self.flying or self.available > 0:
            return False
        if self.getters or polls:
            return True
        if not self.blocked:
            return False
        waiting = [peer for peer in self.blocked if peer.open]
        alone = len(waiting) == 1 and waiting[0].lane.in_air == self.flying
        return bool(waiting) and not alone

    def victims(self) -> list[PeerRecord]:
        """Peers whose lanes should be emptied; called once in each PATIENCE."""
        found = []
        waiting = [peer for peer in self.blocked if peer.open]
        alone = waiting[0] if len(waiting) == 1 and not self.getters else None
        for peer in self.peers:
            if not peer.lane.in_air or peer.lane.frozen or peer is alone:
                continue
            peer.stale += 1
            if peer.stale > (_READER_PATIENCE if peer.waking else 1):
                found.append(peer)
        found.sort(key=lambda p: -p.lane.in_air)
        return found

    def reclaimed(self, peer: PeerRecord, frames: list[Frame], *, recall: bool) -> None:
        """The driver has emptied a peer's lane; with ``recall``, go on there."""
        control: list[Frame] = []
        for frame in [*frames, *peer.outbox]:
            data = frame.data if isinstance(frame, Loaded) else frame
            if data[-1] in (Kind.ITEMS, Kind.PARCEL):
                for stray in peer.lane.retract(peek_items(data)[0]):
                    self.flying -= 1
                    self.store.restore(stray)
            elif data[-1] != Kind.ANNOUNCE:
                control.append(frame)
        peer.outbox.clear()
        for frame in control:
            if isinstance(frame, Loaded):
                self.post(peer, encode_flag(Kind.ANNOUNCE, len(frame.descriptors)))
            self.post(peer, frame)
        self._void(peer)
        if recall and peer.lane.in_air and not peer.lane.frozen:
            self._recall(peer)

    def _void(self, peer: PeerRecord) -> None:
        peer.lane.want = peer.lane.sent
        self.post(peer, encode_void(peer.lane.sent))

    def _recall(self, peer: PeerRecord) -> None:
        self.absorb(peer)
        if not peer.lane.in_air:
            return
        peer.lane.frozen = peer.recalling = True
        self.recalls += 1
        peer.epoch += 1
        # Between announcing a hand-out and looking here the peer may stand still
        # for long: what was counted until now is not to be taken back.
        peer.page[RECALLED] = peer.lane.handed
        peer.page[EPOCH] = peer.epoch
        peer.watched = 0
        peer.page[ALERT] = 1

    def verify(self) -> None:
        """PATIENCE has passed since the recalls: take what was not handed out."""
        for peer in self.peers:
            if peer.recalling:
                peer.recalling = False
                self.recalls -= 1
                self._take_from(peer, peer.page[HANDED])

    def yielded(self, peer: PeerRecord, epoch: int) -> None:
        """A peer has dropped what it had read and not handed out."""
        if epoch != peer.epoch or not peer.lane.frozen:
            return
        self._thaw(peer)
        self._take_from(peer, peer.lane.handed)
        peer.alert()
        peer.lane.want = peer.lane.sent

    def _thaw(self, peer: PeerRecord) -> None:
        if peer.recalling:
            peer.recalling = False
            self.recalls -= 1
        peer.lane.frozen = False
        self.absorb(peer)

    def _take_from(self, peer: PeerRecord, index: int) -> None:
        for stray in peer.lane.retract_from(index):
            self.flying -= 1
            self.store.restore(stray)

    def bounced(self, peer: PeerRecord, index: int) -> None:
        """A peer could not receive an item, and has dropped all that came after it."""
        self._take_from(peer, index)
        peer.page[RETURNS] += 1
        peer.lane.want = peer.lane.sent
        self.post(peer, encode_bounced(peer.lane.sent))

    def lost(self, peer: PeerRecord, reason: str) -> list[Stray]:
        """A peer is gone: what it had not started on waits again.

        What it had been handed and not settled has failed once, and is returned.
        """
        peer.gone = True
        self.peers.pop(peer, None)
        self.outgoing.pop(peer, None)
        self.changed.pop(peer, None)
        for line in (self.blocked, self.ahead):
            if peer in line:
                line.remove(peer)
        self._thaw(peer)
        self._take_from(peer, peer.lane.handed)
        held = list(peer.lane.unsettled())
        for stray in held:
            self.store.fail(stray, reason)
        peer.lane.air.clear()
        peer.lane.held.clear()
        peer.outbox.clear()
        return held

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        for peer in self.peers:
            peer.lane.check_invariants()
            lines = (peer in self.blocked) + (peer in self.ahead)
            assert lines == peer.listed, peer
            if peer.open:
                assert peer.listed, peer
        assert self.flying == sum(p.lane.in_air for p in self.peers)
        assert self.recalls == sum(p.recalling for p in self.peers)
        assert self.reserved >= 0
        if self.available > 0:
            assert not self.getters
        elsewhere = sum(p.lane.in_air + p.lane.holding for p in self.peers)
        self.store.check_invariants(elsewhere)
