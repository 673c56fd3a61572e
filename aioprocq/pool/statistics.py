"""The figures of a pool."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Latencies", "PoolStatistics"]

_KEPT = 4096


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The figures of a WorkerPool.

    Attributes:
        queued: jobs that have been submitted and do not run yet.
        running: jobs that run now; a chunk of ``map`` is one.
        done: jobs that have returned.
        failed: jobs that have raised, or whose result could not be sent.
        crashed: jobs that failed with WorkerCrashed.
        retried: times that a job was repeated because its worker had died.
        cancelled: jobs that were cancelled, or took too long, or for which there was no
            worker.
        restarts: times that a worker was replaced after it had died.
        workers: workers that are ready.
        latency: seconds from submission to answer, of the last 4096 jobs: the median,
            the 90th and the 99th percentile; None before the first.
    """

    queued: int
    running: int
    done: int
    failed: int
    crashed: int
    retried: int
    cancelled: int
    restarts: int
    workers: int
    latency: tuple[float, float, float] | None


class Latencies:
    """How long the last jobs took."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_KEPT)
        self.add = self._last.append

    def percentiles(self) -> tuple[float, float, float] | None:
        """The median, the 90th and the 99th percentile."""
        ordered = sorted(self._last)
        if not ordered:
            return None
        last = len(ordered) - 1
        median, most, nearly_all = (ordered[int(last * p)] for p in (0.5, 0.9, 0.99))
        return median, most, nearly_all
