"""The demo's app: what a service would do, with files to count as its jobs.

- Every file is counted exactly once in the outcome, however often it was handed
  out: results are kept by path.
- A kill happens only while at least one job has not been put yet.
- Nothing blocks the event loop: jobs, results, kills and exits are all awaited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import aioprocq
from aioprocq.cli.counting_worker import Counted, count_sources
from aioprocq.cli.kills import Killer, kill_points
from aioprocq.cli.lag import LagMonitor
from aioprocq.cli.progress import Progress
from aioprocq.cli.source_count import FileCount

__all__ = ["CountingApp", "Outcome", "Plan"]

JOBS_AHEAD = 16  # for each worker: what it has to do while the app does other things
RESULTS_AT_ONCE = 256
KILL_DELAY = 0.02  # seconds; longer than most files take, so that kills hit anywhere
SPARE_DELIVERIES = 3
SPARE_RESTARTS = 10
AN_HOUR = 3600.0


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
        self._results = aioprocq.Queue[Counted](name="results")
        self._counts: dict[str, FileCount] = {}
        self._missing = set(plan.files)
        self._all_in = asyncio.Event()

    @classmethod
    async def run(cls, plan: Plan, progress: Progress) -> Outcome:
        """Count all files of the plan.

        Cancellation: the workers are stopped and reaped; nothing is left behind.

        Raises:
            WorkerError: workers kept dying, or could not be started.
        """
        app = cls(plan, progress)
        failure: aioprocq.WorkerError | None = None
        try:
            return await app._run()
        except* aioprocq.WorkersExhausted as failures:
            failure = _first(failures)
        finally:
            app._jobs.close()
            app._results.close()
        raise failure

    async def _run(self) -> Outcome:
        started = time.monotonic()
        async with aioprocq.Supervisor() as supervisor:
            killer = Killer(supervisor.events(), self._chance)
            workers = await self._start_workers(supervisor)
            with LagMonitor() as lag:
                await self._work(workers, killer)
            seconds = time.monotonic() - started
            self._jobs.shutdown()
            await workers.wait()
        await killer.count_exits()
        return await self._outcome(killer, seconds, lag.worst)

    async def _start_workers(
        self, supervisor: aioprocq.Supervisor
    ) -> aioprocq.WorkerGroup:
        # A file that kills its worker does so until its job is a dead letter.
        return await supervisor.start(
            count_sources,
            self._jobs,
            self._results,
            self._plan.folder,
            count=self._plan.workers,
            max_restarts=2 * self._plan.kills + SPARE_RESTARTS,
            within=AN_HOUR,
            backoff=aioprocq.Backoff(initial=0),
        )

    async def _work(self, workers: aioprocq.WorkerGroup, killer: Killer) -> None:
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(self._collect(killer))
            counting = group.create_task(killer.count_exits())
            await self._feed(workers, killer)
            await self._wait_for_all()
            collecting.cancel()
            counting.cancel()

    async def _feed(self, workers: aioprocq.WorkerGroup, killer: Killer) -> None:
        """Put every job; between two of them, now and then, kill a worker."""
        points = kill_points(len(self._plan.files), self._plan.kills, self._chance)
        for number, path in enumerate(self._plan.files):
            while points and points[0] == number:
                points.pop(0)
                await killer.kill_one(workers, KILL_DELAY)
            await self._jobs.put(path)

    async def _wait_for_all(self) -> None:
        await self._jobs.join()
        self._missing.difference_update(await self._given_up())
        self._note_missing()
        # A job is settled after its result was put, so the last are on their way.
        await self._all_in.wait()

    async def _collect(self, killer: Killer) -> None:
        while True:
            for message in await self._results.get_many(RESULTS_AT_ONCE):
                self._counts[message.count.path] = message.count
                self._missing.discard(message.count.path)
            killed = len(killer.victims)
            remark = f"workers killed: {killed}" if killed else ""
            self._progress.update(len(self._counts), remark)
            self._note_missing()

    async def _outcome(self, killer: Killer, seconds: float, lag: float) -> Outcome:
        return Outcome(
            counts=self._counts,
            given_up=tuple(sorted(await self._given_up())),
            workers=self._plan.workers,
            killed=killer.killed,
            crashed=killer.crashed,
            redelivered=self._jobs.statistics().redelivered or 0,
            seconds=seconds,
            max_loop_lag=lag,
        )

    async def _given_up(self) -> list[str]:
        return [letter.item for letter in await self._jobs.dead_letters()]

    def _note_missing(self) -> None:
        if not self._missing:
            self._all_in.set()


def _first(failures: BaseExceptionGroup[aioprocq.WorkerError]) -> aioprocq.WorkerError:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    assert isinstance(failure, aioprocq.WorkerError)
    return failure
