"""What every worker of a pool does: open calls, find functions, send answers.

Invariants:

* A call is settled after its answer was put. A worker that dies in between has
  answered; one that dies before has not, and the pool is told what it held.
* Deliveries come as payloads, never unpickled ahead, so that a job that cannot be
  unpickled is known by its number.
* Before a job starts it is on the board, and it was not withdrawn.
* Whatever a job raises is its answer, but for the order to leave.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, cast

from ..queues.joinable import JoinableQueue
from ..queues.queue import Queue
from ..supervisor.boot import Leave
from ..supervisor.current import current_worker
from ..supervisor.remote import Failure
from ..wire.payload import Payload
from .board import Board, Withdrawals
from .calls import (
    FAILED,
    HELLO,
    SKIPPED,
    Call,
    Functions,
    add_note,
    draft_answer,
    ident_of,
    name_of,
    unopened,
)
from .context import find_variables

__all__ = [
    "TIME_TO_THINK",
    "Orders",
    "Server",
    "close_unstarted",
    "loop_factory",
    "not_sent",
]

TIME_TO_THINK = 0.02
"""Seconds between two looks whether the pool has killed this worker, or will not."""


_forks = 0


def _note_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_note_fork)


@dataclass(frozen=True, slots=True)
class Orders:
    """What every worker of a pool is told."""

    jobs: JoinableQueue[Any]
    answers: Queue[Any]
    withdrawals: Withdrawals
    concurrency: int
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    context: tuple[str, ...]
    loop: str | None


class Server:
    """What the plain worker and the concurrent one have in common."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.jobs = orders.jobs._handle
        self.board = Board(None, orders.concurrency)
        self._answers = orders.answers._handle
        self._functions = Functions()
        self._variables = find_variables(orders.context)
        self._forks = _forks

    def begin(self) -> None:
        """Initialize, say who this is, and be ready."""
        if self.orders.initializer is not None:
            self.orders.initializer(*self.orders.initargs)
        self.answer((0, HELLO, (os.getpid(), self.board)))
        current_worker().ready()

    def answer(self, answer: tuple[Any, ...]) -> None:
        """Send an answer, however large."""
        self.send(self.pack(answer))

    def send(self, payload: Payload) -> None:
        """Send an answer that was packed."""
        self.leave_if_forked()
        self._answers.station.put(payload)

    def pack(self, answer: tuple[Any, ...]) -> Payload:
        """An answer as it travels; raises what the pickler raises."""
        return self._answers.station.pack(draft_answer(answer))

    def open(self, payload: Any) -> Call | None:
        """A call; None if it does not unpickle, and was answered so."""
        try:
            return Call(*cast("tuple[Any, ...]", self.jobs.station.open(payload)))
        except Leave:
            raise
        except BaseException as failure:
            unopened(failure)
            self.answer((ident_of(payload), FAILED, Failure.capture(failure)))
            return None

    def may_start(self, ident: int, slot: int) -> bool:
        """Put a job on the board; False: it was withdrawn."""
        self.board.begin(slot, ident)
        if ident not in self.orders.withdrawals:
            return True
        self.answer_skipped(ident)
        return False

    def find(self, reference: object) -> Callable[..., Any]:
        """The function to call."""
        return self._functions.find(reference)

    def context_of(self, call: Call) -> Context:
        """A context for one job, with the variables that came with it."""
        context = copy_context()
        if call.values:
            for place, value in call.values.items():
                context.run(self._variables[place].set, value)
        return context

    def answer_value(self, ident: int, function: object, value: object) -> None:
        """Answer with a result, or say why it cannot be sent."""
        try:
            payload = self.pack((ident, value))
        except Leave:
            raise
        except BaseException as failure:
            add_note(failure, not_sent(function))
            self.answer_failure(ident, failure)
        else:
            self.send(payload)

    def answer_skipped(self, ident: int) -> None:
        """Answer that a job was not started, as nobody waits for it."""
        self.answer((ident, SKIPPED, None))

    def answer_failure(self, ident: int, failure: BaseException) -> None:
        """Answer with what a job raised."""
        self.leave_if_forked(failure)
        self.answer((ident, FAILED, Failure.capture(failure)))

    def leave_if_forked(self, failure: BaseException | None = None) -> None:
        """End the child of a job that has come back from the job's call.

        The answer is its parent's to give, and the next job its parent's to take.
        """
        if _forks == self._forks:
            return
        status: object = 0
        if isinstance(failure, SystemExit):
            status = failure.code or 0
        elif failure is not None:
            traceback.print_exception(failure)
            status = 1
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    def pause(self) -> None:
        """Start nothing while the pool is about to kill this worker."""
        stopping = current_worker().stopping
        while self.board.condemned and not stopping:
            stopping.block(TIME_TO_THINK)


def close_unstarted(awaitable: object) -> None:
    """Close a coroutine of a job that was cancelled before its first step."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()


def not_sent(function: object) -> str:
    """The note of what was raised when a result was pickled."""
    return (
        f"aioprocq: {name_of(function)} has returned, and its result could not be sent"
    )


def loop_factory(loop: str | None) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """How a worker makes its event loop."""
    if loop != "uvloop":
        return None
    uvloop = importlib.import_module("uvloop")
    return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)
