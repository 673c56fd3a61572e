"""A worker that runs many async jobs at once, on an event loop.

Invariants:

* A job has a slot of the board from before it starts until it has been settled. Until
  it starts it is held there: if the worker dies meanwhile, nothing has happened to it.
* Plain functions run in one thread, one at a time, and the loop goes on meanwhile.
* Nothing starts while the worker is condemned.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from ..drivers.station import Token
from ..errors import QueueShutDown
from ..supervisor.current import current_worker
from .calls import Call
from .current import CurrentJob, running_job
from .job_thread import JobThread, Raised
from .server import TIME_TO_THINK, Orders, Server, close_unstarted

__all__ = ["ConcurrentServer", "serve_many"]


async def serve_many(orders: Orders) -> None:
    """The target of such workers."""
    await ConcurrentServer(orders).run()


class _Withdrawn(Exception):
    """A job is not to be started any more."""


class ConcurrentServer(Server):
    """Serves up to ``concurrency`` jobs at once."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders)
        self._free = list(range(orders.concurrency))
        self._freed = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._in_thread: set[int] = set()
        self._cancelled: set[int] = set()  # slots whose job was told, once
        self._thread = JobThread("aioprocq-job")

    async def run(self) -> None:
        """Serve until the queue is shut down, or this worker is to leave."""
        current_worker().on_poke = self._poked
        self.begin()
        try:
            while True:
                slot = await self._slot()
                payload, token, _ = await self._take()
                job = self._serve(slot, payload, token)
                self._tasks[slot] = asyncio.create_task(job)
                await asyncio.sleep(0)
        except QueueShutDown:
            pass
        await asyncio.gather(*self._tasks.values())

    async def _slot(self) -> int:
        while not self._free or self.board.condemned:
            self._freed.clear()
            if self.board.condemned:
                await asyncio.sleep(TIME_TO_THINK)
            else:
                await self._freed.wait()
        return self._free.pop()

    async def _take(self) -> tuple[Any, Token, int]:
        got = self.jobs.station.take_delivery()
        if got is not None:
            return got
        take: Any = self.jobs.station.take_delivery
        return await self.orders.jobs._wait_to_get(take, None, None, linger=True)

    async def _serve(self, slot: int, payload: Any, token: Token) -> None:
        try:
            call = self.open(payload)
            if call is not None:
                await self._answer_call(slot, call)
            self.jobs.station.settle(token)
        finally:
            self.board.end(slot)
            self._cancelled.discard(slot)
            self._tasks.pop(slot, None)
            self._free.append(slot)
            self._freed.set()

    async def _answer_call(self, slot: int, call: Call) -> None:
        function = call.function
        try:
            self.board.hold(slot, call.ident)
            while not self._start(slot, call.ident):  # noqa: ASYNC110  # shared memory
                await asyncio.sleep(TIME_TO_THINK)
            function = self.find(function)
            context = self.context_of(call)
            context.run(running_job.set, CurrentJob(call.ident, self.board, slot))
            outcome = await self._call(slot, call, function, context)
        except BaseException as failure:
            if isinstance(failure, asyncio.CancelledError) and self._leaves(slot):
                raise
            outcome = Raised(failure)
        if not isinstance(outcome, Raised):
            self.answer_value(call.ident, function, outcome)
        elif isinstance(outcome.failure, _Withdrawn):
            self.answer_skipped(call.ident)
        else:
            self.answer_failure(call.ident, outcome.failure)

    def _leaves(self, slot: int) -> bool:
        # It is this task that was cancelled, and not what the job awaits; but not
        # because of the job.
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0
        return cancelled and not self.board.asked(slot)

    def _start(self, slot: int, ident: int) -> bool:
        # False: not now, as this worker is about to be killed for another job. It is
        # looked at after the job is on the board; see the invariant there.
        self.board.begin(slot, ident)
        if self.board.condemned:
            self.board.hold(slot, ident)
            return False
        if ident in self.orders.withdrawals:
            raise _Withdrawn
        self.board.started(slot)
        return True

    async def _call(
        self, slot: int, call: Call, function: Callable[..., Any], context: Context
    ) -> Any:
        # What it returns, or what it has raised.
        made = partial(function, *call.args, **(call.kwargs or {}))
        if not _is_async(function):
            value = await self._call_in_thread(slot, call.ident, made, context)
            if not inspect.isawaitable(value):
                return value
            if self.board.asked(slot):
                close_unstarted(value)
                raise asyncio.CancelledError
        else:
            value = made()
        try:
            return await asyncio.create_task(self._outcome(value), context=context)
        finally:
            close_unstarted(value)

    async def _outcome(self, awaitable: Any) -> Any:
        # The child of a job leaves here: one more turn of the loop would be a step of
        # all others, too.
        try:
            value = await awaitable
        except (SystemExit, KeyboardInterrupt) as failure:
            # From a task these would go through the loop, and end the worker.
            self.leave_if_forked(failure)
            return Raised(failure)
        except BaseException as failure:
            self.leave_if_forked(failure)
            raise
        self.leave_if_forked()
        return value

    async def _call_in_thread(
        self, slot: int, ident: int, made: Callable[[], Any], context: Context
    ) -> Any:
        def call() -> Any:
            while not self._start(slot, ident):
                time.sleep(TIME_TO_THINK)
            try:
                value = context.run(made)
            except BaseException as failure:
                self.leave_if_forked(failure)
                raise
            self.leave_if_forked()
            return value

        # It has its turn after those before it: until then it can go elsewhere.
        self.board.hold(slot, ident)
        self._in_thread.add(slot)
        try:
            return await self._thread.run(call)
        finally:
            self._in_thread.discard(slot)

    def _poked(self) -> None:
        self.board.heard()
        for slot, task in list(self._tasks.items()):
            # A thread cannot be interrupted: the pool will kill this worker.
            untold = slot not in self._in_thread and slot not in self._cancelled
            if untold and self.board.asked(slot):
                self._cancelled.add(slot)
                task.cancel()


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):  # an instance is made, and may be async to call
        return False
    call = getattr(function, "__call__", None)  # noqa: B004  # of an object, maybe async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
