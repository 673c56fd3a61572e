"""janus and culsans: queues between a loop and a thread, with no process at all.

They are there for scale: this is what it costs to cross from one thread to another.
"""

from __future__ import annotations

import importlib
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["CULSANS", "JANUS"]


class ThreadQueue(Adapter):
    """A queue with a face for coroutines and another for threads."""

    def __init__(self, queue: Any) -> None:  # Any: one of two
        self._queue = queue

    def blocking(self) -> Any:
        """What a thread uses."""
        return self._queue.sync_q

    def coroutines(self) -> Any:
        """What coroutines use."""
        return self._queue.async_q

    def close(self) -> None:
        """Close it."""
        self._queue.close()


def make_janus(flow: Flow) -> ThreadQueue:
    """A `janus.Queue`."""
    return ThreadQueue(importlib.import_module("janus").Queue(flow.maxsize))


def make_culsans(flow: Flow) -> ThreadQueue:
    """A `culsans.Queue`."""
    return ThreadQueue(importlib.import_module("culsans").Queue(flow.maxsize))


JANUS = Kind("janus, a thread", make_janus, True, threads=True, needs=("janus",))
CULSANS = Kind(
    "culsans, a thread", make_culsans, True, threads=True, needs=("culsans",)
)
