"""faster-fifo: a ring in shared memory, in C++."""

from __future__ import annotations

import importlib
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["FASTER_FIFO"]

RING = 1_000_000  # bytes: its own default
ARRAYS = 4  # that fit into the ring


class FasterFifo(Adapter):
    """`faster_fifo.Queue`."""

    def __init__(self, queue: Any) -> None:  # Any: it has no types
        self._queue = queue

    def blocking(self) -> Face:
        """Its calls, with those for many items as all others have them."""
        return Face(self._queue)

    def close(self) -> None:
        """Close it."""
        self._queue.close()


class Face:
    """The blocking calls of a queue."""

    def __init__(self, queue: Any) -> None:
        self.put = queue.put
        self.get = queue.get
        self.put_many = queue.put_many
        self._get_many = queue.get_many

    def get_many(self, size: int) -> list[Any]:
        """At least one item, at most `size`."""
        items: list[Any] = self._get_many(max_messages_to_get=size)
        return items


def make(flow: Flow) -> FasterFifo:
    """A ring that is as long as the library makes it, or as arrays need it."""
    # Without this module the queue does not pickle.
    importlib.import_module("faster_fifo_reduction")
    size = RING + ARRAYS * flow.array_size
    bound = {"maxsize": flow.maxsize} if flow.maxsize else {}
    queue = importlib.import_module("faster_fifo").Queue(max_size_bytes=size, **bound)
    return FasterFifo(queue)


FASTER_FIFO = Kind("faster-fifo", make, batches=True, needs=("faster_fifo",))
