"""Queues between processes for people who write asyncio services."""

import sys

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
)
from aioprocq.machines.statistics import QueueStatistics
from aioprocq.queues.delivery import DeadLetter, Delivery
from aioprocq.queues.joinable import JoinableQueue
from aioprocq.queues.queue import Queue
from aioprocq.queues.sync import SyncQueue

__version__ = "0.1.0"

__all__ = [
    "AioprocqError",
    "CannotTravel",
    "DeadLetter",
    "Delivery",
    "JoinableQueue",
    "LoopMismatch",
    "OwnerLost",
    "ProtocolError",
    "Queue",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "QueueStatistics",
    "SyncQueue",
]
