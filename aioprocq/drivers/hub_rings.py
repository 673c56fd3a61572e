"""How a hub looks after the rings of its peers.

Invariants:

* From a ring in ``_rings`` items may come without the bell: as long as there is one,
  another look is due. What comes from any other ring rings.
* The lock is held, but in what the loop calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import ProtocolError
from ..machines.hub import Hub
from .connection import Connection
from .station import Settings, Station
from .waiting import running_loop

__all__ = ["HubRings"]

_STREAM = 16
"""Looks in a row that found something in a ring, after which there is a stream."""

_LINGER = 0.001
"""Seconds until the next look at streams, the shortest time that loops can wait."""


class HubRings(Station):
    """What a hub does with rings."""

    hub: Hub

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.loop: asyncio.AbstractEventLoop | None = None
        #: Called on the loop, without the lock, when items have come that it may take.
        self.sink: Callable[[], object] | None = None
        self._disposed = False
        self._rings: dict[Connection, None] = {}  # from which more may come unrung
        self._rings_due = self._streaming = False
        self._fetches = 0  # since the loop's last turn

    def _carry_out(self) -> None:
        raise NotImplementedError

    def _expel(self, connection: Connection, failure: ProtocolError) -> None:
        raise NotImplementedError

    def _on_rings(self) -> None:
        # A peer in a burst need not ring while this comes back in every turn.
        with self.lock:
            self._rings_due = False
            self._fetches = 0
            if self._disposed:
                return
            for connection in list(self._rings):
                if self._empty_ring(connection):
                    connection.looks += 1
                elif not connection.ring.arm():
                    self._rings.pop(connection, None)
                    connection.looks = 0
                    connection.ring.linger(False)
            self._streaming = (
                bool(self._rings)
                and not self.hub.room.bounded
                and self.sink is None
                and all(connection.looks > _STREAM for connection in self._rings)
            )
            for connection in self._rings:
                connection.ring.linger(self._streaming)
            self._carry_out()
            self._look_again()
        if self.sink is not None and self.hub.store.waiting:
            self.sink()

    def _look_again(self) -> None:
        loop = self.loop
        if not self._rings or self._rings_due:
            return
        if loop is None or loop.is_closed():
            for connection in list(self._rings):
                while connection.ring.arm() and self._empty_ring(connection):
                    pass
            self._rings.clear()
            return
        self._rings_due = True
        if running_loop() is loop and self._streaming:
            # A loop that took a few items in each of its turns would have no time
            # for anything else. These peers ring when they have put a batch, and
            # before they wait.
            loop.call_later(_LINGER, self._on_rings)
        elif running_loop() is loop:
            loop.call_soon(self._on_rings)
        else:
            loop.call_soon_threadsafe(self._on_rings)

    def _empty_ring(self, connection: Connection) -> bool:
        try:
            return self._take_ring(connection)
        except ProtocolError as failure:
            self._expel(connection, failure)
            return False

    def _take_ring(self, connection: Connection) -> bool:
        payloads = connection.ring.take(connection.record.received)
        if payloads:
            self.hub.put_from(connection.record, payloads)
        return bool(payloads)

    def _merge(self, connection: Connection, puts: list[bytes]) -> list[bytes]:
        # What was written into the ring before something was sent is there by now.
        self._rings[connection] = None
        connection.ring.linger(self._streaming)  # if others are a stream
        for at, put in enumerate(puts):
            self._take_ring(connection)
            if not connection.ring.waits:
                return puts[at:]
            self.hub.put_from(connection.record, [put])
        self._take_ring(connection)
        return []
