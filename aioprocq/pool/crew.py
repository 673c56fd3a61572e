"""The workers of a pool, as the app sees them: their boards, and their ends.

Invariants:

* A worker is killed for a job only while that job, and no other that somebody waits
  for, runs in it; unless its event loop does not turn any more.
* A worker that dies is replaced, and so is one that runs nothing, and does not hear,
  while somebody has waited in vain for a job that was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..drivers.log import logger
from ..machines.jobs import Jobs, JobState
from ..machines.restart import Backoff, ExitReason, WorkerState
from ..supervisor.events import WorkerEvent
from ..supervisor.group import WorkerGroup
from ..supervisor.supervisor import Supervisor
from ..supervisor.worker import Worker
from .board import Board, Withdrawals
from .concurrent_server import serve_many
from .plain_server import serve
from .server import Orders

__all__ = ["Crew", "CrewOptions"]

DUMP_TIME = 0.05
PATIENCE = 5.0
"""Seconds without a turn after which an event loop is taken to be blocked."""

_WITHOUT_END = 10**9
_BACKOFF = Backoff(initial=0.02, maximum=5.0, stable_after=0.0)


@dataclass(frozen=True, slots=True)
class CrewOptions:
    """What ``WorkerPool`` was given for its workers."""

    count: int
    name: str
    max_tasks: int | None
    max_rss: int | None
    nice: int
    grace_period: float
    start_timeout: float
    env: Any
    output: Any


class _Watched(Supervisor):
    """A supervisor whose events are heard at once, in order."""

    def __init__(self, hear: Callable[[WorkerEvent], None]) -> None:
        super().__init__()
        self._hear = hear

    def publish(self, event: WorkerEvent) -> None:
        super().publish(event)
        self._hear(event)


class Crew:
    """The workers of one pool."""

    def __init__(
        self,
        options: CrewOptions,
        orders: Orders,
        jobs: Jobs,
        hear: Callable[[WorkerEvent], None],
    ) -> None:
        self.supervisor: Supervisor = _Watched(hear)
        self.boards: dict[int, Board] = {}
        self._options = options
        self._orders = orders
        self._jobs = jobs
        self._group: WorkerGroup | None = None
        self._withdrawals: Withdrawals = orders.withdrawals
        self._loop = asyncio.get_running_loop()
        self._suspected: set[Board] = set()

    @property
    def group(self) -> WorkerGroup | None:
        """The group of the supervisor, once the first workers are ready."""
        return self._group

    async def start(self) -> None:
        """Start the workers. Raises as ``Supervisor.start`` does."""
        options, orders = self._options, self._orders
        self._group = await self.supervisor.start(
            serve if orders.concurrency == 1 else serve_many,
            orders,
            count=options.count,
            name=options.name,
            restart="always",
            max_restarts=_WITHOUT_END,
            backoff=_BACKOFF,
            on_exhausted="degrade",
            ready="told",
            start_timeout=options.start_timeout,
            max_items=options.max_tasks,
            max_rss=options.max_rss,
            nice=options.nice,
            loop="uvloop" if orders.loop == "uvloop" else None,
            env=options.env,
            output=options.output,
            # What has begun may take as long as it takes; who is in a hurry cancels.
            drain_timeout=_WITHOUT_END,
        )

    def introduced(self, pid: int, board: Board) -> None:
        """A worker has said who it is."""
        self.boards[pid] = board

    def gone(self, pid: int | None) -> Board | None:
        """A worker has ended: its board, to be closed by the caller."""
        return None if pid is None else self.boards.pop(pid, None)

    def running(self) -> int:
        """How many jobs run that somebody waits for."""
        boards = self.boards.values()
        return sum(self._wanted(one) for board in boards for one in board.running())

    @property
    def ready(self) -> int:
        """How many workers are ready."""
        workers = self._group.workers if self._group is not None else ()
        states = [worker.slot.state for worker in workers]
        return sum(state is WorkerState.READY for state in states)

    def limit_leaving(self) -> asyncio.TimerHandle:
        """Nobody waits for a job any more: who does not end in time is made to.

        A thread may be left over of a job, or the worker may be stopped.
        """
        seconds = self._options.grace_period + PATIENCE
        return self._loop.call_later(seconds, self._hurry)

    def _hurry(self) -> None:
        for group in self.supervisor.groups:
            group.hurry()

    # Ending a job that nobody waits for

    def withdraw(self, ident: int) -> None:
        """See that a job that was sent does not start, or ends if it runs."""
        self._withdrawals.add(ident)
        if not self._ask(ident):
            # It runs all the same where the worker is so new that its board has not
            # come yet, or where it began in the same moment.
            self._loop.call_later(self._options.grace_period, self._ask_again, ident)

    def _ask_again(self, ident: int) -> None:
        if not self._ask(ident) and ident in self._jobs.sent:
            # Others are before it; or it was sent to a worker that takes nothing.
            self._suspect()

    def _suspect(self) -> None:
        for group in self.supervisor.groups:
            for worker in group.workers:
                board = self.boards.get(worker.pid or 0)
                if board is None or board in self._suspected or self._works(board):
                    continue
                self._suspected.add(board)
                worker.ping()
                self._loop.call_later(
                    PATIENCE, self._acquit, worker, board, board.times_heard
                )

    def _works(self, board: Board) -> bool:
        # What was answered may be on the board still, for ever if it has stopped then.
        return any(ident in self._jobs.sent for ident in board.running())

    def _acquit(self, worker: Worker, board: Board, heard: int) -> None:
        self._suspected.discard(board)
        if self.boards.get(worker.pid or 0) is not board:
            return  # it has ended
        if board.times_heard == heard and not self._works(board):
            self._kill(worker, "it takes no jobs, and does not answer")

    def _ask(self, ident: int) -> bool:
        found = self._find(ident) if ident in self._jobs.sent else None
        if found is None:
            return False
        worker, board = found
        board.ask(ident)
        self._enforce_later(worker, board, ident)
        return True

    def recall(self, ident: int) -> None:
        """See that a job that was sent does not start; if it runs, it goes on."""
        self._withdrawals.add(ident)

    def began(self, ident: int) -> float | None:
        """When a job began to run; None: it does not run."""
        found = self._find(ident)
        return None if found is None else found[1].began(ident)

    def _find(self, ident: int) -> tuple[Worker, Board] | None:
        for group in self.supervisor.groups:  # also while the others start
            for worker in group.workers:
                board = self.boards.get(worker.pid or 0)
                if board is not None and board.runs(ident):
                    return worker, board
        return None

    def _enforce(self, ident: int, heard: int, deadline: float) -> None:
        # The grace period is over.
        job = self._jobs.sent.get(ident)
        if job is None or job.state is not JobState.ABANDONED:
            return
        found = self._find(ident)
        if found is None:
            return  # it has not started, and will not
        worker, board = found
        if not board.condemn(ident):
            return  # it has ended just now
        others = any(self._wanted(other) for other in board.running())
        if others and board.times_heard != heard:
            board.pardon()
            self._retire(worker)
            self._enforce_later(worker, board, ident)
        elif others and (left := deadline - time.monotonic()) > 0:
            board.pardon()
            self._loop.call_later(left, self._enforce, ident, heard, deadline)
        else:
            self._kill(worker, "its job did not end within its grace period")

    def _enforce_later(self, worker: Worker, board: Board, ident: int) -> None:
        # By the deadline it is known whether its loop turns, which others need.
        grace, heard = self._options.grace_period, board.times_heard
        deadline = time.monotonic() + max(grace, PATIENCE)
        worker.ping()
        self._loop.call_later(grace, self._enforce, ident, heard, deadline)

    def _wanted(self, ident: int) -> bool:
        job = self._jobs.sent.get(ident)
        return job is not None and job.state is JobState.SENT

    def _retire(self, worker: Worker) -> None:
        # It finishes the jobs of others, and takes no more; another takes its place.
        if worker.slot.state is WorkerState.READY and self._group is not None:
            self._group.recycle(worker, "a job that does not end")

    def _kill(self, worker: Worker, why: str) -> None:
        running = (WorkerState.READY, WorkerState.DRAINING, WorkerState.STARTING)
        if worker.slot.state in running:
            logger.warning("worker %s is killed: %s", worker.name, why)
            worker.condemn(ExitReason.DEADLINE, DUMP_TIME)
