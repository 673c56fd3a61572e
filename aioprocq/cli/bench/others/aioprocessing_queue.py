"""aioprocessing: multiprocessing's queues, awaited in threads."""

from __future__ import annotations

import importlib
import multiprocessing
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["AIOPROCESSING"]


class AioprocessingQueue(Adapter):
    """`AioQueue` or `AioJoinableQueue`."""

    def __init__(self, queue: Any) -> None:  # Any: it has no types
        self._queue = queue

    def blocking(self) -> Any:
        """The queue itself: it has multiprocessing's calls as well."""
        return self._queue

    def coroutines(self) -> Coroutines:
        """Its coroutines, by the names that all others have."""
        return Coroutines(self._queue)

    def close(self) -> None:
        """Close it, and do not wait for its thread."""
        self._queue.cancel_join_thread()
        self._queue.close()


class Coroutines:
    """The coroutines of a queue."""

    def __init__(self, queue: Any) -> None:
        self.put = queue.coro_put
        self.get = queue.coro_get
        self.join = getattr(queue, "coro_join", None)


def make(flow: Flow) -> AioprocessingQueue:
    """A queue for workers that are started with spawn."""
    aioprocessing = importlib.import_module("aioprocessing")
    name = "AioJoinableQueue" if flow.joinable else "AioQueue"
    context = multiprocessing.get_context("spawn")
    return AioprocessingQueue(
        getattr(aioprocessing, name)(flow.maxsize, context=context)
    )


AIOPROCESSING = Kind("aioprocessing", make, coroutines=True, needs=("aioprocessing",))
