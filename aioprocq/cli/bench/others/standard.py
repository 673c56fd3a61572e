"""The queues of multiprocessing."""

from __future__ import annotations

import multiprocessing
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["SIMPLE", "STANDARD"]


class StandardQueue(Adapter):
    """`multiprocessing.Queue`, `JoinableQueue` or `SimpleQueue`."""

    def __init__(self, queue: Any) -> None:  # Any: they have no base class
        self._queue = queue

    def blocking(self) -> Any:
        """The queue itself."""
        return self._queue

    def close(self) -> None:
        """Close it, and do not wait for its thread."""
        if hasattr(self._queue, "cancel_join_thread"):
            self._queue.cancel_join_thread()
        self._queue.close()


def make_queue(flow: Flow) -> StandardQueue:
    """A `Queue`, or a `JoinableQueue`."""
    context = multiprocessing.get_context("spawn")
    kind = context.JoinableQueue if flow.joinable else context.Queue
    return StandardQueue(kind(flow.maxsize))


def make_simple_queue(flow: Flow) -> StandardQueue:
    """A `SimpleQueue`: no thread, no bound, nothing to settle."""
    return StandardQueue(multiprocessing.get_context("spawn").SimpleQueue())


STANDARD = Kind("multiprocessing", make_queue)
SIMPLE = Kind("SimpleQueue", make_simple_queue)
