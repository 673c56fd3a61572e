"""A worker that runs one job at a time, in its main thread.

Invariants:

* The results of a chunk are in the outbox, or sent, as soon as they are computed.
* ``_task`` is the job that runs on the event loop, and None while none does.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..errors import AioprocqError, CannotTravel, QueueShutDown
from ..supervisor.boot import TERMINATED, Leave
from ..supervisor.current import current_worker
from ..supervisor.remote import Failure
from ..wire.payload import Payload
from .board import Board
from .calls import PART, Call, add_note, pack_record, pickles, unopened
from .current import CurrentJob, running_job
from .server import Orders, Server, close_unstarted, loop_factory, not_sent

__all__ = ["PlainServer", "serve"]

PART_TIME = 0.05
"""Seconds after which results of a chunk are sent, although more are to come."""

LONGEST = 0.1
"""Seconds after which no more calls of a chunk are made: others may have time."""


_PLAIN = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})
"""Types of results that need no look whether they can be awaited."""


def serve(orders: Orders) -> None:
    """The target of such workers."""
    PlainServer(orders).run()


class PlainServer(Server):
    """Serves plain functions, and async ones one by one."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders)
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._told: asyncio.Task[Any] | None = None
        self._leaving = False
        self._left: object = None  # what was awaited when something was raised there
        self._job = CurrentJob(0, self.board, 0)
        running_job.set(self._job)

    def run(self) -> None:
        """Serve until the queue is shut down, or this worker is to leave."""
        current_worker().on_poke = self._poked
        self.begin()
        try:
            while True:
                got = self.jobs.station.take_delivery()
                if got is None:
                    got = self._wait()
                self._serve(got[0])
                # What is large is given back at once; of the rest the owner hears.
                self.jobs.station.settle(got[1], report=type(got[0]) is not bytes)
                self.board.end(0)
                if self.board.condemned:
                    self.pause()
        except QueueShutDown:
            pass
        finally:
            if self._runner is not None:
                self._runner.close()
            close_unstarted(self._left)

    def _wait(self) -> Any:
        take = self.jobs.station.take_delivery
        return self.orders.jobs.sync._wait(take, None, True, None, linger=True)

    def _serve(self, payload: Any) -> None:
        call = self.open(payload)
        if call is None or not self.may_start(call.ident, 0):
            return
        self._job.ident = call.ident
        function = call.function
        try:
            function = self.find(function)
            context = self.context_of(call)
            if type(call.args) is not tuple:
                Chunk(self, call, function, context).run()
                return
            value = self.call(function, call.args, call.kwargs, context)
        except (Leave, _PoolGone):
            raise
        except BaseException as failure:
            self.answer_failure(call.ident, failure)
        else:
            self.answer_value(call.ident, function, value)

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        context: Context,
    ) -> Any:
        """What a function returns, or what it returns returns when awaited."""
        if kwargs:
            value = context.run(function, *args, **kwargs)
        else:
            value = context.run(function, *args)
        if type(value) not in _PLAIN and inspect.isawaitable(value):
            return self._run_async(value, context)
        return value

    def _run_async(self, awaitable: Any, context: Context) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=loop_factory(self.orders.loop))
        loop = self._runner.get_loop()

        async def wait() -> Any:
            return await awaitable

        # What the handler raised would come up anywhere in the job, or in its loop.
        current_worker().on_leave = self._leave_job
        task = self._task = loop.create_task(wait(), context=context)
        # Both may have come before there was a task that could be cancelled.
        if self._leaving or self.board.asked(0):
            self._cancel_job()
        try:
            return loop.run_until_complete(task)
        finally:
            current_worker().on_leave = None
            self._task = self._told = None
            if task.done():
                close_unstarted(awaitable)
            else:  # a signal's handler of the app has raised
                task.cancel()
                self._left = awaitable
            if self._leaving:
                raise Leave(TERMINATED)

    def _poked(self) -> None:
        # In a signal's handler, between any two steps of Python.
        self.board.heard()
        if self.board.asked(0):
            self._cancel_job()

    def _leave_job(self) -> None:
        # Likewise.
        self._leaving = True
        self._cancel_job()

    def _cancel_job(self) -> None:
        task = self._task
        if task is not None and task is not self._told:
            self._told = task  # once: its cleanup is not to be cancelled, too
            task.get_loop().call_soon_threadsafe(task.cancel)


class _PoolGone(Exception):
    """An answer could not be sent."""


class Chunk:
    """Calls of one function with one argument each.

    The answer has results for the first of them, and for all unless it took long.
    """

    def __init__(
        self,
        server: PlainServer,
        call: Call,
        function: Callable[..., Any],
        context: Context,
    ) -> None:
        self._server = server
        self._call = call
        self._function = function
        self._context = context
        self._ident = call.ident
        self._board: Board = server.board
        self._sent = 0

    def run(self) -> None:
        """Make the calls, keeping each result, and answer."""
        board, args = self._board, self._call.args
        if packed := type(args) is bytes:
            args = pickles(args)
        board.empty_outbox(self._ident, 0)
        began = sent = time.monotonic()
        for done, argument in enumerate(args, 1):
            record = self._record(done, argument, packed=packed)
            now = time.monotonic()
            if type(record) is not bytes:
                self._send_alone(done, record)
                sent = now
            elif not (kept := board.keep(record)) or now - sent > PART_TIME:
                self._send_part(done, b"" if kept else record)
                sent = now
            if board.condemned == self._ident or board.asked(0):
                break  # nobody wants the rest
            if now - began > LONGEST:
                break
        elapsed = time.monotonic() - began
        self._answer((self._ident, (self._sent, board.kept(), elapsed)))

    def _record(self, done: int, argument: Any, *, packed: bool) -> Payload:
        # In bytes; or what else is an answer by itself.
        opened = returned = False
        try:
            if packed:
                argument = pickle.loads(argument)
            opened = True
            context = self._context.copy()  # what one call sets is not for the next
            value = self._server.call(self._function, (argument,), None, context)
            self._server.leave_if_forked()
            returned = True
            return self._pack(done, value)
        except Leave:
            raise
        except BaseException as failure:
            self._server.leave_if_forked(failure)
            if returned:
                add_note(failure, not_sent(self._function))
            elif not opened:
                unopened(failure)
            return pack_record(Failure.capture(failure))

    def _pack(self, done: int, value: object) -> Payload:
        try:
            return pack_record(value)
        except CannotTravel:  # in a record: there is a queue in it
            return self._server.pack((self._ident, PART, (done - 1, [value])))

    def _send_alone(self, done: int, answer: Payload) -> None:
        if self._sent < done - 1:
            self._send_part(done - 1, b"")
        self._send(answer)
        self._sent = done
        self._board.empty_outbox(self._ident, done)

    def _send_part(self, done: int, more: bytes) -> None:
        data = self._board.kept() + more
        self._answer((self._ident, PART, (self._sent, data)))
        self._sent = done
        self._board.empty_outbox(self._ident, done)

    def _answer(self, answer: tuple[Any, ...]) -> None:
        self._send(self._server.pack(answer))

    def _send(self, answer: Payload) -> None:
        try:
            self._server.send(answer)
        except AioprocqError as failure:
            raise _PoolGone from failure
