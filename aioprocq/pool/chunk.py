"""Inputs of a map that travel together, and what became of them.

Invariants:

* Its results are those of its first inputs, in their order, and never more than these.
* While it has a job, something may still run for it. It has none when it is over.
* The time for a call begins when the call does, not when it was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import WorkerCrashed, WorkerError
from ..machines.jobs import Job
from ..supervisor.remote import Failure
from .board import Board
from .calls import name_of, records
from .future import Tag, presentable
from .sizing import ChunkSize

__all__ = ["Chunk", "Host", "Pool"]


class Pool(Protocol):
    """The pool, as a map sees it."""

    @property
    def workers(self) -> int:
        """How many workers it is to have."""

    @property
    def concurrency(self) -> int:
        """How many async jobs a worker runs at once."""

    def send(
        self,
        tag: Tag,
        function: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any] | None,
    ) -> int:
        """Submit a job."""

    def abandon(self, job: Job) -> None:
        """Nobody waits for a job any more."""

    def recall(self, job: Job) -> None:
        """A job is not to be started; if it runs, it goes on."""

    def began(self, job: Job) -> float | None:
        """When a job began, on the monotonic clock; None: it does not run."""


class Host(Protocol):
    """The map, as its chunks see it."""

    pool: Pool
    function: Callable[..., Any]
    timeout: float | None
    size: ChunkSize
    weight: int

    @property
    def sending(self) -> bool:
        """Whether calls may be started."""

    def heard(self, chunk: Chunk) -> None:
        """A chunk has new results, or is over."""

    def replace(self, chunk: Chunk, parts: list[Chunk]) -> None:
        """A chunk is sent in parts; those of its inputs that are done stay in it."""

    def dropped(self, count: int) -> None:
        """So many inputs will have no result."""

    def break_off(self, failure: BaseException) -> None:
        """There is no pool any more."""


class Chunk:
    """Some inputs of a map, the first of which has the number ``first``."""

    __slots__ = (
        "_host",
        "_timer",
        "_unopened",
        "first",
        "inputs",
        "job",
        "queued",
        "results",
        "sent",
        "since",
        "size",
        "taken",
        "values",
        "weight",
    )

    def __init__(self, host: Host, first: int, inputs: list[Any]) -> None:
        self._host = host
        self._timer: asyncio.TimerHandle | None = None
        self._unopened = False  # whether its worker died before it had the inputs
        self.first = first
        self.inputs = inputs
        self.results: list[tuple[bool, Any]] = []
        self.sent = 0  # inputs whose results were there when the job was sent
        self.taken = 0
        self.queued = False  # whether it is among those with results to be taken
        self.size = 0
        self.job: Job | None = None
        self.values: dict[int, Any] | None = None
        self.since = 0.0
        self.weight = 0  # bytes of large results, until all results were taken

    def __repr__(self) -> str:
        return f"<Chunk {self.first} {len(self.results)}/{len(self.inputs)} {self.job}>"

    @property
    def function(self) -> Callable[..., Any]:
        """The function that is called."""
        return self._host.function

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of(self.function)

    @property
    def over(self) -> bool:
        """Whether every input has a result."""
        return len(self.results) == len(self.inputs)

    def send(self) -> None:
        """Submit the inputs that have no result."""
        self.sent = len(self.results)
        left = self.inputs[self.sent :]
        self.since = time.monotonic()
        host = self._host
        args: Any = (left[0],) if len(self.inputs) == 1 else left
        try:
            self.size = host.pool.send(self, host.function, args, None)
        except WorkerError as failure:
            host.break_off(failure)
        except Exception as failure:
            self._fail(failure)
        else:
            if host.timeout is not None:
                self._set_timer(host.timeout)

    def _fail(self, failure: BaseException) -> None:
        # One of them does not pickle, or unpickle: the others are not to fail for it.
        if len(self.inputs) - len(self.results) == 1:
            self._add([(True, presentable(failure))])
        elif self._host.sending:
            self._split(1)
        else:
            self._give_up_rest()

    def _split(self, size: int) -> None:
        done = len(self.results)
        parts = [
            Chunk(self._host, self.first + at, self.inputs[at : at + size])
            for at in range(done, len(self.inputs), size)
        ]
        for part in parts:
            part.values = self.values
        self.inputs = self.inputs[:done]
        self._host.replace(self, parts)
        for part in parts:
            part.send()

    # What the pool tells

    def succeed(self, value: Any) -> None:
        """The job has returned."""
        seconds = time.monotonic() - self.since
        self.job = None
        if len(self.inputs) == 1:
            found, size = [(False, value)], self.size
        else:
            first, data, seconds = value
            found = self._new(first, data)
            size = max(self.size, len(data))
        count = len(self.results) + len(found) - self.sent
        self._host.size.answered(count, seconds, size)
        self._add(found)
        if self.over:
            return
        if self._host.sending:  # it has taken long; whoever is free does the rest
            self._split(self._host.size.size)
        else:
            self._give_up_rest()

    def weigh(self, size: int) -> None:
        """Results that are about to come are large."""
        self.weight += size
        self._host.weight += size

    def part(self, data: tuple[int, bytes | list[Any]]) -> None:
        """Some results, and more are to come."""
        self._add(self._new(*data), more=True)

    def _new(self, first: int, data: bytes | list[Any]) -> list[tuple[bool, Any]]:
        known = len(self.results) - self.sent - first
        # What cannot be in a record comes by itself.
        found = (
            records(data)
            if isinstance(data, bytes)
            else [(False, value) for value in data]
        )
        return [
            (failed, _rebuilt(value) if failed else value)
            for failed, value in found[max(0, known) :]
        ]

    def crash(self, failure: BaseException) -> None:
        """It has failed as a whole, or its worker has died."""
        self.job = None
        self._stop_timer()
        if self.over:  # its worker died after the last result, before the answer
            return
        if not isinstance(failure, WorkerCrashed) or self._unopened:
            self._fail(failure)
            return
        # It was the input that has no result yet; those after it go on.
        self._add([(True, failure)])
        if self.over:
            return
        if self._host.sending:
            self.send()
        else:
            self._give_up_rest()

    def skipped(self) -> None:
        """The job was recalled before it was started."""
        self.job = None
        self._give_up_rest()

    def _give_up_rest(self) -> None:
        left = len(self.inputs) - len(self.results)
        self.inputs = self.inputs[: len(self.results)]
        self._host.dropped(left)
        self._add([])

    def worker_died(self, board: Board | None) -> None:
        """Keep what the worker had computed before it died."""
        if board is None or self.job is None or len(self.inputs) == 1:
            return
        outbox = board.outbox(self.job.ident)
        self._unopened = outbox is None
        if outbox is not None:
            self._add(self._new(*outbox), more=True)
        if len(self.results) > self.sent:
            self.job.attempt = 1  # at the input that its worker died of

    def rest(self) -> list[Any] | None:
        """The inputs that have no result, if some have one by now."""
        if len(self.results) == self.sent:
            return None
        self.sent = len(self.results)
        return self.inputs[self.sent :]

    def _add(self, found: list[tuple[bool, Any]], *, more: bool = False) -> None:
        self.results += found
        if not more:
            self._stop_timer()
        self._host.heard(self)

    # Ending it

    def cancel(self) -> bool:
        """The pool is closed."""
        self.withdraw()
        self._host.break_off(
            WorkerError(
                "the pool was closed before all results of its map were there; iterate "
                "over them inside of its `async with`"
            )
        )
        return True

    def withdraw(self) -> None:
        """Have it run no more."""
        job, self.job = self.job, None
        self._stop_timer()
        if job is not None:
            self._host.pool.abandon(job)

    def recall(self) -> None:
        """Have it run no more, unless it runs."""
        if self.job is not None:
            self._host.pool.recall(self.job)

    def _expire(self) -> None:
        job, timeout = self.job, self._host.timeout
        if job is None or timeout is None:
            return
        # A call that has just begun is looked at again when its time is up, and one
        # that waits for a worker as if it had begun now: never too late, then.
        began = self._host.pool.began(job)
        left = timeout if began is None else began + timeout - time.monotonic()
        if left > 0:
            self._set_timer(left)
            return
        error = TimeoutError(f"{self.name} had not returned after {timeout:g} s")
        self.withdraw()
        self._add([(True, error)])

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _rebuilt(failure: Any) -> BaseException:
    if isinstance(failure, Failure):
        failure = failure.rebuild("of the pool")
    return presentable(failure)
