"""The answers of a pool's workers, and whom they reach.

Invariants:

* Answers are taken in the order in which they came.
* The loop has its turn after every few of them.
"""

from __future__ import annotations

import asyncio
import time
from pickle import loads
from typing import Any, Protocol

from ..drivers.log import logger
from ..machines.jobs import Job, Jobs, JobState
from ..queues.queue import Queue
from ..supervisor.remote import Failure
from ..wire.payload import Payload, size_of
from .board import Board
from .calls import HELLO, PART, SKIPPED, ident_of, unreadable
from .crew import Crew
from .statistics import Latencies

__all__ = ["Answers"]

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
        self._jobs = jobs
        self._crew = crew
        self._station: Any = queue._handle.station  # which gives payloads in its owner
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        """Begin to read."""
        self._station.sink = self._read

    def stop(self) -> None:
        """Read no more."""
        self._station.sink = None
        if self._next is not None:
            self._next.cancel()

    def expect(self) -> None:
        """An answer may come at once: the loop had better not sleep before that."""
        self._station.expect()

    def _read(self) -> None:
        # Called by the queue itself: a task would be one more turn of the loop.
        take = self._station.take
        for _ in range(_AT_ONCE):
            payload = take(None)
            if payload is None:
                break
            self._deal_with(payload)
        else:
            if self._next is not None:
                self._next.cancel()
            self._next = asyncio.get_running_loop().call_soon(self._read)
        self._pool.fill()

    def take_all(self) -> None:
        """Deal with what has come."""
        self._station.gather()
        while (payload := self._station.take(None)) is not None:
            self._deal_with(payload)

    def _deal_with(self, payload: Payload) -> None:
        try:
            if type(payload) is bytes:
                answer: Any = loads(payload)
            else:
                answer = self._station.open(payload)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # whatever: it is one job's
            answer = ident_of(payload), None, unreadable(failure)
        try:
            if type(payload) is not bytes:
                self._weigh(answer[0], size_of(payload))
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

    def _weigh(self, ident: int, size: int) -> None:
        job = self._jobs.sent.get(ident)
        if job is not None and job.state is JobState.SENT:
            job.tag.weigh(size)

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
        elif kind == SKIPPED:
            job = self._jobs.skipped(ident)
            self._pool.forget(ident)
            if job is not None:
                job.tag.skipped()
        else:
            job = self._over(ident)
            if job is not None:
                self.failed += 1
                failed = isinstance(data, Failure)
                job.tag.crash(data.rebuild("of the pool") if failed else data)

    def _hello(self, pid: int, board: Board) -> None:
        self._crew.introduced(pid, board)
