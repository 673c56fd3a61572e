"""What a peer reads from its lane, and what that means to its machine.

Invariants:

* Frames are read by one at a time: by the leader without the lock, or by
  anybody else with the lock held while there is no leader.
* What is read is understood before anything else is read.
* Items that nobody waits for stay where the hub can take them back.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from ..errors import ProtocolError
from ..machines.peer import Peer
from ..machines.record import DeadRecord
from ..wire import frames as wire
from ..wire.frames import MAX_FRAME, Kind
from ..wire.payload import Descriptor, Parcel, Payload
from .station import Settings, Station
from .transport import DONTWAIT, Lanes, receive_loaded

__all__ = ["PeerReading"]

_APART = frozenset((Kind.ANNOUNCE, Kind.PARCEL, Kind.DEAD))
"""What more than the machine is needed for: descriptors, or what they are."""


class PeerReading(Station):
    """The reading half of a peer's connection."""

    _receive: Callable[[int, int], bytes]

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._lanes: Lanes | None = None
        self._announced = 0
        self._breach = ""

    def _lose(self) -> None:
        raise NotImplementedError

    def _flush(self) -> bool:
        raise NotImplementedError

    # The lock is held, and there is no leader

    def _take_in(self) -> None:
        if self._leader is not None:
            return
        machine = self.machine
        if machine is None:
            return
        try:
            # Items that nobody waits for stay where the hub can take them back.
            while not machine.available() or machine.putters or machine.answers:
                self._understand(*self._read(DONTWAIT))
        except BlockingIOError:
            return

    def _read(self, flags: int) -> tuple[bytes, list[Descriptor] | None]:
        # Also without the lock, by the leader.
        if not self._announced:
            try:
                return self._receive(MAX_FRAME, flags), None
            except ConnectionResetError:
                return b"", None
        lanes = self._lanes
        if lanes is None:
            return b"", None
        data, descriptors = receive_loaded(lanes.down, self._announced, flags)
        self._announced = 0
        return data, descriptors

    def _understand(self, data: bytes, descriptors: list[Descriptor] | None) -> None:
        machine = self.machine
        if not data or machine is None:
            self._lose()
            raise BlockingIOError
        try:
            self._heed(machine, data, descriptors)
        except ProtocolError as failure:
            self._breach = str(failure)
            self._lose()
            if self._lanes is not None:
                self._lanes.up.shutdown(socket.SHUT_WR)  # the hub sees us go
            raise BlockingIOError from None

    def _heed(
        self, machine: Peer, data: bytes, descriptors: list[Descriptor] | None
    ) -> None:
        now = time.monotonic()
        kind = data[-1]
        if kind not in _APART:
            machine.receive(data, now)
        elif kind == Kind.ANNOUNCE:
            self._announced = wire.decode_flag(data)
        elif kind == Kind.PARCEL:
            self._receive_parcel(machine, data, descriptors, now)
        else:
            ident, attempts, reason, head = wire.decode_dead(data)
            payload: Payload = head
            if descriptors:
                payload = Parcel(head, tuple(descriptors), 0)
            machine.receive_dead(ident, DeadRecord(payload, attempts, reason))

    def _receive_parcel(
        self,
        machine: Peer,
        data: bytes,
        descriptors: list[Descriptor] | None,
        now: float,
    ) -> None:
        frame = wire.decode_parcel(data)
        payload = Parcel(frame.head, tuple(descriptors or ()), frame.size)
        if payload.complete:
            machine.receive_parcel(frame, payload, now)
        elif descriptors is None:
            # The hub took its announcement back while we read this.
            machine.bounce(frame.place, None)
        else:
            machine.bounce(frame.place, _out_of_descriptors())

    def _settle_down(self) -> None:
        self._flush()
        self._wake_machine()

    def _wake_machine(self) -> None:
        if self.machine is not None and self.machine.woken:
            self._wake(self.machine.woken)


def _out_of_descriptors() -> OSError:
    return OSError(
        errno.EMFILE,
        "no file descriptor is free for a large item; it stays in the queue: "
        "close some, or raise the limit (ulimit -n), and get again",
    )
