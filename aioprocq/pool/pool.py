"""WorkerPool: call a function in another process, and await it."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import threading
from asyncio import _get_running_loop as running_loop
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast, overload

from ..errors import WorkerError
from ..queues.joinable import JoinableQueue
from ..queues.queue import Queue
from ..supervisor.options import (
    check_nice,
    check_number,
    check_output,
    check_seconds,
    check_text,
    environment,
)
from .answers import Answers
from .board import MOST_SLOTS, Withdrawals
from .context import name_variables
from .crew import Crew, CrewOptions
from .dispatching import Dispatching, check_patience
from .executor import HandOver, PoolExecutor
from .future import JobFuture
from .map import MapResults
from .server import Orders
from .statistics import PoolStatistics

__all__ = ["WorkerPool"]

P = ParamSpec("P")
T = TypeVar("T")
X = TypeVar("X")

_names = itertools.count(1)


class WorkerPool(Dispatching):
    """Worker processes that call functions, and give back what they return.

    Use it as ``async with WorkerPool() as pool``. At the end of the block it waits for
    the jobs that were submitted; when the block raises, they are cancelled and the
    workers stopped at once.

    Functions are plain or async, and are found by a worker as pickle finds them: by
    the name of their module. Arguments and results are pickled; large ones travel
    through shared memory, and arrays among them arrive read-only.

    A worker that dies fails what it was running with WorkerCrashed, or repeats it, and
    is replaced. The pool itself never breaks.

    Args:
        max_workers: worker processes; by default one for each core that this process
            may use.
        initializer: called with ``initargs`` in each worker before its first job. If
            it raises in the first ones, ``async with`` raises WorkerStartError.
        max_tasks: replace a worker after so many jobs (with some jitter); a chunk of
            ``map`` is one job.
        max_rss: replace a worker that has so many bytes of memory resident.
        nice: from 0 to 19, added to the app's own niceness: with 5 or more, the app's
            event loop comes before workers that keep all cores busy.
        retries: how often a job is repeated when its worker has died. 0 is at most
            once: a job that was started is never started again.
        concurrency: async jobs that a worker runs at once. More than 1 gives each
            worker an event loop; plain functions run in one thread beside it.
        loop: "asyncio" or "uvloop", for async functions.
        grace_period: seconds for which a job that was cancelled, or whose time is up,
            may still run. After that its worker is killed and replaced.
        context: context variables, or their names as "module:attribute", whose values
            are carried over with each job.
        name: for the names of its workers.
        start_timeout: seconds within which a worker must be ready.
        env: changes to the workers' environment; None takes a variable away.
        output: called with a worker's name, "stdout" or "stderr", and a line.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        max_tasks: int | None = None,
        max_rss: int | None = None,
        nice: int = 0,
        retries: int = 0,
        concurrency: int = 1,
        loop: str | None = None,
        grace_period: float = 1.0,
        context: Iterable[ContextVar[Any] | str] = (),
        name: str | None = None,
        start_timeout: float = 60.0,
        env: dict[str, str | None] | None = None,
        output: Callable[[str, str, str], object] | None = None,
    ) -> None:
        max_workers = _cores() if max_workers is None else max_workers
        self._count = check_number(max_workers, "max_workers", 1)
        _check_initializer(initializer)
        self._retries = check_number(retries, "retries", 0)
        self._concurrency = check_number(concurrency, "concurrency", 1)
        if concurrency > MOST_SLOTS:
            raise ValueError(f"concurrency must be {MOST_SLOTS} or less")
        for limit, what in ((max_tasks, "max_tasks"), (max_rss, "max_rss")):
            if limit is not None:
                check_number(limit, what, 1)
        if name is not None:
            check_text(name, "name")
        environment(env)
        check_output(output)
        if loop not in (None, "asyncio", "uvloop"):
            raise ValueError(f"loop must be 'asyncio' or 'uvloop', not {loop!r}")
        self._context = name_variables(context)
        self._initializer = initializer, tuple(initargs)
        self._event_loop = loop
        self._hand_over = HandOver()
        self._options = CrewOptions(
            count=self._count,
            name=name or f"pool-{next(_names)}",
            max_tasks=max_tasks,
            max_rss=max_rss,
            nice=check_nice(nice),
            grace_period=check_seconds(grace_period, "grace_period"),
            start_timeout=check_seconds(start_timeout, "start_timeout"),
            env=env,
            output=output,
        )
        super().__init__(self._count, self._retries, self._concurrency, self._context)

    def __repr__(self) -> str:
        return (
            f"<WorkerPool {self._options.name!r} {self._state} "
            f"workers={self._count} unfinished={self._jobs.wanted}>"
        )

    # Its life

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise WorkerError("a WorkerPool can be used once; create another one")
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        name = self._options.name
        self._queue: JoinableQueue[Any] = JoinableQueue(
            name=f"jobs of {name}", max_deliveries=1
        )
        self._station = cast(Any, self._queue._handle.station)
        self._station.quiet = True  # of dead letters, which become WorkerCrashed
        answers: Queue[Any] = Queue(name=f"answers of {name}")
        orders = Orders(
            jobs=self._queue,
            answers=answers,
            withdrawals=Withdrawals(),
            concurrency=self._concurrency,
            initializer=self._initializer[0],
            initargs=self._initializer[1],
            context=self._context,
            loop=self._event_loop,
        )
        self._orders = orders
        self._crew = Crew(self._options, orders, self._jobs, self._hear)
        self._answers = Answers(self, answers, self._jobs, self._crew)
        self._state = "running"
        await self._crew.supervisor.__aenter__()
        self._answers.start()
        try:
            await self._crew.start()
        except BaseException as failure:
            await self._leave(type(failure), failure, failure.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        self._hand_over.refuse()
        if failure is None:
            self._state = "draining"
            try:
                await self._until_idle()
            except BaseException as interruption:
                trace = interruption.__traceback__
                await self._leave(type(interruption), interruption, trace)
                raise
        await self._leave(kind, failure, trace)
        return False

    async def _until_idle(self) -> None:
        # Without a worker nothing is left that somebody waits for, nor that may run.
        while self._jobs.unfinished and self._no_worker is None:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    async def _leave(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "closed"
        for job in self._jobs.all_wanted():
            job.tag.cancel()
        limit = self._crew.limit_leaving()
        try:
            self._queue.shutdown(immediate=True)
            await self._crew.supervisor.__aexit__(kind, failure, trace)
        finally:
            limit.cancel()
            self._answers.stop()
            self._hand_over.close()
            for queue in (self._queue, self._orders.answers):
                await queue.aclose()
            for board in self._crew.boards.values():
                board.close()
            self._orders.withdrawals.close()

    # Calls

    @overload
    async def run(
        self,
        function: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run(
        self,
        function: Callable[..., T],
        /,
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> T: ...

    async def run(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a function in a worker, and give back what it returns.

        Args:
            function: plain or async, at the top of a module.
            timeout: seconds, from now on and not from when it starts. For a keyword
                argument of that name use ``functools.partial``.

        Raises:
            TimeoutError: the time is up. An async job is cancelled, a plain one ends
                within the grace period or its worker is killed.
            WorkerCrashed: its worker died while it ran.
            RemoteError: it raised what cannot be pickled.
            Exception: what it raised, with the worker's traceback in a note; or what
                the pickler raises for the function, an argument or the result.
            WorkerError: the pool is closed.

        Cancellation: a job that has not started never will; one that runs ends as
        when its time is up.
        """
        seconds = check_patience(timeout)
        future = self._submit(function, args, kwargs)
        if seconds is not None:
            future.expire_after(seconds)
        return await future

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> asyncio.Future[Any]:
        """Call a function in a worker: a future for what it returns.

        To be called on the pool's event loop. Cancelling the future cancels the job;
        it raises as ``run`` does.
        """
        return self._submit(function, args, kwargs)

    def map(
        self,
        function: Callable[[X], Any],
        inputs: Iterable[X] | AsyncIterable[X],
        *,
        ordered: bool = True,
        limit: int | None = None,
        timeout: float | None = None,
        progress: bool = False,
        return_exceptions: bool = False,
    ) -> MapResults[Any]:
        """Call a function with each of the inputs: an async iterator of the results.

        Args:
            inputs: any iterable, or asynchronous iterable; it may be endless. It is
                read as results are consumed, a bounded number ahead.
            ordered: results in the order of the inputs, or as they come.
            limit: the most inputs that were read and whose results were not consumed
                yet; by default what keeps the workers busy, in chunks that grow with
                the speed of the jobs.
            timeout: seconds for each call, from when it starts. Giving it makes every
                input a job of its own.
            progress: show a bar on standard error, if that is a terminal.
            return_exceptions: give what a call raised in the place of its result,
                instead of raising it.

        What a call raises is raised where its result would be, and ends the iteration.
        Leaving the loop, or ``aclose()``, cancels what is not done; ``drain()`` lets
        finish what runs. ``get_many()`` gives all results that are there, with the
        numbers of their inputs.
        """
        return MapResults(
            self,
            function,
            inputs,
            ordered=ordered,
            limit=None if limit is None else check_number(limit, "limit", 1),
            timeout=check_patience(timeout),
            progress=progress,
            return_exceptions=return_exceptions,
        )

    @property
    def executor(self) -> PoolExecutor:
        """This pool as a ``concurrent.futures.Executor``, usable from any thread."""
        if self._loop is None:
            raise WorkerError("the pool has not been entered; use it in `async with`")
        return PoolExecutor(self, self._loop, self._thread, self._hand_over)

    def statistics(self) -> PoolStatistics:
        """The figures of this moment."""
        jobs = self._jobs
        open_ = self._state in ("running", "draining")
        running = self._crew.running() if open_ else 0
        answers = self._answers if self._state != "new" else None
        group = None
        if self._state != "new" and self._crew.group is not None:
            group = self._crew.group.statistics()
        return PoolStatistics(
            queued=jobs.wanted - running,
            running=running,
            done=jobs.done - (answers.failed if answers else 0),
            failed=answers.failed if answers else 0,
            crashed=jobs.crashed,
            retried=jobs.retried,
            cancelled=jobs.abandoned,
            restarts=group.restarts if group else 0,
            workers=group.ready if group else 0,
            latency=answers.latencies.percentiles() if answers else None,
        )

    def _submit(
        self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> JobFuture:
        loop = self._loop
        if loop is None or running_loop() is not loop:
            raise self._refusal()
        future = JobFuture(self, function, loop)
        self.send(future, function, args, kwargs)
        return future

    @property
    def workers(self) -> int:
        """How many workers it is to have."""
        return self._count

    @property
    def concurrency(self) -> int:
        """How many async jobs a worker runs at once."""
        return self._concurrency


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_initializer(initializer: object) -> None:
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be callable, or None")
    if inspect.iscoroutinefunction(initializer):
        raise TypeError(
            "initializer must be a plain function, as nothing awaits it; have it call "
            "asyncio.run() if it has to"
        )
