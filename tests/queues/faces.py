"""Queues, and the same queues as another process of their owner has them."""

from __future__ import annotations

import os
import pickle
from pickle import PickleBuffer
from typing import Any

from aioprocq import Queue
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.queues import handle as module
from aioprocq.queues.handle import Handle
from aioprocq.wire.frames import encode_items
from aioprocq.wire.page import ALERT
from aioprocq.wire.payload import Descriptor
from tests.drivers.stations import as_peer


class Faces:
    """Makes queues, and closes them."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def keep(self, queue: Any) -> Any:
        self.made.insert(0, queue)
        return queue

    def peer(self, queue: Any) -> Any:
        """A handle as a child would have it, in this process."""
        station = queue._handle.station
        ends = [Descriptor(os.dup(number)) for number in station.handle()]
        kind: Any = type(queue)
        other = kind.__new__(kind)
        other._adopt(Handle(PeerStation(as_peer(station.settings), *ends)))
        module._handles[station.settings.uid] = queue._handle
        return self.keep(other)

    def pair(self, kind: Any, *args: Any, **named: Any) -> tuple[Any, Any]:
        queue = self.keep(kind(*args, **named))
        return queue, self.peer(queue)

    def close(self) -> None:
        while self.made:
            self.made.pop(0)._handle.dispose()


def station(faces: Faces, kind: Any = Queue, **named: Any) -> Any:
    """The station of a new queue."""
    return faces.keep(kind(**named))._handle.station


def batch_at(peer: Any, *given: object) -> list[object]:
    """Some items, three unless told, come in one batch, and are opened."""
    machine = peer._handle.station._user()
    machine.page[ALERT] = 0
    items = list(given) or [1, 2, 3]
    machine.receive(encode_items(0, 0, [pickle.dumps(item, 5) for item in items]), 0.0)
    batch = machine.next_sealed()
    machine.opened(batch, 0, items)
    return items


class Array:
    """Pickles as NumPy's arrays do: with a buffer that may stay out of the pickle."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (PickleBuffer(self.content),)


class Broken:
    """Pickles, and does not unpickle."""

    def __reduce__(self) -> Any:
        return fail, ()


def fail() -> None:
    raise ValueError("broken on purpose")
