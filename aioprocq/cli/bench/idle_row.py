"""An app and eight workers with nothing to do: how often one of them wakes up."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from typing import Any

import aioprocq
from aioprocq.cli.bench.kinds import OUR_NAME, OurQueue
from aioprocq.cli.bench.model import Contender, Mark, Metric, Row, Sample
from aioprocq.cli.bench.process_facts import lack, wake_ups
from aioprocq.cli.bench.sessions import BlockingSession
from aioprocq.cli.bench.staff import readable
from aioprocq.cli.loops import new_runner

__all__ = ["IDLE_ROW"]

OF_EACH = 4  # blocking workers, and async ones
REST = 0.1  # seconds without a wake-up: they have come to rest
PATIENCE = 5.0  # seconds for that; after it, they are measured as they are


def wait_blocking(jobs: Any, results: Any) -> None:
    """A worker that sleeps in a blocking call."""
    results.sync.put(os.getpid())
    for _ in jobs.sync:
        pass


async def wait_async(jobs: Any, results: Any) -> None:
    """A worker whose event loop sleeps."""
    await results.put(os.getpid())
    async for _ in jobs:
        pass


def app(connection: Connection, loop: str) -> None:
    """The app: says who is there, and waits until it is told to end."""
    with new_runner(loop) as runner:
        runner.run(run_app(connection))


async def run_app(connection: Connection) -> None:
    """The same, on its loop."""
    jobs: OurQueue = aioprocq.Queue()
    results: OurQueue = aioprocq.Queue()
    async with jobs, results, aioprocq.Supervisor() as supervisor:
        for target in (wait_blocking, wait_async):
            await supervisor.start(target, jobs, results, count=OF_EACH)
        pids = [await results.get() for _ in range(2 * OF_EACH)]
        connection.send([os.getpid(), *pids])
        await readable(connection.fileno())
        jobs.shutdown()


class Resting(BlockingSession):
    """A session that looks at the app from outside; its items are milliseconds."""

    def _open(self) -> None:
        self._staff.hire(app, self._setting.loop)
        (self._pids,) = self._staff.spans()
        deadline = time.monotonic() + PATIENCE
        while self._look(REST) and time.monotonic() < deadline:
            pass

    def _round(self, count: int) -> Sample:
        return {"wake-ups": self._look(count / 1000)}

    def _look(self, seconds: float) -> int:
        before = sum(map(wake_ups, self._pids))
        time.sleep(seconds)
        return sum(map(wake_ups, self._pids)) - before


IDLE_ROW = Row(
    "idle",
    "wake-ups of an idle app with 8 workers in 10 s (quick: 0.5 s)",
    (Metric("wake-ups", "", higher_is_better=False),),
    (Contender(OUR_NAME, Resting, 500, 10_000, lack=lack),),
    (Mark(None, "wake-ups", 0.0),),
)
