"""An owner that is none: it answers a dial, and then sends what it likes."""

from __future__ import annotations

import os
from typing import Any

import aioprocq
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.station import Settings
from aioprocq.drivers.transport import (
    DONTWAIT,
    PAGE_BYTES,
    Dialled,
    make_lane,
    receive_dial,
    shared_memory,
)
from aioprocq.queues.handle import Handle
from aioprocq.wire.payload import Descriptor


class FalseOwner:
    """Has a queue for a peer, and the hub's ends of the connection it dials."""

    def __init__(self) -> None:
        self.reception, sender = make_lane()
        settings = Settings(
            name="a false one",
            maxsize=0,
            max_bytes=None,
            joinable=True,
            max_deliveries=3,
            uid=os.urandom(16),
            owner=os.getppid(),
        )
        page = shared_memory("hub", PAGE_BYTES)
        ends = (Descriptor(sender.detach()), Descriptor(page))
        self.queue: Any = aioprocq.JoinableQueue.__new__(aioprocq.JoinableQueue)
        self.queue._adopt(Handle(PeerStation(settings, *ends)))
        self.dialled: Dialled | None = None

    def has_been_dialled(self) -> bool:
        try:
            self.dialled = receive_dial(self.reception)
        except BlockingIOError:
            return False
        return True

    def asked_for_something(self) -> bool:
        """Whether the peer has sent a frame: someone waits there."""
        assert self.dialled is not None
        try:
            return bool(self.dialled.up.recv(1, DONTWAIT))
        except BlockingIOError:
            return False

    def send(self, frame: bytes) -> None:
        assert self.dialled is not None
        self.dialled.down.send(frame)

    def close(self) -> None:
        self.queue.close()
        self.queue = None
        self.reception.close()
        if self.dialled is not None:
            up, down, back, alive = self.dialled[1:4] + self.dialled[5:6]
            for end in (up, down, back, alive):
                if end is not None:
                    end.close()
        self.dialled = None
