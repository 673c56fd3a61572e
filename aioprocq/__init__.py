"""Queues between processes for people who write asyncio services."""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "aioprocq does not run on Windows: it hands descriptors over Unix sockets. "
        "Run it on Linux or another POSIX system, for instance under WSL."
    )

from aioprocq.errors import (
    AioprocqError,
    CannotTravel,
    LoopMismatch,
    OwnerLost,
    ProtocolError,
    QueueClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
    RemoteError,
    WorkerCrashed,
    WorkerError,
    WorkersExhausted,
    WorkerStartError,
)
from aioprocq.machines.statistics import QueueStatistics
from aioprocq.queues.delivery import DeadLetter, Delivery
from aioprocq.queues.joinable import JoinableQueue
from aioprocq.queues.queue import Queue
from aioprocq.queues.sync import SyncQueue

if TYPE_CHECKING:
    from aioprocq.machines.restart import Backoff, ExitReason
    from aioprocq.pool.current import CurrentJob, current_job
    from aioprocq.pool.map import MapResults
    from aioprocq.pool.pool import WorkerPool
    from aioprocq.pool.statistics import PoolStatistics
    from aioprocq.supervisor.current import CurrentWorker, current_worker
    from aioprocq.supervisor.events import EventStream, HeldItem, WorkerEvent
    from aioprocq.supervisor.group import WorkerGroup
    from aioprocq.supervisor.statistics import GroupStatistics, WorkerStatistics
    from aioprocq.supervisor.supervisor import Supervisor

__version__ = "0.1.0"

__all__ = [
    "AioprocqError",
    "Backoff",
    "CannotTravel",
    "CurrentJob",
    "CurrentWorker",
    "DeadLetter",
    "Delivery",
    "EventStream",
    "ExitReason",
    "GroupStatistics",
    "HeldItem",
    "JoinableQueue",
    "LoopMismatch",
    "MapResults",
    "OwnerLost",
    "PoolStatistics",
    "ProtocolError",
    "Queue",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "QueueStatistics",
    "RemoteError",
    "Supervisor",
    "SyncQueue",
    "WorkerCrashed",
    "WorkerError",
    "WorkerEvent",
    "WorkerGroup",
    "WorkerPool",
    "WorkerStartError",
    "WorkerStatistics",
    "WorkersExhausted",
    "current_job",
    "current_worker",
]

# Who only uses queues, a worker for instance, does not wait for the rest.
_LATER = {
    "Backoff": "machines.restart",
    "CurrentJob": "pool.current",
    "CurrentWorker": "supervisor.current",
    "EventStream": "supervisor.events",
    "ExitReason": "machines.restart",
    "GroupStatistics": "supervisor.statistics",
    "HeldItem": "supervisor.events",
    "MapResults": "pool.map",
    "PoolStatistics": "pool.statistics",
    "Supervisor": "supervisor.supervisor",
    "WorkerEvent": "supervisor.events",
    "WorkerGroup": "supervisor.group",
    "WorkerPool": "pool.pool",
    "WorkerStatistics": "supervisor.statistics",
    "current_job": "pool.current",
    "current_worker": "supervisor.current",
}


def __getattr__(name: str) -> Any:
    place = _LATER.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
