"""A worker that runs many async jobs at once, on an event loop.

Invariants:

* A job has a slot of the board from before it starts until it has been settled.
* Plain functions run in one thread, one at a time, and the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial
from typing import Any

from ..drivers.station import Token
from ..errors import QueueShutDown
from ..supervisor.current import current_worker
from .calls import Call
from .current import CurrentJob, running_job
from .server import Orders, Server

__all__ = ["ConcurrentServer", "serve_many"]


async def serve_many(orders: Orders) -> None:
    """The target of such workers."""
    await ConcurrentServer(orders).run()


class ConcurrentServer(Server):
    """Serves up to ``concurrency`` jobs at once."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders)
        self._free = list(range(orders.concurrency))
        self._freed = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._in_thread: set[int] = set()
        self._thread = ThreadPoolExecutor(1, "aioprocq-job")

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
        self._thread.shutdown()

    async def _slot(self) -> int:
        while not self._free or self.board.condemned:
            self._freed.clear()
            if self.board.condemned:
                await asyncio.to_thread(self.pause)
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
            if call is not None and self.may_start(call.ident, slot):
                await self._answer_call(slot, call)
            self.jobs.station.settle(token)
        finally:
            self.board.end(slot)
            self._tasks.pop(slot, None)
            self._free.append(slot)
            self._freed.set()

    async def _answer_call(self, slot: int, call: Call) -> None:
        function = call.function
        try:
            function = self.find(function)
            context = self.context_of(call)
            context.run(running_job.set, CurrentJob(call.ident, self.board, slot))
            value = await self._call(slot, call, function, context)
        except BaseException as failure:
            if current_worker().stopping and not self.board.asked(slot):
                raise  # the order to leave
            self.answer_failure(call.ident, failure)
        else:
            self.answer_value(call.ident, function, value)

    async def _call(
        self, slot: int, call: Call, function: Callable[..., Any], context: Context
    ) -> Any:
        made = partial(function, *call.args, **(call.kwargs or {}))
        if _is_async(function):
            return await asyncio.create_task(_awaited(made()), context=context)
        self._in_thread.add(slot)
        try:
            loop = asyncio.get_running_loop()
            value = await loop.run_in_executor(self._thread, context.run, made)
        finally:
            self._in_thread.discard(slot)
        if inspect.isawaitable(value):
            return await asyncio.create_task(_awaited(value), context=context)
        return value

    def _poked(self) -> None:
        self.board.heard()
        for slot, task in list(self._tasks.items()):
            # A thread cannot be interrupted: the pool will kill this worker.
            if self.board.asked(slot) and slot not in self._in_thread:
                task.cancel()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004  # of an object, maybe async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
