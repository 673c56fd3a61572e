"""The figures of groups and of their workers."""

from __future__ import annotations

from dataclasses import dataclass

from .worker import Worker

__all__ = ["GroupStatistics", "WorkerStatistics", "figures"]


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """The figures of one worker.

    Attributes:
        attempt: how many processes have been started in its place.
        restarts: how many of them because the one before had failed.
        age: seconds for which this process has been ready.
        items: items that this process was handed by queues of the app.
        rss: bytes of memory that it has resident; None where nothing tells.
    """

    name: str
    pid: int | None
    state: str
    attempt: int
    restarts: int
    age: float
    items: int
    rss: int | None


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """The figures of a group.

    Attributes:
        count: how many workers there are to be.
        exits: how many processes have ended, by reason.
    """

    name: str
    count: int
    ready: int
    restarts: int
    exits: dict[str, int]
    workers: tuple[WorkerStatistics, ...]


def figures(worker: Worker) -> WorkerStatistics:
    """The figures of a worker."""
    return WorkerStatistics(
        name=worker.name,
        pid=worker.pid,
        state=worker.slot.state.value,
        attempt=worker.slot.attempt,
        restarts=worker.slot.restarts,
        age=worker.age,
        items=sum(traffic.handed for traffic in worker.traffic()),
        rss=worker.resident,
    )
