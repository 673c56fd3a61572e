"""Workers that have jobs to do: how well work is shared out among them.

A job is a number of seconds to sleep, so that workers do not compete for cores and
all that is seen is who gets which job, and when. What a job took is measured, not
assumed: sleeping takes longer than asked for. Workers are told to end when all jobs
are done: one that had its end before could not help another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.kinds import Kind, blocking_face, close_queue, coroutine_face
from aioprocq.cli.bench.model import Contender, Sample, Setting
from aioprocq.cli.bench.sessions import BlockingSession, LoopSession
from aioprocq.cli.bench.staff import Span, orders

__all__ = ["jobs_of"]

WORKERS = 2
SHORT = 0.001  # seconds
FLOW = Flow(Role.OWNER, Role.BLOCKING, consumers=WORKERS, joinable=True)


def jobs_of(kind: Kind, with_long: bool, quick: int, full: int) -> Contender:
    """So many short jobs, behind one that takes twice as long as all of them ideally.

    The samples have `over`, the time until the short ones are done over the ideal,
    and `share`, the share of the workers' time that was work.
    """
    session = LoopJobs if kind.coroutines else BlockingJobs
    opener = partial(session, kind, with_long)
    return Contender(kind.name, opener, quick, full, kind.needs, kind.lack)


@dataclass(frozen=True, slots=True)
class Shift(Span):
    """A worker's jobs, until the end of the last: the seconds that they took.

    `until_short` is when the last of the short ones had ended.
    """

    short: float
    long: float
    until_short: float


def make_jobs(count: int, with_long: bool) -> list[float]:
    """The jobs of a round."""
    first = [2 * count * SHORT] if with_long else []
    return [*first, *[SHORT] * count]


def work(connection: Connection, queue: Any) -> None:
    """A worker."""
    face = blocking_face(queue)
    for _ in orders(connection):
        connection.send(do_jobs(face))


def do_jobs(face: Any) -> Shift:
    """Do jobs until there are no more."""
    clock = time.monotonic
    start = ended = until_short = clock()
    short = long = 0.0
    while (seconds := face.get()) is not None:
        begun = clock()
        time.sleep(seconds)
        ended = clock()
        if seconds > SHORT:
            long += ended - begun
        else:
            short, until_short = short + ended - begun, ended
        face.task_done()
    face.task_done()
    return Shift(start, ended, short, long, until_short)


def judge(start: float, shifts: list[Shift]) -> Sample:
    """From the first put on: over the ideal, and the share that was work."""
    short, long = sum(each.short for each in shifts), sum(each.long for each in shifts)
    even = (short + long) / WORKERS
    # Ideally one worker has the long job, and the others share the short ones.
    ideal = short / (WORKERS - 1) if long > even else even
    until_short = max(each.until_short for each in shifts) - start
    until_all = max(each.end for each in shifts) - start
    return {
        "over": until_short / ideal,
        "share": (short + long) / (WORKERS * until_all),
    }


class LoopJobs(LoopSession):
    """A session in whose app a coroutine puts the jobs."""

    def __init__(self, kind: Kind, with_long: bool, setting: Setting) -> None:
        self._kind = kind
        self._with_long = with_long
        self._queue: Any = None
        super().__init__(setting)

    async def _open(self) -> None:
        self._queue = self._kind.make(FLOW)
        for _ in range(WORKERS):
            self._staff.hire(work, self._queue)

    async def _round(self, count: int) -> Sample:
        face = coroutine_face(self._queue)
        self._staff.order(count)
        start = time.monotonic()
        for job in make_jobs(count, self._with_long):
            await face.put(job)
        await face.join()
        for _ in range(WORKERS):
            await face.put(None)
        shifts = await self._staff.spans_async()
        await face.join()
        return judge(start, shifts)

    async def _release(self) -> None:
        if self._queue is not None:
            await close_queue(self._queue)


class BlockingJobs(BlockingSession):
    """A session in whose app a plain function puts the jobs."""

    def __init__(self, kind: Kind, with_long: bool, setting: Setting) -> None:
        self._kind = kind
        self._with_long = with_long
        self._queue: Any = None
        super().__init__(setting)

    def _open(self) -> None:
        self._queue = self._kind.make(FLOW)
        for _ in range(WORKERS):
            self._staff.hire(work, self._queue)

    def _round(self, count: int) -> Sample:
        face = blocking_face(self._queue)
        self._staff.order(count)
        start = time.monotonic()
        for job in make_jobs(count, self._with_long):
            face.put(job)
        face.join()
        for _ in range(WORKERS):
            face.put(None)
        shifts = self._staff.spans()
        face.join()
        return judge(start, shifts)

    def _release(self) -> None:
        if self._queue is not None:
            self._queue.close()
