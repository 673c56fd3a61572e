"""The answers of a pool's workers, and whom they reach.

Invariants:

* Answers are taken in the order in which they came, by one task and by ``take_all``.
* The loop has its turn after every few of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from ..errors import OwnerLost, QueueShutDown
from ..machines.jobs import Job, Jobs, JobState
from ..queues.queue import Queue
from ..supervisor.remote import Failure
from ..wire.payload import Payload
from .board import Board
from .calls import FAILED, HELLO, PART, ident_of, unreadable
from .crew import Crew
from .statistics import Latencies

__all__ = ["Answers"]

logger = logging.getLogger("aioprocq")

_AT_ONCE = 64


class Receiver(Protocol):
    """The pool, as this sees it."""

    def fill(self) -> None:
        """There may be room for more jobs."""

    def forget(self, ident: int) -> None:
        """A job is over."""


class Answers:
    """Reads the answers of one pool."""

    def __init__(
        self, pool: Receiver, queue: Queue[Any], jobs: Jobs, crew: Crew
    ) -> None:
        self.failed = 0
        self.latencies = Latencies()
        self._pool = pool
        self._queue = queue
        self._jobs = jobs
        self._crew = crew
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._read(), name="aioprocq answers")

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        station = self._queue._handle.station
        take: Any = station.take  # which gives payloads in their owner
        wait = self._queue._wait_to_get
        while True:
            try:
                payload = await wait(take, None, None)
            except (QueueShutDown, OwnerLost):
                return
            count = 0
            while payload is not None:
                self._deal_with(payload)
                count += 1
                if count % _AT_ONCE == 0:
                    self._pool.fill()
                    await asyncio.sleep(0)
                payload = take(None)
            self._pool.fill()

    def take_all(self) -> None:
        """Deal with what has come."""
        station: Any = self._queue._handle.station
        station.gather()
        while (payload := station.take(None)) is not None:
            self._deal_with(payload)

    def _deal_with(self, payload: Payload) -> None:
        try:
            answer: Any = self._queue._handle.station.open(payload)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # whatever: it is one job's
            answer = ident_of(payload), None, unreadable(failure)
        try:
            if len(answer) == 2:
                self._value(answer[0], answer[1])
            else:
                self._other(*answer)
        except Exception:
            logger.exception("an answer of a worker could not be dealt with")

    def _over(self, ident: int) -> Job | None:
        job = self._jobs.answered(ident)
        self._pool.forget(ident)
        if job is not None:
            self.latencies.add(time.monotonic() - job.tag.since)
        return job

    def _value(self, ident: int, value: Any) -> None:
        job = self._over(ident)
        if job is not None:
            job.tag.succeed(value)

    def _other(self, ident: int, kind: int | None, data: Any) -> None:
        if kind == HELLO:
            self._hello(*data)
        elif kind == PART:
            job = self._jobs.sent.get(ident)
            if job is not None and job.state is JobState.SENT:
                job.tag.part(data)
        else:
            job = self._over(ident)
            if job is not None and kind in (FAILED, None):
                self.failed += 1
                failed = isinstance(data, Failure)
                job.tag.crash(data.rebuild("of the pool") if failed else data)

    def _hello(self, pid: int, board: Board) -> None:
        self._crew.introduced(pid, board)
