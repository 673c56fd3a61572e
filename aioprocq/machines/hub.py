"""The hub: the one place that knows where every item of a queue is.

It does no I/O and reads no clock. A driver tells it what happened (``receive``,
``lost``, ``tick``, the calls of the owner's process) and afterwards carries out
what it decided: frames in the outboxes of ``outgoing``, waiters in ``woken``,
lanes to be emptied in ``reclaims``, and a call of ``tick`` at ``deadline``.
Every event ends with ``settle_down``, which brings those up to date.

Invariants (and those of ``Store``, ``Dealer`` and ``Room``):

* ``join`` waiters exist only while something is unfinished.
* After a shutdown nothing is put but what had been begun before it.
* ``deadline`` is None while nothing can happen without an event from outside:
  an idle hub is never woken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..errors import ProtocolError
from ..wire import frames as wire
from ..wire.frames import Ask, Kind
from ..wire.page import (
    NEVER,
    OPEN,
    RETURNS,
    Page,
    State,
)
from ..wire.payload import Parcel, Payload, size_of
from .dealer import PATIENCE
from .hub_state import HubState
from .lane import Lane, Stray
from .record import Frame, PeerRecord, Waiter

__all__ = ["Hub"]


class Hub(HubState):
    """The state of one queue, and everything that happens to it."""

    # What happens on the lanes

    def connect(self, pid: int, page: Page) -> PeerRecord:
        """A peer has dialled."""
        lane = Lane(page, joinable=self.store.joinable, sized=self.store.sized)
        peer = PeerRecord(pid, page, lane)
        self.room.admit(peer)
        self.dealer.peers[peer] = None
        return peer

    def receive(self, peer: PeerRecord, data: bytes) -> None:
        """A frame without descriptors has come from a peer."""
        if not data:
            raise ProtocolError("an empty frame")
        kind = data[-1]
        if kind == Kind.PUT:
            self.put_from(peer, [data])
        elif kind == Kind.PUT_MANY:
            self.put_from(peer, wire.decode_batch(data))
        else:
            handler = _HANDLERS.get(kind)
            if handler is None:
                raise ProtocolError(f"a frame of unknown kind {kind}")
            handler(self, peer, data)

    def pass_on(self, payloads: list[Payload], lengths: list[int] | None) -> bool:
        """Send new items of the owner's at once, if they overtake nobody; or False."""
        return not self._polls and self.dealer.pass_on(payloads, lengths)

    def put_from(self, peer: PeerRecord, payloads: Sequence[Payload]) -> None:
        """Items have come from a peer."""
        size = sum(map(size_of, payloads)) if self.store.sized else 0
        self.room.received(peer, len(payloads), size)
        self.dealer.changed[peer] = None
        self.store.put_many(payloads)

    def receive_parcel(self, peer: PeerRecord, data: bytes, payload: Parcel) -> None:
        """A PARCEL has come from a peer, with its descriptors."""
        self.put_from(peer, [payload])

    def lost(self, peer: PeerRecord) -> list[Stray]:
        """A peer's process is gone, or broke the protocol: what it held."""
        if peer.gone:
            return []
        self.deaths += 1
        self.put_by_gone += peer.received
        held = self.dealer.lost(peer, f"its consumer, process {peer.pid}, is gone")
        self._end_poll(peer)
        self.room.forget(peer)
        self.reclaims.pop(peer, None)
        for key in [key for key in self.peer_joins if key[0] is peer]:
            del self.peer_joins[key]
        return held

    def sent(self, peer: PeerRecord, *, stalled: bool) -> bool:
        """The driver has emptied an outbox, or the lane is full: is that new?"""
        if peer.stalled == stalled:
            return False
        peer.stalled = stalled
        if not stalled:
            self.dealer.enlist(peer)
        return True

    def reclaimed(self, peer: PeerRecord, frames: list[Frame], now: float) -> None:
        """The driver has emptied the lane of a peer in ``reclaims``."""
        self.reclaims.pop(peer, None)
        if not peer.gone:
            self.dealer.reclaimed(peer, frames, recall=True)
            self.deadline = None  # not before PATIENCE has passed from now on

    def tick(self, now: float) -> None:
        """The deadline has come: look at what only the pages say."""
        self.deadline = None
        self._unseen = False
        dealer = self.dealer
        for peer in dealer.peers:
            dealer.absorb(peer)
        dealer.verify()
        self.room.collect()
        self.room.age()
        for peer in dealer.peers:
            if peer.poll is not None:
                peer.stale += 1
        if dealer.starved(polls=self._polls > 0):
            for peer in dealer.victims():
                self.reclaims[peer] = None

    def settle_down(self, now: float) -> None:
        """Serve everybody whom the last event has changed something for."""
        if self._polls:
            self._answer_polls()
        if self.store.fresh or self.store.returned:
            self.dealer.deal()
        if self.room.bounded and not self.room.closed:
            self._serve_line()
        if self.state is not OPEN:
            self._progress()
        if self.joiners or self.peer_joins:
            self._serve_joins()
        self._watch_hand_outs()
        if self.deadline is None and self._restless():
            self.deadline = now + PATIENCE
        self.publish()

    # The parts of the above

    def _want(self, peer: PeerRecord, data: bytes) -> None:
        want = wire.decode_want(data)
        self._look(peer)
        first = peer.lane.want == 0
        if not peer.lane.frozen:
            peer.lane.want = max(peer.lane.want, want.limit)
        if first:
            self.dealer.crowd(peer)
        peer.linger = want.linger
        if want.blocked:
            self.dealer.promote(peer)
        else:
            self.dealer.enlist(peer)

    def _look(self, peer: PeerRecord, data: bytes = b"") -> None:
        self.dealer.absorb(peer)

    def _report(self, peer: PeerRecord, data: bytes) -> None:
        self._look(peer)
        # Once is enough, until what was reported has been dealt with.
        peer.alert()

    def _look_around(self, peer: PeerRecord, data: bytes) -> None:
        for other in self.dealer.peers:
            self.dealer.absorb(other)

    def _need(self, peer: PeerRecord, data: bytes) -> None:
        upto, upto_bytes = wire.decode_need(data)
        if self.room.closed:
            self._end(peer, State.SHUT)
        elif self.room.ask(peer, upto, upto_bytes):
            self.dealer.post(peer, wire.encode_room(peer.room, peer.room_bytes))

    def _settle(self, peer: PeerRecord, data: bytes) -> None:
        index = wire.decode_number(data)
        self.dealer.absorb(peer, index + 1)
        finished = peer.lane.resolve(index) is not None
        self.store.finished += finished
        if finished or peer.lane.settles_late(index):
            peer.counted += 1
            self.dealer.changed[peer] = None

    def _return(self, peer: PeerRecord, data: bytes) -> None:
        index, final, reason = wire.decode_return(data)
        self.dealer.absorb(peer, index + 1)
        stray = peer.lane.resolve(index)
        peer.lane.settles_late(index)  # or neither will it
        peer.page[RETURNS] += 1
        if stray is not None:
            self.store.fail(stray, reason, final=final)

    def _bounce(self, peer: PeerRecord, data: bytes) -> None:
        self._look(peer)
        self.dealer.bounced(peer, wire.decode_number(data))

    def _yield(self, peer: PeerRecord, data: bytes) -> None:
        self.dealer.yielded(peer, wire.decode_number(data))

    def _shutdown(self, peer: PeerRecord, data: bytes) -> None:
        self.shutdown(immediate=bool(wire.decode_flag(data)))

    def _request(self, peer: PeerRecord, data: bytes) -> None:
        ident, ask = wire.decode_request(data)
        self._look(peer)
        if ask is Ask.FLUSH:
            self._reply(peer, ident, 0)
        elif ask is Ask.JOIN:
            self.peer_joins[peer, ident] = None
        elif ask is Ask.CANCEL:
            self.peer_joins.pop((peer, ident), None)
            if peer.poll == ident:
                self._end_poll(peer)
        elif ask is Ask.TASK_DONE:
            self._reply(peer, ident, 0 if self.finish_oldest() else 1)
        elif ask is Ask.POLL:
            if peer.poll is not None:  # it looked before this one did
                self._reply(peer, peer.poll, 0)
                self._end_poll(peer)
            self._polls += 1
            peer.poll, peer.stale = ident, 0
        else:
            self._send_dead_letters(peer, ident)

    def _reply(self, peer: PeerRecord, ident: int, value: int) -> None:
        self.dealer.post(peer, wire.encode_reply(ident, value))

    def _send_dead_letters(self, peer: PeerRecord, ident: int) -> None:
        for record in self.store.dead:
            self.dealer.post_dead(peer, ident, record)
        self._reply(peer, ident, len(self.store.dead))

    def _end_poll(self, peer: PeerRecord) -> None:
        self._polls -= peer.poll is not None
        peer.poll = None

    def _answer_polls(self) -> None:
        for peer in self.dealer.peers:
            if peer.poll is None or not peer.reachable:
                continue
            ident = peer.poll
            if self.dealer.available > 0:
                self._end_poll(peer)
                first = peer.lane.want == 0
                peer.lane.want = max(peer.lane.want, peer.lane.sent + 1)
                self.dealer.send(peer, 1)
                if first:
                    self.dealer.crowd(peer)
                self._reply(peer, ident, 1)
            elif peer.stale >= _POLL_TICKS or self.dealer.flying == 0:
                self._end_poll(peer)
                self._reply(peer, ident, 0)

    def _serve_line(self) -> None:
        room = self.room
        if room.line:
            served = room.grant(self.qsize(), self.store.size)
            for putter in served:
                if isinstance(putter, PeerRecord):
                    self.dealer.outgoing[putter] = None
                else:
                    self.dealer.woken.append(putter)
            if room.line and not room.revoking and room.revoke():
                self.deadline = None  # not before PATIENCE has passed from now on
        elif room.producers:
            room.top_up(self.store.waiting + self.dealer.flying)

    def _progress(self) -> None:
        store, dealer, before = self.store, self.dealer, self.state
        if self.immediate:
            # Whatever comes back is thrown away, so nobody need wait to see it. And a
            # peer may be long in saying whether it took the last item back.
            self.state = State.OVER
        elif store.waiting or dealer.flying or self._begun():
            self.state = State.SHUT
            # Where a put that was begun is all there is left, it may be given up any
            # moment, and nothing will tell.
            self._unseen |= not (store.waiting or dealer.flying)
            return
        else:
            self.state = State.DRAINED if store.unfinished else State.OVER
        over = self.state is State.OVER
        keep = deque[Waiter]()
        for waiter in dealer.getters:
            if waiter.linger and not over and not store.held:
                keep.append(waiter)
            else:
                waiter.ended = True
                dealer.woken.append(waiter)
        dealer.getters = keep
        news = self.state is not before
        for peer in dealer.peers:
            lane = peer.lane
            ends = over or not peer.linger or lane.holding
            # One whose credit was taken back may have asked again, and the owner may
            # do nothing from now on but wait for its process to end.
            if ends and (lane.credit or (news and lane.want)):
                lane.want = lane.sent
                self._end(peer, self.state)

    def _serve_joins(self) -> None:
        if (self.joiners or self.peer_joins) and not self.store.unfinished:
            for waiter in self.joiners:
                waiter.woken = True
                self.dealer.woken.append(waiter)
            self.joiners.clear()
            for peer, ident in self.peer_joins:
                self._reply(peer, ident, 0)
            self.peer_joins.clear()

    def _watch_hand_outs(self) -> None:
        # Each hand-out makes room for a putter in line; the last one of what was
        # sent may be the end of the queue, or of a join. Nothing else tells.
        last = self.state is not OPEN or bool(self.joiners or self.peer_joins)
        if not (self.room.line or last or self._watching):
            return
        each = bool(self.room.line)
        self._watching = False
        for peer in self.dealer.peers:
            lane = peer.lane
            index = NEVER
            if lane.in_air and (each or last):
                index = lane.handed if each else lane.air[-1].end - 1
            if peer.alert(index):
                self._unseen = True  # a hand-out may just have missed it
            self._watching |= peer.watched != NEVER

    def _restless(self) -> bool:
        """Whether the pages may say something new that no frame will tell."""
        dealer, room = self.dealer, self.room
        if dealer.recalls or room.revoking or self.reclaims or self._unseen:
            return True
        if room.line and (room.granted or room.granted_bytes):
            return True
        if self._polls and any(p.reachable for p in dealer.peers if p.poll is not None):
            return True
        if (dealer.blocked or dealer.getters) and dealer.starved():
            return True
        return self.state is not OPEN and self._begun()

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold; after settle_down."""
        self.dealer.check_invariants()
        peers = list(self.dealer.peers)
        self.room.check_invariants(peers)
        room = self.room
        if self.state is OPEN:
            # What is delivered again comes on top: it cannot be refused.
            again = sum(stray.attempts > 0 for stray in self.store.returned)
            again += sum(p.lane.in_air_again for p in peers)
            total = self.store.waiting + self.dealer.flying + room.granted + room.kept
            assert total - again <= room.maxsize, (total, again, room.maxsize)
        if not self.store.unfinished:
            assert not self.joiners
            assert not self.peer_joins
        if self.state is not OPEN:
            assert not room.line


_POLL_TICKS = 3

_HANDLERS: dict[int, Callable[[Hub, PeerRecord, bytes], None]] = {
    Kind.WANT: Hub._want,
    Kind.NEED: Hub._need,
    Kind.REPORT: Hub._report,
    Kind.LOOK: Hub._look_around,
    Kind.SETTLE: Hub._settle,
    Kind.RETURN: Hub._return,
    Kind.BOUNCE: Hub._bounce,
    Kind.YIELD: Hub._yield,
    Kind.REQUEST: Hub._request,
    Kind.SHUTDOWN: Hub._shutdown,
}
