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

__version__ = "0.1.0"

__all__ = [
    "AioprocqError",
    "CannotTravel",
    "LoopMismatch",
    "OwnerLost",
    "ProtocolError",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
]
