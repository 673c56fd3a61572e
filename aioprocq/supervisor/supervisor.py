"""Supervisor: worker processes for as long as an ``async with`` lasts.

Invariants:

* No process that was started here outlives the ``async with``, however it is left;
  and none outlives this process, however that ends.
* Once it is ending, nothing is started any more.
* The first failure that escalates cancels the body, as in a task group, and all of
  them leave together in an ExceptionGroup.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from types import TracebackType
from typing import Any, Literal, Self

from ..drivers.hub_station import HubStation
from ..drivers.log import logger
from ..errors import WorkerError
from ..machines.restart import Backoff
from ..queues.handle import Handle, owned_among
from .child import Launch, Output
from .control import pack_message
from .draining import until_idle
from .events import Events, EventStream, WorkerEvent
from .group import WorkerGroup
from .main_module import check_not_loading
from .options import (
    check_keywords,
    check_number,
    check_options,
    check_target,
    check_text,
)
from .worker import Worker

__all__ = ["Supervisor"]

_SHARE = 0.8
"""Of the time to drain, how much may pass before all are told to finish."""


class Supervisor:
    """Starts worker processes, watches, restarts and stops them.

    Use it with ``async with``, on asyncio or uvloop. It starts no thread, installs
    no signal handler, and never forks. When the body ends, the workers finish what
    the queues hold and end; when it raises or is cancelled, they are stopped at
    once. A group whose workers fail too often cancels the body and leaves in an
    ExceptionGroup, like the failure of a task in a task group.

    Cancellation while it stops its workers hurries it; none of them is left.
    """

    def __init__(self) -> None:
        self._groups: list[WorkerGroup] = []
        self._events = Events()
        self._failures: list[WorkerError] = []
        self._host: asyncio.Task[Any] | None = None
        self._state = "new"
        self._cancelled_host = False
        self._numbers: dict[str, int] = {}
        self._names: set[str] = set()
        self._consumed: set[HubStation] = set()

    def __repr__(self) -> str:
        return f"<Supervisor {self._state} groups={len(self._groups)}>"

    @property
    def ending(self) -> bool:
        """Whether nothing is started any more."""
        return self._state != "running"

    @property
    def groups(self) -> tuple[WorkerGroup, ...]:
        """The groups that were started, in their order."""
        return tuple(self._groups)

    async def start(
        self,
        target: Callable[..., Any],
        *args: Any,
        count: int = 1,
        name: str | None = None,
        restart: Literal["always", "on-failure", "never"] = "on-failure",
        max_restarts: int = 5,
        within: float = 60.0,
        backoff: Backoff | None = None,
        start_timeout: float = 60.0,
        drain_timeout: float = 10.0,
        stop_timeout: float = 5.0,
        max_items: int | None = None,
        max_age: float | None = None,
        max_rss: int | None = None,
        nice: int = 0,
        job_timeout: float | None = None,
        heartbeat: float | None = None,
        on_exhausted: Literal["raise", "degrade"] = "raise",
        loop: Literal["asyncio", "uvloop"] | None = None,
        env: Mapping[str, str | None] | None = None,
        output: Output | None = None,
        ready: str = "imported",
        kwargs: Mapping[str, Any] | None = None,
    ) -> WorkerGroup:
        """Start a group of workers that call ``target(*args, **kwargs)``.

        Returns when all of them are ready: the target is imported, and about to be
        called. Queues among the arguments, or anywhere inside of them, arrive
        connected.

        Args:
            target: a function at the top of a module, plain or async; a method or a
                partial of one; anything callable that pickles.
            count: how many workers.
            name: for messages, logs and events; the target's name by default.
            restart: "always", "on-failure" (not after the target has returned), or
                "never".
            max_restarts: after more failures of one worker than this ...
            within: ... in so many seconds it is given up.
            backoff: how long to wait before a restart.
            start_timeout: seconds until a worker has to be ready.
            drain_timeout: seconds that it may take to finish what it has begun.
            stop_timeout: seconds to leave after that, before it is killed.
            max_items: replace a worker when it was handed so many items.
            max_age: replace it after so many seconds.
            max_rss: replace it when it has so many bytes of memory resident.
            nice: from 0 to 19, added to the app's own niceness: with 5 or more, the
                app's event loop comes before workers that keep all cores busy.
            job_timeout: kill it, as failed, when it does not settle what it was
                handed by a JoinableQueue in so many seconds.
            heartbeat: ask it every so many seconds whether it is alive; one that
                does not answer is reported in a "suspect" event, with its stacks.
            on_exhausted: "raise" gives all up; "degrade" keeps the other workers and
                tries one of those that failed again, now and then.
            loop: for async targets, "asyncio" or "uvloop".
            env: changes to the environment; None takes a variable away.
            output: called with a worker's name, "stdout" or "stderr", and a line,
                for each line that it prints; by default the streams are inherited.
            ready: when a worker counts as ready: "imported", when its target is; or
                "told", when it calls ``current_worker().ready()``, after it has
                loaded a model for instance. ``start_timeout`` is for all until then.
            kwargs: keyword arguments for the target.

        Raises:
            WorkerStartError: no worker became ready; its cause is what the worker
                raised. Nothing of the group is left running.
            TypeError, ValueError: an argument is wrong.
            Exception: what the pickler raises for the target or its arguments, with
                the part that does not pickle in a note.
            WorkerError: the supervisor is not running.

        Cancellation: what was started is stopped.
        """
        check_not_loading()
        if self._state != "running":
            raise WorkerError(
                "workers can be started only inside of `async with Supervisor()`"
            )
        default = check_target(target)
        check_number(count, "count", 0)
        options = check_options(
            restart=restart,
            max_restarts=max_restarts,
            within=within,
            backoff=backoff,
            on_exhausted=on_exhausted,
            loop=loop,
            env=env,
            output=output,
            ready=ready,
            max_items=max_items,
            max_rss=max_rss,
            nice=nice,
            max_age=max_age,
            start_timeout=start_timeout,
            drain_timeout=drain_timeout,
            stop_timeout=stop_timeout,
            job_timeout=job_timeout,
            heartbeat=heartbeat,
        )
        task, carried = pack_message(
            (target, args, check_keywords(kwargs)), ("target", "args", "kwargs")
        )
        queues = owned_among(carried)
        stations = tuple(map(_station_of, queues))
        launch = Launch(
            task, stations, options.env, options.output, options.nice, tuple(queues)
        )
        group = WorkerGroup(self, self._name(name, default), launch, options)
        self._groups.append(group)
        await group.begin(count)
        return group

    def _name(self, name: str | None, default: str) -> str:
        if name is not None:
            check_text(name, "name")
        wanted = found = name or default
        while found in self._names:  # of another group, maybe one that asked for it
            number = self._numbers[wanted] = self._numbers.get(wanted, 1) + 1
            found = f"{wanted}-{number}"
        self._names.add(found)
        return found

    def events(self) -> EventStream:
        """The events of all workers from now on; ``async for`` over it."""
        return self._events.subscribe()

    # What groups tell

    def publish(self, event: WorkerEvent) -> None:
        """Something has happened to a worker."""
        self._events.publish(event)

    def forget(self, group: WorkerGroup) -> None:
        """A group did not come to be."""
        if group in self._groups:
            self._groups.remove(group)

    def escalate(self, failure: WorkerError) -> None:
        """A group has given up: end everything, and say why."""
        self._failures.append(failure)
        if self._state == "running":
            self._state = "failing"
            if self._host is not None and not self._host.done():
                self._cancelled_host = True
                self._host.cancel()

    # The `async with`

    async def __aenter__(self) -> Self:
        check_not_loading()
        if self._state != "new":
            raise WorkerError("a Supervisor can be used once; create another one")
        self._host = asyncio.current_task()
        self._state = "running"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:  # a bool may be True, and mypy misses what is then returned
        graceful = failure is None and not self._failures
        self._state = "stopping"
        shielded = isinstance(failure, asyncio.CancelledError)
        cancelled = await self._stop(graceful, shielded)
        self._state = "ended"
        self._events.end()
        if self._cancelled_host and self._host is not None:
            left = self._host.uncancel()
            if not left and isinstance(failure, asyncio.CancelledError):
                failure = None
            cancelled = cancelled if left > 0 else None
        if self._failures:
            errors: list[BaseException] = list(self._failures)
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                errors.append(failure)
            raise BaseExceptionGroup("supervised workers failed", errors)
        if cancelled is not None and failure is None:
            raise cancelled
        return False

    async def _stop(
        self, graceful: bool, shielded: bool
    ) -> asyncio.CancelledError | None:
        stopping = asyncio.ensure_future(self._stop_all(graceful))
        host = asyncio.current_task()
        assert host is not None
        requests = host.cancelling()
        request: asyncio.CancelledError | None = None
        with ExitStack() as stack:
            if shielded:
                stack.enter_context(_shielded())
            while not stopping.done() or stopping.cancelled():
                try:
                    await asyncio.shield(stopping)
                except asyncio.CancelledError as cancelled:
                    if stopping.cancelled():  # asyncio.run cancels every task
                        stopping = asyncio.ensure_future(self._stop_all(False))
                    if host.cancelling() > requests:
                        requests = host.cancelling()
                        self._hurry()
                        # The first one: anyio looks in it for the scope it is of.
                        request = request or cancelled
                    if not shielded:
                        stack.enter_context(_shielded())
                        shielded = True
        stopping.result()
        return request

    async def _stop_all(self, graceful: bool) -> None:
        groups, since = list(self._groups), time.monotonic()
        for group in groups:
            group.stop_restarts()
        if graceful:
            await self._drain(groups)
        for group in groups:
            if graceful and not self._failures:
                group.drain(since)
            else:
                group.stop()
        await _all(group.gone() for group in groups)
        if graceful:
            self._report(groups)
        for group in groups:
            group.release()

    def _report(self, groups: list[WorkerGroup]) -> None:
        for station in {s for group in groups for s in group.launch.stations}:
            expected = station.settings.joinable or station in self._consumed
            if expected and station.unfinished:
                logger.warning(
                    "the workers have ended, and %d items of queue %r are unfinished",
                    station.unfinished,
                    station.settings.name,
                )
        self._consumed.clear()

    async def _drain(self, groups: list[WorkerGroup]) -> None:
        longest = max((g.options.drain_timeout for g in groups), default=0.0)
        self._hurried = asyncio.Event()

        def workers() -> list[Worker]:
            return [worker for group in groups for worker in group.workers]

        def stations() -> set[HubStation]:
            found = {s for group in groups for s in group.launch.stations}
            self._consumed |= {station for station in found if station.consumed()}
            return found

        idle = asyncio.ensure_future(
            until_idle(workers, stations, time.monotonic() + _SHARE * longest)
        )
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait([idle, hurried], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (idle, hurried):
                task.cancel()
        await asyncio.gather(idle, hurried, return_exceptions=True)

    _hurried: asyncio.Event | None = None

    def _hurry(self) -> None:
        if self._hurried is not None:
            self._hurried.set()
        for group in self._groups:
            group.hurry()


def _station_of(handle: Handle) -> HubStation:
    station = handle.station
    while not isinstance(station, HubStation):
        station = station.behind  # type: ignore[attr-defined]
    return station


async def _all(waits: Iterable[Awaitable[None]]) -> None:
    for wait in waits:
        await wait


def _shielded() -> Any:
    # Under anyio a cancelled scope cancels again and again; that is one request.
    anyio = sys.modules.get("anyio")
    return nullcontext() if anyio is None else anyio.CancelScope(shield=True)
