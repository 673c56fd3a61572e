"""An owner that does nothing, for a peer to talk to."""

from __future__ import annotations

from typing import Any

from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.transport import (
    PAGE_BYTES,
    make_lane,
    map_page,
    receive_dial,
    shared_memory,
)
from aioprocq.wire.payload import Descriptor

from .stations import make_settings


class Stub:
    """An owner without a hub: what the peer sends stays where the test sees it."""

    def __init__(self, **changes: Any) -> None:
        self.reception, sender = make_lane()
        page = Descriptor(shared_memory("hub", PAGE_BYTES))
        self.page = map_page(page.fileno())
        settings = make_settings(name="jobs", owner=4711, **changes)
        self.peer = PeerStation(settings, Descriptor(sender.detach()), page)
        self.ends: list[Any] = [self.reception]

    def answer(self) -> Any:
        dialled = receive_dial(self.reception)
        self.ends += [dialled.up, dialled.down, dialled.back]
        return dialled

    def close(self) -> None:
        for end in self.ends:
            end.close()
        if hasattr(self, "peer"):
            self.peer.dispose()
        vars(self).clear()
