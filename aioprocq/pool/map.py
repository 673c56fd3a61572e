"""``WorkerPool.map``: results as an asynchronous iterator.

Invariants:

* At most ``limit`` inputs have been read whose results were not consumed, and no input
  is read while ``_AHEAD`` chunks for each worker are out.
* Each input has one result: a value, or what its call raised. What goes wrong with a
  chunk as a whole is tried again with each of its inputs alone.
* When the iterator is closed, or nobody has it any more, nothing of it runs on.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, Protocol, Self, TypeVar

from ..errors import WorkerCrashed, WorkerError
from ..machines.jobs import Job
from ..supervisor.remote import Failure
from .board import Board
from .calls import name_of, records
from .future import Tag, presentable
from .progress import MapProgress
from .sizing import ChunkSize

__all__ = ["MapResults", "Pool"]

R = TypeVar("R")

_AHEAD = 4
_LIMIT = 2048
_SPENT = 64


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


class Chunk:
    """Some inputs, and what became of them."""

    __slots__ = (
        "_counted",
        "_map",
        "_timer",
        "_unopened",
        "inputs",
        "job",
        "listed",
        "results",
        "sent",
        "since",
        "size",
        "taken",
    )

    def __init__(self, run: _Run, inputs: list[Any]) -> None:
        self._map = run
        self._timer: asyncio.TimerHandle | None = None
        self._counted = True  # among those that are out
        self._unopened = False
        self.listed = False  # in the line of those that have results
        self.inputs = inputs
        self.results: list[tuple[bool, Any]] = []
        self.sent = 0  # inputs whose results were there when the job was sent
        self.taken = 0
        self.size = 0
        self.job: Job | None = None
        self.since = 0.0

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of(self._map.function)

    @property
    def spent(self) -> bool:
        """Whether every input has a result, and all were consumed."""
        return self.over and self.taken == len(self.results)

    @property
    def over(self) -> bool:
        """Whether every input has a result."""
        return len(self.results) == len(self.inputs)

    def send(self) -> None:
        """Submit the inputs that have no result."""
        self.sent = len(self.results)
        left = self.inputs[self.sent :]
        self.since = time.monotonic()
        run = self._map
        args: Any = (left[0],) if len(self.inputs) == 1 else left
        try:
            self.size = run.pool.send(self, run.function, args, None)
        except WorkerError as failure:  # there is no pool any more
            run.break_off(failure)
            return
        except Exception as failure:
            self._fail(failure)
            return
        if run.timeout is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(run.timeout, self._expire)

    def _fail(self, failure: BaseException) -> None:
        # One of them does not pickle, or unpickle: the others are not to fail for it.
        left = self.inputs[len(self.results) :]
        if len(left) == 1:
            self._add([(True, presentable(failure))])
            return
        parts = [Chunk(self._map, [one]) for one in left]
        self._map.replace(self, parts)
        for part in parts:
            part.send()

    def _expire(self) -> None:
        if self.job is not None:
            run = self._map
            error = TimeoutError(
                f"{self.name} had not returned after {run.timeout:g} s"
            )
            self.withdraw()
            self._add([(True, error)])

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
        self._map.size.answered(len(self.inputs) - self.sent, seconds, size)
        self._add(found)
        if not self.over and self._map.open:
            self.send()

    def part(self, data: tuple[int, bytes]) -> None:
        """Some results, and more are to come."""
        self._add(self._new(*data), more=True)

    def _new(self, first: int, data: bytes) -> list[tuple[bool, Any]]:
        known = len(self.results) - self.sent - first
        return [
            (failed, _rebuilt(value) if failed else value)
            for failed, value in records(data)[max(0, known) :]
        ]

    def crash(self, failure: BaseException) -> None:
        """It has failed as a whole, or its worker has died."""
        self.job = None
        self._stop_timer()
        if not isinstance(failure, WorkerCrashed) or self._unopened:
            self._fail(failure)
            return
        # It was the input that has no result yet; those after it go on.
        self._add([(True, failure)])
        if not self.over and self._map.open:
            self.send()

    def worker_died(self, board: Board | None) -> None:
        """Keep what the worker had computed before it died."""
        if board is None or self.job is None or len(self.inputs) == 1:
            return
        outbox = board.outbox(self.job.ident)
        self._unopened = outbox is None
        if outbox is not None:
            self._add(self._new(*outbox), more=True)

    def cancel(self) -> bool:
        """The pool is closed."""
        self.withdraw()
        self._map.break_off(
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
            self._map.pool.abandon(job)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _add(self, found: list[tuple[bool, Any]], *, more: bool = False) -> None:
        self.results += found
        if not more:
            self._stop_timer()
        run = self._map
        if found and not self.listed and not run.ordered:
            self.listed = True
            run.ready.append(self)
        self.count()
        run.wake()

    def count(self) -> None:
        """Take it from those that are out when every input has a result."""
        if self._counted and self.over:
            self._counted = False
            self._map.out -= 1


def _rebuilt(failure: Any) -> BaseException:
    if isinstance(failure, Failure):
        failure = failure.rebuild("of the pool")
    return presentable(failure)


class _Run:
    """What goes on while somebody has the iterator; it does not know of that."""

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        timeout: float | None,
        ordered: bool,
    ) -> None:
        self.pool = pool
        self.ordered = ordered
        self.function = function
        self.timeout = timeout
        single = timeout is not None or pool.concurrency > 1
        self.size = ChunkSize(1) if single else ChunkSize()
        self.chunks: deque[Chunk] = deque()  # in the order of their inputs
        self.ready: deque[Chunk] = deque()  # in that of their results, if it matters
        self.out = 0
        self.open = True
        self.exhausted = False
        self.failure: BaseException | None = None
        self.broken: BaseException | None = None
        self.unconsumed = 0
        self.feeder: asyncio.Task[None] | None = None
        self.room = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        """Something has changed."""
        self.room.set()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until something has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def add(self, inputs: list[Any]) -> None:
        """Send a chunk."""
        chunk = Chunk(self, inputs)
        self.unconsumed += len(inputs)
        self.chunks.append(chunk)
        self.out += 1
        chunk.send()

    def take(self) -> tuple[bool, Any] | None:
        """A result that is there, if any."""
        line = self.chunks if self.ordered else self.ready
        while line and (chunk := line[0]).taken == len(chunk.results):
            if self.ordered and not chunk.over:
                return None
            line.popleft()
            chunk.listed = False
        if not line:
            return None
        found = chunk.results[chunk.taken]
        chunk.results[chunk.taken] = (False, None)  # it may be large
        chunk.taken += 1
        self.unconsumed -= 1
        self.room.set()
        if len(self.chunks) > 2 * (self.out + self.unconsumed) + _SPENT:
            # The first may take long, and those after it are over; not in order.
            self.chunks = deque(one for one in self.chunks if not one.spent)
        return found

    def break_off(self, failure: BaseException) -> None:
        """There is no pool any more; what came before may be had."""
        self.broken = self.broken or failure
        self.exhausted = True
        self.wake()

    def replace(self, chunk: Chunk, parts: list[Chunk]) -> None:
        """A chunk is sent in parts; those of its inputs that are done stay in it."""
        at = self.chunks.index(chunk)
        chunk.inputs = chunk.inputs[: len(chunk.results)]
        chunk.count()
        self.out += len(parts)
        self.chunks.rotate(-at - 1)
        self.chunks.extendleft(reversed(parts))
        self.chunks.rotate(at + 1)

    def close(self) -> None:
        """Have nothing run any more."""
        self.open = False
        for chunk in self.chunks:
            chunk.withdraw()
        self.chunks.clear()
        self.ready.clear()
        if self.feeder is not None and not self.feeder.get_loop().is_closed():
            self.feeder.cancel()
        self.wake()


class MapResults(Generic[R]):
    """The results of ``WorkerPool.map``: iterate over it with ``async for``.

    It may also be entered with ``async with``, and closed with ``aclose()``.
    """

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        ordered: bool,
        limit: int | None,
        timeout: float | None,
        progress: bool,
        return_exceptions: bool,
    ) -> None:
        self._run = _Run(pool, function, timeout, ordered)
        self._return_exceptions = return_exceptions
        self._workers = pool.workers * pool.concurrency
        self._limit = limit or _LIMIT * self._workers
        self._source: Iterator[Any] | None = None
        self._async_source: AsyncIterator[Any] | None = None
        if isinstance(inputs, AsyncIterable):
            self._async_source = inputs.__aiter__()
        else:
            self._source = iter(inputs)
        self._progress = MapProgress(inputs, name_of(function)) if progress else None
        self._closer = weakref.finalize(self, _close, self._run, self._progress)
        self._closer.atexit = False

    def __repr__(self) -> str:
        run = self._run
        state = "open" if run.open else "closed"
        return f"<MapResults {state} unconsumed={run.unconsumed} {run.size}>"

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is not done; once or more."""
        self._closer()
        self._source = self._async_source = None
        feeder = self._run.feeder
        if feeder is not None and feeder is not asyncio.current_task():
            await asyncio.wait([feeder])

    async def __anext__(self) -> R:
        """The next result. Cancellation: it is the next one's."""
        run = self._run
        while True:
            if not run.open:
                raise StopAsyncIteration
            self._fill()
            found = run.take()
            if found is not None:
                return await self._hand_out(*found)
            if run.broken or (run.exhausted and not run.unconsumed):
                failure = run.broken or run.failure
                await self.aclose()
                if failure is not None:
                    raise failure
                raise StopAsyncIteration
            await run.changed()

    async def _hand_out(self, failed: bool, value: Any) -> R:
        if self._progress is not None:
            self._progress.advance()
        if failed and not self._return_exceptions:
            await self.aclose()
            raise value
        result: R = value
        return result

    # Reading the inputs

    def _fill(self) -> None:
        run = self._run
        if run.exhausted:
            return
        most = _AHEAD * self._workers
        if self._async_source is not None:
            if run.feeder is None:
                run.feeder = asyncio.create_task(
                    _feed(run, self._async_source, self._limit, most)
                )
            return
        assert self._source is not None
        while (room := self._limit - run.unconsumed) > 0 and run.out < most:
            if not self._read(self._source, min(run.size.size, room)):
                return

    def _read(self, source: Iterator[Any], count: int) -> bool:
        run = self._run
        inputs: list[Any] = []
        try:
            inputs.extend(islice(source, count))
        except Exception as failure:
            run.failure = presentable(failure)
        run.exhausted = run.failure is not None or len(inputs) < count
        if inputs:
            run.add(inputs)
        return not run.exhausted


def _close(run: _Run, progress: MapProgress | None) -> None:
    run.close()
    if progress is not None:
        progress.close()


async def _feed(run: _Run, source: AsyncIterator[Any], limit: int, most: int) -> None:
    try:
        async for one in source:
            run.add([one])
            while run.unconsumed >= limit or run.out >= most:
                run.room.clear()
                await run.room.wait()
    except BaseException as failure:
        if run.open:
            run.failure = failure  # without it this would look like the end
        if not isinstance(failure, (Exception, asyncio.CancelledError)):
            raise
    finally:
        run.exhausted = True
        run.wake()
