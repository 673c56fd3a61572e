"""Who is connected to a hub, and what comes from each and goes to each.

Invariants:

* A peer is connected from its dial until its end-of-file, or until it breaks the
  protocol; what it has sent before that is read first.
* While descriptors are short nothing is lost: it stays in its lane, and is looked
  at again ``_RETRY`` seconds later.
* The lock is held.
"""

from __future__ import annotations

import logging
import time

from ..errors import ProtocolError
from ..machines.hub import Hub
from ..machines.lane import Stray
from ..machines.record import Loaded, PeerRecord
from ..wire.frames import Kind, decode_parcel
from ..wire.page import Page
from ..wire.payload import Descriptor, Parcel
from .connection import Connection, reserve
from .hub_rings import HubRings
from .log import logger
from .readiness import make_readiness
from .ring import RINGS
from .station import Settings
from .transport import (
    PAGE_BYTES,
    PORTABLE,
    Dialled,
    exhausted,
    make_lane,
    map_page,
    opening,
    receive_dial,
    shared_memory,
)
from .waiting import running_loop

__all__ = ["HubLanes", "new_hub"]

_MOST_FRAMES = 256
_RETRY = 0.05
_DIAL_DESCRIPTORS = 8


class HubLanes(HubRings):
    """The connections of a hub."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._page_file = Descriptor(shared_memory("hub", PAGE_BYTES))
        self.hub = new_hub(settings, map_page(self._page_file.fileno()))
        self._connections: dict[int, Connection] = {}
        self._by_record: dict[PeerRecord, Connection] = {}
        self._watched: dict[int, list[Stray]] = {}
        self._paused: list[Connection] = []
        self._retry_at: float | None = None
        self._readiness = make_readiness()
        self._reception, self._reception_sender = make_lane()
        self._reception_number = self._reception.fileno()
        self._readiness.watch(self._reception_number)
        self._reception_full = False

    # Taking in

    def _attend(self, ready: list[int]) -> None:
        for number in ready:
            connection = self._connections.get(number)
            if connection is not None:
                self._read(connection)
            elif number == self._reception_number:
                self._receive_dials()
            else:
                self._lane_has_room(number)

    def _tell_sink_later(self) -> None:
        raise NotImplementedError

    def _receive_dials(self) -> None:
        while True:
            try:
                with opening:
                    reserve(_DIAL_DESCRIPTORS)
                    self._connect(receive_dial(self._reception))
            except BlockingIOError:
                return
            except ProtocolError as failure:
                self._log(logging.WARNING, "%s: %s", self.settings.name, str(failure))
            except OSError as failure:
                self._pause_reception(failure)
                return

    def _connect(self, dialled: Dialled) -> None:
        record = self.hub.connect(dialled.pid, dialled.page)
        connection = Connection(dialled, record)
        self._connections[connection.fileno()] = connection
        self._by_record[record] = connection
        self._readiness.watch(connection.fileno())
        if connection.alive is not None:
            self._connections[connection.alive.fileno()] = connection
            self._readiness.watch(connection.alive.fileno())
        if RINGS and not PORTABLE and connection.ring.arm():
            self._rings[connection] = None

    def _pause_reception(self, failure: OSError) -> None:
        if not exhausted(failure):
            raise failure
        self._reception_full = True
        self._readiness.forget(self._reception.fileno())
        self._retry_at = time.monotonic() + _RETRY

    def _read(self, connection: Connection) -> None:
        record, ring, left = connection.record, connection.ring, _MOST_FRAMES
        try:
            while left > 0:
                puts, frame = connection.read(left, _MOST_FRAMES - left)
                if ring.heed():
                    puts = self._merge(connection, puts)
                if puts:
                    self.hub.put_from(record, puts)
                if frame is None:
                    return
                left -= len(puts) + 1
                if isinstance(frame, Loaded):
                    self._receive_parcel(record, frame)
                elif not frame:
                    return self._disconnect(connection)
                elif not connection.announced:
                    self.hub.receive(record, frame)
        except ProtocolError as failure:
            self._expel(connection, failure)
        except OSError as failure:
            if not exhausted(failure):
                raise
            self._pause(connection)

    def _expel(self, connection: Connection, failure: ProtocolError) -> None:
        self._log(
            logging.ERROR,
            "%s: process %s broke the protocol and is disconnected: %s",
            self.settings.name,
            connection.record.pid,
            str(failure),  # the exception itself would keep the page mapped
        )
        self._disconnect(connection)

    def _log(self, level: int, message: str, *args: object) -> None:
        # Without the lock, if there is a loop for it: a handler may use this queue.
        loop = self.home
        if loop is None:
            logger.log(level, message, *args)
        elif running_loop() is loop:
            loop.call_soon(logger.log, level, message, *args)
        else:
            loop.call_soon_threadsafe(logger.log, level, message, *args)

    def _receive_parcel(self, record: PeerRecord, frame: Loaded) -> None:
        if not frame.data or frame.data[-1] != Kind.PARCEL:
            raise ProtocolError("descriptors without a parcel")
        parcel = decode_parcel(frame.data)
        payload = Parcel(parcel.head, frame.descriptors, parcel.size)
        if not payload.complete:
            raise ProtocolError("a parcel without all of its descriptors")
        self.hub.receive_parcel(record, frame.data, payload)

    def _pause(self, connection: Connection) -> None:
        # No descriptor is free for what comes next: leave it in the lane.
        connection.paused = True
        self._paused.append(connection)
        self._readiness.forget(connection.fileno())
        self._retry_at = time.monotonic() + _RETRY

    def _retry(self) -> None:
        self._retry_at = None
        if self._reception_full:
            self._reception_full = False
            self._readiness.watch(self._reception.fileno())
            self._receive_dials()
        paused, self._paused = self._paused, []
        for connection in paused:
            connection.paused = False
            self._readiness.watch(connection.fileno())
            self._read(connection)
        if self.sink is not None and self.hub.store.waiting:
            self._tell_sink_later()

    # Sending

    def _lane_has_room(self, number: int) -> None:
        for connection in self._by_record.values():
            if connection.down.fileno() == number:
                self._send(connection)

    def _send(self, connection: Connection) -> bool:
        sent = connection.send()
        if not sent and connection.record.outbox:
            self._readiness.watch_writing(connection.down.fileno())
        return self.hub.sent(connection.record, stalled=not sent)

    # The end of a connection, and of all

    def _disconnect(self, connection: Connection) -> None:
        self._connections.pop(connection.fileno(), None)
        if connection.alive is not None:
            self._connections.pop(connection.alive.fileno(), None)
            self._readiness.forget(connection.alive.fileno())
        self._by_record.pop(connection.record, None)
        self._rings.pop(connection, None)
        for one in (connection.up, connection.down):
            self._readiness.forget(one.fileno())
        if connection in self._paused:
            self._paused.remove(connection)
        connection.close()
        held = self.hub.lost(connection.record)
        if connection.record.pid in self._watched:
            self._watched[connection.record.pid] += held

    def _close_lanes(self) -> bool:
        # Close all there is but the readiness; False: that was done before.
        if self._reception.fileno() < 0:
            return False
        for connection in set(self._by_record.values()):
            connection.close()
        self._connections.clear()
        self._by_record.clear()
        self._rings.clear()
        self._reception.close()
        self._reception_sender.close()
        return True


def new_hub(settings: Settings, page: Page) -> Hub:
    """The machine of a queue of these settings."""
    return Hub(
        maxsize=settings.maxsize,
        max_bytes=settings.max_bytes,
        joinable=settings.joinable,
        max_deliveries=settings.max_deliveries,
        page=page,
    )
