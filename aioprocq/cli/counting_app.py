"""The demo's app: what a service would do, with files to count as its jobs.

- Every file is counted exactly once in the outcome, however often it was handed
  out: results are kept by path.
- A kill happens only while at least one job has not been put yet.
- Nothing blocks the event loop: jobs, results, kills and exits are all awaited.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from random import Random

import aioprocq
from aioprocq.cli.counting_worker import Counted, Message, Ready, count_sources
from aioprocq.cli.crew import Crew, CrewError
from aioprocq.cli.kills import kill_points
from aioprocq.cli.lag import LagMonitor
from aioprocq.cli.progress import Progress
from aioprocq.cli.source_count import FileCount

__all__ = ["CountingApp", "Outcome", "Plan"]

JOBS_AHEAD = 16  # for each worker: what it has to do while the app does other things
RESULTS_AT_ONCE = 256
KILL_DELAY = 0.02  # seconds; longer than most files take, so that kills hit anywhere
SPARE_DELIVERIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """Count `files` of `folder` with `workers`, of which `kills` are killed."""

    folder: str
    files: Sequence[str]
    workers: int
    kills: int = 0
    seed: int | None = None

    @property
    def max_deliveries(self) -> int:
        """So many that the kills alone can never use them up for one job."""
        return self.kills + SPARE_DELIVERIES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out. `seconds` includes the start of the workers."""

    counts: dict[str, FileCount]
    given_up: tuple[str, ...]
    workers: int
    killed: int
    crashed: int
    redelivered: int
    seconds: float
    max_loop_lag: float


class CountingApp:
    """One run over the files of a plan, on the running event loop."""

    def __init__(self, plan: Plan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._chance = Random(plan.seed)
        self._jobs = aioprocq.JoinableQueue[str](
            maxsize=JOBS_AHEAD * plan.workers,
            name="jobs",
            max_deliveries=plan.max_deliveries,
        )
        self._results = aioprocq.Queue[Message](name="results")
        # A file that kills its worker does so until its job is a dead letter.
        self._crew = Crew(self._new_worker, patience=plan.max_deliveries)
        self._counts: dict[str, FileCount] = {}
        self._missing = set(plan.files)
        self._all_in = asyncio.Event()

    @classmethod
    async def run(cls, plan: Plan, progress: Progress) -> Outcome:
        """Count all files of the plan.

        Cancellation: the workers are killed and reaped; nothing is left behind.

        Raises:
            CrewError: workers kept dying before they had done anything.
            OSError: no worker could be started.
        """
        app = cls(plan, progress)
        started = time.monotonic()
        try:
            app._crew.start(plan.workers)
            with LagMonitor() as lag:
                await app._work_unless_failed()
            return await app._finish(started, lag.worst)
        finally:
            await app._crew.stop()
            app._jobs.close()
            app._results.close()

    async def _work_unless_failed(self) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                collecting = group.create_task(self._collect())
                watching = group.create_task(self._crew.failed())
                await self._feed()
                await self._wait_for_all()
                collecting.cancel()
                watching.cancel()
        except* CrewError as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure

    async def _feed(self) -> None:
        """Put every job; between two of them, now and then, kill a worker."""
        points = kill_points(len(self._plan.files), self._plan.kills, self._chance)
        for number, path in enumerate(self._plan.files):
            while points and points[0] == number:
                points.pop(0)
                await self._crew.kill_one(self._chance, KILL_DELAY)
            await self._jobs.put(path)

    async def _wait_for_all(self) -> None:
        await self._jobs.join()
        self._missing.difference_update(await self._given_up())
        self._note_missing()
        # A job is settled after its result was put, so the last are on their way.
        await self._all_in.wait()

    async def _collect(self) -> None:
        while True:
            for message in await self._results.get_many(RESULTS_AT_ONCE):
                self._take(message)
            self._progress.update(len(self._counts), self._remark())
            self._note_missing()

    def _take(self, message: Message) -> None:
        match message:
            case Ready(pid):
                self._crew.ready(pid)
            case Counted(count=count):
                self._crew.progress()
                self._counts[count.path] = count
                self._missing.discard(count.path)

    async def _finish(self, started: float, lag: float) -> Outcome:
        """Let the workers end by themselves, and put the figures together."""
        seconds = time.monotonic() - started
        self._crew.release()
        self._jobs.shutdown()
        await self._crew.wait_empty()
        return Outcome(
            counts=self._counts,
            given_up=tuple(sorted(await self._given_up())),
            workers=self._plan.workers,
            killed=self._crew.killed,
            crashed=self._crew.crashed,
            redelivered=self._jobs.statistics().redelivered or 0,
            seconds=seconds,
            max_loop_lag=lag,
        )

    async def _given_up(self) -> list[str]:
        return [letter.item for letter in await self._jobs.dead_letters()]

    def _note_missing(self) -> None:
        if not self._missing:
            self._all_in.set()

    def _remark(self) -> str:
        return f"workers killed: {self._crew.killed}" if self._crew.killed else ""

    def _new_worker(self) -> BaseProcess:
        # Spawned: a fork would take the running loop along.
        return multiprocessing.get_context("spawn").Process(
            target=count_sources,
            args=(self._jobs, self._results, self._plan.folder),
            daemon=True,
        )
