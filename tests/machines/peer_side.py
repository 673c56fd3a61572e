"""Both ends of a connection in a simulation: a peer, and what the hub does to it."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from aioprocq.machines.record import DeadRecord, Frame, Loaded
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import Ask, Kind
from aioprocq.wire.payload import Descriptor, Parcel, Payload

from .peer_process import LANE, Killed, PeerProcess

__all__ = ["Killed", "PeerSide"]


@dataclass
class PeerSide(PeerProcess):
    """One peer, its lanes, and the hub's driver at their other ends."""

    def read(self, *, full: bool = False) -> bool:
        """Read one frame of the down lane; False: there is none.

        ``full``: there are no descriptors left for what comes with it.
        """
        if not self.down:
            return False
        frame = self.down.popleft()
        data = frame.data if isinstance(frame, Loaded) else frame
        descriptors: tuple[Descriptor, ...] | None = None
        if isinstance(frame, Loaded) and (self.announced_down or self._awaits_letters):
            lost = full and data[-1] == Kind.PARCEL
            descriptors = () if lost else frame.descriptors
        self.announced_down = 0
        kind = data[-1]
        if kind == Kind.ANNOUNCE:
            self.announced_down = wire.decode_flag(data)
        elif kind == Kind.PARCEL:
            self._read_parcel(data, descriptors)
        elif kind == Kind.DEAD:
            self._read_dead(data, descriptors)
        else:
            self.machine.receive(data, self.world.now)
        self.after()
        return True

    @property
    def _awaits_letters(self) -> bool:
        # The announcement of a dead letter may have been taken back, so while one
        # may come a driver makes room for descriptors each time.
        asks = (answer.ask for answer in self.machine.answers.values())
        return Ask.DEAD_LETTERS in asks

    def _read_parcel(
        self, data: bytes, descriptors: tuple[Descriptor, ...] | None
    ) -> None:
        frame = wire.decode_parcel(data)
        if descriptors:
            parcel = Parcel(frame.head, descriptors, frame.size)
            self.machine.receive_parcel(frame, parcel, self.world.now)
        elif descriptors is None:
            self.machine.bounce(frame.place, None)
        else:
            self.machine.bounce(frame.place, OSError(errno.EMFILE, "none free"))

    def _read_dead(
        self, data: bytes, descriptors: tuple[Descriptor, ...] | None
    ) -> None:
        ident, attempts, reason, head = wire.decode_dead(data)
        payload: Payload = head
        if descriptors:
            payload = Parcel(head, descriptors, 0)
        self.machine.receive_dead(ident, DeadRecord(payload, attempts, reason))

    def hub_sends(self, most: int = 1000) -> bool:
        """The hub's driver sends frames to this peer; False: there are none."""
        outbox, hub = self.record.outbox, self.world.hub
        if self.record.gone or not outbox:
            return False
        room = LANE - len(self.down)
        if room <= 0 and self.record.stalled:
            return False
        sent = 0
        while outbox and sent < min(room, most):
            self.down.append(outbox.popleft())
            sent += 1
        if not outbox:
            hub.dealer.outgoing.pop(self.record, None)
            hub.sent(self.record, stalled=False)
            self.world.event()
        elif sent == room:
            hub.sent(self.record, stalled=True)
            self.world.event()
        return True

    def hub_reads(self, most: int = 1) -> bool:
        """The hub's driver reads frames of this peer; False: there is nothing."""
        if self.record.gone:
            return False
        read = 0
        while self.up and read < most:
            self._hub_receives(self.up.popleft())
            read += 1
        if not read and not self.alive:
            self._check_lost()
            return True
        if read:
            self.world.event()
        return bool(read)

    def _hub_receives(self, frame: Frame) -> None:
        hub, record = self.world.hub, self.record
        if isinstance(frame, Loaded):
            parcel = wire.decode_parcel(frame.data)
            payload = Parcel(parcel.head, frame.descriptors, parcel.size)
            hub.receive_parcel(record, frame.data, payload)
        elif frame[-1] == Kind.REQUEST:
            self._hub_receives_request(frame)
        elif frame[-1] != Kind.ANNOUNCE:
            hub.receive(record, frame)

    def _hub_receives_request(self, frame: bytes) -> None:
        hub, (ident, ask) = self.world.hub, wire.decode_request(frame)
        if ask is Ask.TASK_DONE:
            # As the hub does it, with a look at what it chooses.
            hub.receive(self.record, wire.REPORT)
            done = self.owner.finish_oldest()
            hub.dealer.post(self.record, wire.encode_reply(ident, int(not done)))
            return
        if ask is Ask.DEAD_LETTERS:
            for request in self.requests:
                if request.ident == ident:
                    request.letters = len(hub.store.dead)
        hub.receive(self.record, frame)

    def reclaim(self, peer_reads: list[bool]) -> bool:
        """The hub empties the down lane, while the peer may read in between."""
        hub = self.world.hub
        if self.record not in hub.reclaims:
            return False
        turns, frames = list(peer_reads), list[Frame]()
        while self.down:
            if turns and turns.pop() and self.alive:
                self.read()
                continue
            frames.append(self.down.popleft())
        hub.reclaimed(self.record, frames, self.world.now)
        self.world.event()
        return True

    def _check_lost(self) -> None:
        held = [item for item in self.world.items if item.holder is self]
        before = [item.failures for item in held]
        self.world.hub.lost(self.record)
        for item, failures in zip(held, before, strict=True):
            assert item.failures == failures + 1, (item, "died with its holder")
        assert not any(item.holder is self for item in self.world.items)
        self.world.event()
