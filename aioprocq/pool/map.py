"""``WorkerPool.map``: results as an asynchronous iterator.

Invariants:

* Each input has one result: a value, or what its call raised.
* When the iterator is closed, or nobody has it any more, nothing of it runs on.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, Self, TypeVar

from .calls import name_of
from .chunk import Pool
from .map_run import MapRun, Outcome
from .progress import MapProgress

__all__ = ["MapResults", "Outcome", "Pool"]

R = TypeVar("R")


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
        self._run = MapRun(
            pool, function, inputs, ordered=ordered, limit=limit, timeout=timeout
        )
        self._return_exceptions = return_exceptions
        self._progress = MapProgress(inputs, name_of(function)) if progress else None
        self._closer = weakref.finalize(self, _drop, self._run, self._progress)
        self._closer.atexit = False

    def __repr__(self) -> str:
        run = self._run
        state = "closed" if not run.open else "draining" if run.draining else "open"
        return f"<MapResults {state} unconsumed={run.unconsumed} {run.size}>"

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is not done; once or more."""
        if self._closer.detach() is not None:
            _close(self._run, self._progress)
        reader = self._run.reader
        if reader is not None and reader is not asyncio.current_task():
            await asyncio.wait([reader])

    def drain(self) -> None:
        """Read no more inputs and start no more calls; those that run go on.

        Their results are still to be had, and then the iteration ends. Inputs that
        were read, and whose calls have not started, have no result.
        """
        self._run.drain()

    async def __anext__(self) -> R:
        """The next result. Cancellation: it is the next one's."""
        found = await self._next(1)
        if not found:
            raise StopAsyncIteration
        _, value, failure = found[0]
        if failure is not None:
            if not self._return_exceptions:
                await self.aclose()
                raise failure
            value = failure
        result: R = value
        return result

    async def get_many(self, most: int | None = None) -> list[Outcome]:
        """The results that are there, at least one; none at the end.

        Args:
            most: no more than so many.

        A call that has failed is in the list with what it raised, and ends nothing.
        Raises what reading the inputs has raised, after the last result.

        Cancellation: the results are those of the next call.
        """
        if most is not None and most < 1:
            raise ValueError(f"most must be 1 or more, not {most}")
        return await self._next(most)

    async def _next(self, most: int | None) -> list[Outcome]:
        run = self._run
        run.loop = asyncio.get_running_loop()
        while run.open:
            run.fill()
            found = run.take(most)
            if found:
                if self._progress is not None:
                    self._progress.advance(len(found))
                return found
            if run.finished:
                await self.aclose()
                if run.failure is not None:
                    raise run.failure
                break
            await run.changed()
        return []


def _drop(run: MapRun, progress: MapProgress | None) -> None:
    if progress is not None:
        progress.close()
    if run.loop is None:
        run.close()  # it has never begun
        return
    try:
        # The garbage collector may call this in the midst of anything, a queue with
        # its lock held included.
        run.loop.call_soon_threadsafe(run.close)
    except RuntimeError:
        pass  # the loop is closed, and nothing runs


def _close(run: MapRun, progress: MapProgress | None) -> None:
    run.close()
    if progress is not None:
        progress.close()
