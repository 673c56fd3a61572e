"""How late the app's event loop is while its workers never rest.

Workers compute for 10 ms a job, and send a result for each; the app puts jobs and
gets results, with a timer beside it. Where the workers have all cores, much of the
lateness is the scheduler's: the contender without queues has the same workers. So our
row is measured with what this library offers against that, ``nice``; and without.
"""

from __future__ import annotations

import asyncio
import os
import time
from multiprocessing.connection import Connection
from typing import Any

import aioprocq
from aioprocq.cli.bench.kinds import OUR_NAME, OurQueue
from aioprocq.cli.bench.model import Contender, Mark, Metric, Row, Sample
from aioprocq.cli.bench.sessions import LoopSession
from aioprocq.cli.bench.staff import Span, orders
from aioprocq.cli.lag import LagMonitor

__all__ = ["LAG_ROW"]

WORKERS = 2
JOB = 0.01  # seconds
NICE = 5  # as docs/how-to/responsive-app.md recommends
AHEAD = 20  # jobs that may wait: there is always one
INTERVAL = 0.005  # of the timer; whole milliseconds are what epoll can wait for


def compute(seconds: float) -> None:
    """Keep a core busy."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def answer(connection: Connection, nice: int, jobs: Any, results: Any) -> None:
    """A worker: a result for each job."""
    os.nice(nice)
    for _ in orders(connection):
        start = time.monotonic()
        while (seconds := jobs.sync.get()) is not None:
            compute(seconds)
            results.sync.put(seconds)
        connection.send(Span(start, time.monotonic()))


def compute_alone(connection: Connection) -> None:
    """A worker without queues, that does its share of the jobs."""
    for count in orders(connection):
        start = time.monotonic()
        for _ in range(count // WORKERS):
            compute(JOB)
        connection.send(Span(start, time.monotonic()))


def percentile(values: list[float]) -> Sample:
    """The one that is looked at, in milliseconds."""
    ordered = sorted(values)
    return {"p99": ordered[round((len(ordered) - 1) * 0.99)] * 1e3}


class BusyApp(LoopSession):
    """A session with two of this library's queues, and workers that give way."""

    nice = NICE

    async def _open(self) -> None:
        self._jobs: OurQueue = aioprocq.Queue(AHEAD)
        self._results: OurQueue = aioprocq.Queue()
        for _ in range(WORKERS):
            self._staff.hire(answer, self.nice, self._jobs, self._results)

    async def _round(self, count: int) -> Sample:
        record: list[float] = []
        self._staff.order(count)
        with LagMonitor(INTERVAL, record):
            await asyncio.gather(self._put(count), self._get(count))
        for _ in range(WORKERS):
            await self._jobs.put(None)
        await self._staff.spans_async()
        return percentile(record)

    async def _put(self, count: int) -> None:
        for _ in range(count):
            await self._jobs.put(JOB)

    async def _get(self, count: int) -> None:
        for _ in range(count):
            await self._results.get()

    async def _release(self) -> None:
        await self._jobs.aclose()
        await self._results.aclose()


class RudeApp(BusyApp):
    """The same with workers as important as the app."""

    nice = 0


class IdleApp(LoopSession):
    """A session with the same workers and no queue."""

    warm_up = WORKERS

    async def _open(self) -> None:
        for _ in range(WORKERS):
            self._staff.hire(compute_alone)

    async def _round(self, count: int) -> Sample:
        record: list[float] = []
        self._staff.order(count)
        with LagMonitor(INTERVAL, record):
            await self._staff.spans_async()
        return percentile(record)


LAG_ROW = Row(
    "loop-lag",
    "loop lag of the app, p99, while 2 workers (nice=5) have 10 ms jobs",
    (Metric("p99", "ms", higher_is_better=False),),
    (
        Contender(OUR_NAME, BusyApp, 60, 600),
        Contender("nice=0", RudeApp, 60, 600),
        Contender("without queues, nice=0", IdleApp, 60, 600),
    ),
    (Mark(None, "p99", 2.0),),
)
