"""Who waits for a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import RemoteError
from ..machines.jobs import Job
from ..supervisor.remote import notes_of, text_of
from .calls import name_of

if TYPE_CHECKING:
    from .board import Board

__all__ = ["JobFuture", "Owner", "Tag", "presentable"]


class Owner(Protocol):
    """The pool, as its futures see it."""

    def abandon(self, job: Job) -> None:
        """Nobody waits for a job any more."""


class Tag(Protocol):
    """Whoever submitted a job."""

    job: Job | None
    since: float
    values: dict[int, Any] | None
    """Those of context variables, when it was sent first; None before that."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function that is called."""

    @property
    def name(self) -> str:
        """The name of the function."""

    def succeed(self, value: Any) -> None:
        """It has returned."""

    def crash(self, failure: BaseException) -> None:
        """It has failed."""

    def part(self, data: Any) -> None:
        """Some results of a chunk."""

    def weigh(self, size: int) -> None:
        """Its answer, or a part of it, has come, and is large: so many bytes."""

    def skipped(self) -> None:
        """It was recalled before it was started."""

    def worker_died(self, board: Board | None) -> None:
        """Its worker died while it ran; it may be repeated."""

    def rest(self) -> list[Any] | None:
        """The inputs that a repeated job is to have; None: those that it had."""

    def cancel(self) -> bool:
        """The pool is closed."""


class JobFuture(asyncio.Future[Any]):
    """What ``submit`` gives: cancelling it cancels the job."""

    values: dict[int, Any] | None = None

    def __init__(
        self,
        pool: Owner,
        function: Callable[..., Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop=loop)
        self._pool = pool
        self.function = function
        self.job: Job | None = None
        self.since = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of(self.function)

    def expire_after(self, seconds: float) -> None:
        """Give up after so many seconds, with TimeoutError."""
        loop = self.get_loop()
        self._timer = loop.call_later(seconds, self._expire, seconds)

    def _expire(self, seconds: float) -> None:
        if not self.done():
            job = self.job
            self.crash(
                TimeoutError(
                    f"{self.name} had not returned after {seconds:g} s; allow a longer "
                    "timeout, or look at what it waits for"
                )
            )
            self.job = job
            self._give_up()

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the job; False if it is over."""
        if not super().cancel(msg):
            return False
        self._stop_timer()
        self._give_up()
        return True

    def _give_up(self) -> None:
        job, self.job = self.job, None
        if job is not None:
            self._pool.abandon(job)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def succeed(self, value: Any) -> None:
        """It has returned."""
        self.job = None
        if not self.done():
            self.set_result(value)
        if self._timer is not None:
            self._stop_timer()

    def crash(self, failure: BaseException) -> None:
        """It has failed."""
        if not self.done():
            self.set_exception(presentable(failure))
            self.job = None
        self._stop_timer()

    def part(self, data: Any) -> None:
        """Only chunks have parts."""

    def weigh(self, size: int) -> None:
        """It is its caller's."""

    def skipped(self) -> None:
        """Only chunks are recalled."""

    def worker_died(self, board: Any) -> None:
        """There is nothing to save."""

    def rest(self) -> list[Any] | None:
        """It is repeated as it was."""
        return None


def presentable(failure: BaseException) -> BaseException:
    """What may be raised where the job is awaited.

    SystemExit would end the app, CancelledError look like a cancellation of the caller,
    and StopIteration or StopAsyncIteration end a loop around it.
    """
    stop = (StopIteration, StopAsyncIteration)
    if isinstance(failure, Exception) and not isinstance(failure, stop):
        return failure
    error = RemoteError.describe(
        type(failure).__qualname__,
        text_of(failure),
        notes_of(failure),
        "",
    )
    for note in error.notes:
        error.add_note(note)
    error.__cause__ = failure
    return error
