"""A pool as a ``concurrent.futures.Executor``, for code that wants one.

Invariants:

* A future that another thread got is resolved, though its loop may have had its last
  turn: by the loop, or when the pool is left.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_all
from functools import partial
from typing import Any, Protocol

from ..errors import WorkerError

__all__ = ["HandOver", "PoolExecutor"]


class Submitting(Protocol):
    """The pool, as its executor sees it."""

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> asyncio.Future[Any]:
        """Submit a job, on the loop."""


class HandOver:
    """The calls of other threads that the pool's loop has not come to yet.

    Whoever takes a future out of the set resolves it: the loop, who closes this, or who
    has put it there too late. No lock, which those threads would keep from the loop.
    """

    def __init__(self) -> None:
        self._futures: set[Future[Any]] = set()
        self._closed = False

    def add(
        self, future: Future[Any], loop: asyncio.AbstractEventLoop, start: Any
    ) -> None:
        """Have the loop call ``start``. Raises WorkerError if it may never do so."""
        if self._closed:
            raise _left()
        self._futures.add(future)
        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError:  # the loop is closed, and the pool was never left
            self._futures.discard(future)
            raise _left() from None
        if self._closed and self.take(future):
            raise _left()

    def take(self, future: Future[Any]) -> bool:
        """Whether the caller is to resolve it; False: somebody else does."""
        try:
            self._futures.remove(future)
        except KeyError:
            return False
        return True

    def refuse(self) -> None:
        """Take no more; the loop has turns enough for those that are here."""
        self._closed = True

    def close(self) -> None:
        """The pool is left: the loop may have no more turns."""
        self._closed = True
        for future in list(self._futures):
            if self.take(future):
                _refuse(future, _left())


def _left() -> WorkerError:
    return WorkerError("the pool is closed; submit jobs inside of its `async with`")


def _refuse(future: Future[Any], failure: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(failure)


class _ExecutorFuture(Future[Any]):
    """Does not let a loop's thread wait for itself."""

    loop_thread = 0

    def result(self, timeout: float | None = None) -> Any:
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if not self.done() and threading.get_ident() == self.loop_thread:
            raise WorkerError(
                "waiting here would block the event loop that the answer comes "
                "through; await asyncio.wrap_future(future) instead"
            )


class PoolExecutor(Executor):
    """Submits jobs to a WorkerPool, from the thread of its loop or from any other.

    Cancelling one of its futures cancels the job, also one that runs. ``shutdown``
    makes this executor refuse jobs; the pool goes on.
    """

    def __init__(
        self,
        pool: Submitting,
        loop: asyncio.AbstractEventLoop,
        thread: int,
        hand_over: HandOver,
    ) -> None:
        self._pool = pool
        self._hand_over = hand_over
        self._loop = loop
        self._loop_thread = thread
        self._shut = False
        self._pending: set[Future[Any]] = set()

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Call a function in a worker; raises as ``WorkerPool.submit`` does.

        From another thread, what the pickler raises comes through the future.
        """
        if self._shut:
            raise RuntimeError("this executor is shut down; take pool.executor anew")
        future = _ExecutorFuture()
        future.loop_thread = self._loop_thread
        if threading.get_ident() == self._loop_thread:
            self._connect(future, self._pool.submit(fn, *args, **kwargs))
        else:
            start = partial(self._start, future, fn, args, kwargs)
            self._hand_over.add(future, self._loop, start)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def _start(self, future: Future[Any], fn: Any, args: Any, kwargs: Any) -> None:
        if not self._hand_over.take(future):
            return
        if future.cancelled():
            future.set_running_or_notify_cancel()
            return
        try:
            job = self._pool.submit(fn, *args, **kwargs)
        except BaseException as failure:
            _refuse(future, failure)
        else:
            self._connect(future, job)

    def _connect(self, future: Future[Any], job: asyncio.Future[Any]) -> None:
        # A future stays pending until its job is over, so that it can be cancelled;
        # who waits for several is told of that only by set_running_or_notify_cancel.
        def forward(_: object) -> None:
            failure = None if job.cancelled() else job.exception()
            if job.cancelled():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            if failure is None:
                future.set_result(job.result())
            else:
                future.set_exception(failure)

        def backward(_: object) -> None:
            if future.cancelled() and not job.done():
                self._loop.call_soon_threadsafe(job.cancel)

        job.add_done_callback(forward)
        future.add_done_callback(backward)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse further jobs. ``wait`` waits for those before, in another thread."""
        self._shut = True
        pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait and threading.get_ident() != self._loop_thread:
            wait_for_all(pending)
