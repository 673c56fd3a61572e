"""A whole simulation, and what must hold in it whenever nothing moves any more."""

from __future__ import annotations

from collections.abc import Collection

from aioprocq.wire.frames import Ask
from aioprocq.wire.page import State

from .owner_side import OwnerSide
from .peer_side import PeerSide
from .simulation import Settings, World

__all__ = ["Session"]

_ROUNDS = 300
_TICKS = 60


class Session:
    """The owner's process and all peers that there ever were."""

    def __init__(self, settings: Settings) -> None:
        self.world = World(settings)
        self.hub = self.world.hub
        self.owner = OwnerSide(self.world)
        self.peers: list[PeerSide] = []

    def connect(self) -> PeerSide:
        """One process more."""
        peer = PeerSide(self.world, self.owner, f"peer {len(self.peers)}")
        self.peers.append(peer)
        return peer

    @property
    def living(self) -> list[PeerSide]:
        """The peers that have not been killed."""
        return [peer for peer in self.peers if peer.alive]

    @property
    def connected(self) -> list[PeerSide]:
        """The peers that the hub does not know to be gone."""
        return [peer for peer in self.peers if not peer.record.gone]

    # Until nothing moves

    def quiesce(self, asleep: Collection[PeerSide] = ()) -> None:
        """Let everything happen that happens by itself.

        Peers that are ``asleep`` do nothing: their processes are busy elsewhere.
        """
        still = 0
        for _ in range(_ROUNDS):
            if self._move(asleep) or self._announce(asleep):
                still = 0
            elif self.hub.deadline is None or still >= _TICKS:
                break
            else:
                self.world.tick()
                still += 1
        else:
            raise AssertionError("it never comes to rest")
        self.check_rest(asleep)

    def _move(self, asleep: Collection[PeerSide]) -> bool:
        moved = self.owner.come()
        for peer in self.connected:
            moved |= peer.reclaim([])
            moved |= peer.hub_sends()
            moved |= peer.hub_reads(100)
            if peer.alive and peer not in asleep:
                moved |= self._move_peer(peer)
            moved |= peer.alive and peer.flush()
        return moved

    def _announce(self, asleep: Collection[PeerSide]) -> bool:
        late = [p for p in self.living if p.machine.unannounced and p not in asleep]
        for peer in late:
            peer.announce()
        return bool(late)

    def _move_peer(self, peer: PeerSide) -> bool:
        moved = False
        while peer.read():
            moved = True
        for _ in range(len(peer.getters) + len(peer.putters)):
            moved |= peer.come_to_get(0) or peer.come_to_put(0)
        moved |= peer.answers_come()
        return moved | peer.lane_is_free()

    # What holds at rest

    def check_rest(self, asleep: Collection[PeerSide] = ()) -> None:
        """Nobody is forgotten, and the figures are right."""
        awake = [peer for peer in self.living if peer not in asleep]
        # An item that was handed out in the very moment of a recall is in doubt,
        # and keeps its room, until the one who has it looks at its page again.
        lanes = [peer.record.lane for peer in asleep]
        in_doubt = any(lane.in_air and lane.frozen for lane in lanes)
        self._check_getters(awake, in_doubt=in_doubt)
        if not in_doubt:
            self._check_putters(awake)
        self._check_line(awake)
        self._check_others(awake)
        if not in_doubt:
            assert self.hub.deadline is None, "an idle hub is woken again and again"
        if not asleep:
            assert self.hub.qsize() == len(self.world.queued)
            assert self.hub.store.unfinished == self.world.unfinished
            self.world.event()
            self._check_statistics()
            for peer in self.living:
                if peer.machine.free is None:  # this ends a run
                    assert peer.machine.corrections() == (0, 0)

    def _check_statistics(self) -> None:
        figures, items = self.hub.statistics(), self.world.items
        assert figures.qsize == len(self.world.queued)
        assert figures.unfinished == self.world.unfinished
        assert figures.put == sum(item.place is not None for item in items)
        assert figures.held == sum(item.holder is not None for item in items)
        assert figures.dead_letters == sum(item.outcome == "dead" for item in items)
        assert figures.peers == len(self.living)
        assert figures.peers + (figures.peers_gone or 0) == len(self.peers)

    def _check_getters(self, awake: list[PeerSide], *, in_doubt: bool) -> None:
        holds = bool(self.hub.store.held)
        blocked = [(holds, w) for w in self.owner.getters]
        for peer in awake:
            holds = any(item.open for item in peer.held.values())
            blocked += [(holds, w) for w in peer.getters]
        if blocked:
            assert not self.world.queued, "an item waits, and so does a getter"
        if self.hub.state is not State.OPEN and not in_doubt:
            for holds, waiter in blocked:
                assert waiter.linger
                assert not holds
                assert self.world.unfinished

    def _check_putters(self, awake: list[PeerSide]) -> None:
        sizes = [item.size for _, item in self.owner.putters]
        sizes += [item.size for peer in awake for _, item in peer.putters]
        if not sizes:
            return
        assert self.hub.state is State.OPEN
        queued, settings = self.world.queued, self.world.settings
        if len(queued) >= settings.maxsize > 0:
            return
        assert settings.max_bytes is not None, "there is room"
        # A long item holds up those behind it, so look at the first in line.
        head = self.hub.room.line[0]
        need = self.hub.room._lacks(head)[1]
        assert sum(item.size for item in queued) + need > settings.max_bytes

    def _check_line(self, awake: list[PeerSide]) -> None:
        for peer in awake:
            if peer.record in self.hub.room.line:
                assert peer.putters or peer.asked_in_passing, "for whom is it?"

    def _check_others(self, awake: list[PeerSide]) -> None:
        asks = {request.ask for peer in awake for request in peer.requests}
        assert asks <= {Ask.JOIN}, "an answer is overdue"
        if asks or self.owner.joiners:
            assert self.world.unfinished, "a join is overdue"
        assert not any(peer.record.gone for peer in self.living)
        lost = [peer for peer in self.peers if peer.record.gone]
        for item in self.world.items:
            assert item.holder not in lost, (item, "is held by the dead")
            assert not item.returning or asleep_has(item, self.living), item

    # The end

    def drain(self) -> None:
        """Take everything out, and check that nothing is left anywhere."""
        self.quiesce()
        for _ in range(3 * len(self.world.items) + 3):
            self._settle_everything()
            self.quiesce()
            if not self.world.queued:
                break
            self.owner.get(wait=True, linger=False)
            self.quiesce()
        self._settle_everything()
        self._leave_everything()
        self.quiesce()
        self._check_empty()
        self.owner.shutdown(immediate=False)
        self.quiesce()
        assert self.hub.state is State.OVER

    def _settle_everything(self) -> None:
        while self.owner.held:
            self.owner.settle(0)
        for peer in self.living:
            while peer.held:
                peer.settle_one(0)

    def _leave_everything(self) -> None:
        while self.owner.getters:
            self.owner.cancel_get(0)
        while self.owner.putters:
            self.owner.cancel_put(0)
        for peer in self.living:
            while peer.getters:
                peer.cancel_get(0)
            while peer.putters:
                peer.cancel_put(0)

    def _check_empty(self) -> None:
        hub, dealer, room = self.hub, self.hub.dealer, self.hub.room
        assert not hub.store.unfinished
        assert not hub.store.waiting
        assert not hub.store.size
        assert not hub.joiners
        assert not hub.peer_joins
        assert not dealer.getters
        assert not dealer.flying
        assert not dealer.reserved
        assert not room.line
        assert not room.kept
        assert not room.kept_bytes
        assert len(dealer.peers) == len(self.living)
        for peer in self.living:
            machine = peer.machine
            assert not machine.getters
            assert not machine.putters
            assert not machine.answers
            assert not machine.holdings
            assert not machine.available()
        for item in self.world.items:
            assert (item.outcome is None) == (not item.sent), item


def asleep_has(item: object, peers: list[PeerSide]) -> bool:
    """Whether one of the peers has given the item back, and not sent that."""
    return any(item in peer.dropped.values() and peer.machine.outbox for peer in peers)
