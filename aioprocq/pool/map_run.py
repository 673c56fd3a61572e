"""What goes on for a map while somebody has its iterator.

Invariants:

* At most ``limit`` inputs have been read whose results were not taken.
* At most ``AHEAD`` chunks for each worker are ``pending``: not over.
* ``line`` has the chunks whose results come next: all of them in the order of the
  inputs, or those with results in the order in which these came. A chunk whose
  results were all taken is in neither, so that there are never more chunks than
  inputs within the limit.
* Of an asynchronous source no more is in ``read`` than the next chunks need, and what
  is there is sent as soon as the source makes wait and there is room for a chunk.
* While large results that were not taken have ``HEAVY`` bytes no more chunks are sent.
* It does not know the iterator, so that it can be closed when nobody has that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from .chunk import Chunk, Pool
from .future import presentable
from .sizing import ChunkSize

__all__ = ["MapRun", "Outcome"]

AHEAD = 4
LIMIT = 2048
HEAVY = 1 << 26
_TAKEN = (False, None)


class Outcome(NamedTuple):
    """What became of one input of a map.

    Attributes:
        number: which input it is of, the first being 0.
        value: what its call returned; None if it failed.
        failure: what its call raised, or None.
    """

    number: int
    value: Any
    failure: BaseException | None


class MapRun:
    """One map, without its iterator."""

    def __init__(
        self,
        pool: Pool,
        function: Callable[..., Any],
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        ordered: bool,
        limit: int | None,
        timeout: float | None,
    ) -> None:
        self.pool = pool
        self.function = function
        self.timeout = timeout
        self.ordered = ordered
        width = pool.workers * pool.concurrency
        self.limit = limit or LIMIT * width
        self._most = AHEAD * width
        single = timeout is not None or pool.concurrency > 1
        self.size = ChunkSize(1) if single else ChunkSize()
        self.pending: set[Chunk] = set()
        self.line: deque[Chunk] = deque()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.open = True
        self.draining = False
        self.exhausted = False
        self.failure: BaseException | None = None
        self.broken = False
        self.unconsumed = 0
        self.weight = 0
        self._count = 0
        self._source: Iterator[Any] | None = None
        self._async_source: AsyncIterator[Any] | None = None
        if isinstance(inputs, AsyncIterable):
            self._async_source = inputs.__aiter__()
        else:
            self._source = iter(inputs)
        self.read: deque[Any] = deque()
        self.reader: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sending(self) -> bool:
        """Whether calls may be started."""
        return self.open and not self.draining

    @property
    def finished(self) -> bool:
        """Whether no more results will come."""
        if self.broken:
            return True
        return self.exhausted and not (self.read or self.pending or self.line)

    # Waiting for it

    def wake(self) -> None:
        """Something has changed."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until something has changed."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    # What the chunks tell

    def heard(self, chunk: Chunk) -> None:
        """A chunk has new results, or is over."""
        if chunk.over:
            self.pending.discard(chunk)
        if not (self.ordered or chunk.queued) and chunk.taken < len(chunk.results):
            chunk.queued = True
            self.line.append(chunk)
        self.wake()

    def replace(self, chunk: Chunk, parts: list[Chunk]) -> None:
        """A chunk is sent in parts; those of its inputs that are done stay in it."""
        self.pending.discard(chunk)
        self.pending.update(parts)
        if self.ordered:
            at = self.line.index(chunk)
            self.line.rotate(-at - 1)
            self.line.extendleft(reversed(parts))
            self.line.rotate(at + 1)

    def dropped(self, count: int) -> None:
        """So many inputs will have no result."""
        self.unconsumed -= count

    def break_off(self, failure: BaseException) -> None:
        """There is no pool any more; what came before may be had."""
        if not self.broken:
            self.failure = failure
        self.broken = self.exhausted = True
        self.wake()

    # Taking results

    def take(self, most: int | None = None) -> list[Outcome]:
        """The results that are there and whose turn it is."""
        found: list[Outcome] = []
        while self.line and (most is None or len(found) < most):
            chunk = self.line[0]
            start, ready = chunk.taken, len(chunk.results)
            if start < ready:
                if most is not None:
                    ready = min(ready, start + most - len(found))
                self._take_from(chunk, start, ready, found)
            elif self.ordered and not chunk.over:
                break
            else:
                self.line.popleft()
                chunk.queued = False
        self.unconsumed -= len(found)
        return found

    def _take_from(
        self, chunk: Chunk, start: int, end: int, found: list[Outcome]
    ) -> None:
        results = chunk.results
        for at in range(start, end):
            failed, value = results[at]
            results[at] = _TAKEN  # it may be large
            number = chunk.first + at
            found.append(
                Outcome(number, None, value) if failed else Outcome(number, value, None)
            )
        chunk.taken = end
        if chunk.over and end == len(results):
            self.weight -= chunk.weight
            chunk.weight = 0

    # Reading inputs

    def fill(self) -> None:
        """Send what there is room for."""
        if self.draining or self.broken:
            return
        if self._async_source is not None:
            self._fill_from_reader(self._async_source)
            return
        source = self._source
        while source is not None and not self.exhausted:
            room = self.limit - self.unconsumed
            if room <= 0 or self._is_busy():
                return
            self._read_some(source, min(self.size.size, room))

    def _is_busy(self) -> bool:
        return len(self.pending) >= self._most or self.weight >= HEAVY

    def _read_some(self, source: Iterator[Any], count: int) -> None:
        inputs: list[Any] = []
        try:
            inputs.extend(islice(source, count))
        except (Exception, asyncio.CancelledError) as failure:
            self.failure = presentable(failure)
        self.exhausted = self.failure is not None or len(inputs) < count
        self.unconsumed += len(inputs)
        if inputs:
            self._send(inputs)

    def _send(self, inputs: list[Any]) -> None:
        chunk = Chunk(self, self._count, inputs)
        self._count += len(inputs)
        self.pending.add(chunk)
        if self.ordered:
            self.line.append(chunk)
        chunk.send()

    def _fill_from_reader(self, source: AsyncIterator[Any]) -> None:
        if self.reader is None:
            self.reader = asyncio.create_task(self._read_ahead(source))
        read = self.read
        while read and not self._is_busy() and not self.broken:
            count = min(self.size.size, len(read))
            self._send([read.popleft() for _ in range(count)])
        if not self._is_ahead():
            self._room.set()

    def _is_ahead(self) -> bool:
        return len(self.read) >= self.size.size or self.unconsumed >= self.limit

    async def _read_ahead(self, source: AsyncIterator[Any]) -> None:
        # The one who takes is woken by the first input, and has its turn only when
        # this waits, for the source or for room: it finds all that came at once.
        try:
            async for one in source:
                self.read.append(one)
                self.unconsumed += 1
                self.wake()
                while self._is_ahead():
                    self._room.clear()
                    await self._room.wait()
        except BaseException as failure:
            if self.sending and not self.broken:
                # Without it this would look like the end.
                self.failure = failure if _is_cancelled() else presentable(failure)
            if not isinstance(failure, (Exception, asyncio.CancelledError)):
                raise
        finally:
            self.exhausted = True
            self.wake()

    # Its end

    def drain(self) -> None:
        """Start nothing any more; what runs goes on."""
        self.draining = self.exhausted = True
        if self.reader is not None:
            self.reader.cancel()
        self.dropped(len(self.read))
        self.read.clear()
        for chunk in list(self.pending):
            chunk.recall()
        self.wake()

    def close(self) -> None:
        """Have nothing run any more."""
        self.open = False
        for chunk in list(self.pending):
            chunk.withdraw()
        self.pending.clear()
        self.line.clear()
        self.read.clear()
        self._source = self._async_source = None
        if self.reader is not None and not self.reader.get_loop().is_closed():
            self.reader.cancel()
        self.wake()


def _is_cancelled() -> bool:
    # The running task, and not something that it waits for.
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
