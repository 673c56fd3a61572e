"""What a pool does with its jobs: sending them, and hearing what became of them.

Invariants:

* Every job that was submitted is resolved once: with its result, with what it raised,
  with WorkerCrashed, as timed out, or as cancelled.
* An answer reaches the call that it answers, or nobody.
* When a worker's end is heard, all that it had answered has been dealt with before.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import _get_running_loop as running_loop
from collections.abc import Callable
from typing import Any, Literal

from ..errors import WorkerCrashed, WorkerError
from ..machines.jobs import Fate, Job, Jobs, JobState
from ..machines.restart import ExitReason
from ..queues.checks import check_timeout
from ..queues.joinable import JoinableQueue
from ..supervisor.events import WorkerEvent
from ..wire.payload import Payload
from .answers import Answers
from .board import MOST_JOBS
from .calls import References, draft_call, ident_of
from .context import find_variables, values_of
from .crew import Crew
from .future import Tag

__all__ = ["Dispatching", "check_patience"]

_WINDOW = 64
_LEAST_WINDOW = 256
_FAILED_STARTS = 3


class Dispatching:
    """The jobs of a pool, which starts the crew and the answers."""

    _queue: JoinableQueue[Any]
    _station: Any
    _crew: Crew
    _answers: Answers

    def __init__(
        self, count: int, retries: int, concurrency: int, context: tuple[str, ...]
    ) -> None:
        self._count = count
        self._state: Literal["new", "running", "draining", "closed"] = "new"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        window = max(
            _LEAST_WINDOW, _WINDOW * self._count, 2 * self._count * concurrency
        )
        window = min(window, MOST_JOBS)
        self._jobs = Jobs(window, retries)
        self._idents = itertools.count(1)
        self._references = References()
        self._variables = find_variables(context)
        self._payloads: dict[int, Payload] = {}
        # Those that were sent may have to be sent again: jobs that are repeated, and
        # in a worker that takes several those that it had not started when it died.
        self._keeps_payloads = retries > 0 or concurrency > 1
        self._failed_starts = 0
        self._no_worker: BaseException | None = None
        self._idle: asyncio.Future[None] | None = None

    def send(
        self,
        tag: Tag,
        function: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any] | None,
    ) -> int:
        """Submit a job for whoever ``tag`` is: the bytes of its call.

        Raises what the pickler raises, and WorkerError.
        """
        if (
            self._state != "running"
            or self._no_worker is not None
            or running_loop() is not self._loop
        ):
            raise self._refusal()
        if not callable(function):
            raise TypeError(
                f"a function is needed, not {type(function).__name__}; give its "
                "arguments after it"
            )
        ident = next(self._idents)
        values = tag.values
        if values is None and self._variables:
            # Those of whoever waits for it: somebody else may send it again.
            values = tag.values = values_of(self._variables)
        station = self._station
        draft = draft_call(
            ident, self._references.of(function), args, kwargs or None, values
        )
        payload = draft if type(draft) is bytes else station.pack(draft)
        job, now = self._jobs.submit(ident, tag)
        tag.job = job
        if self._keeps_payloads or not now:
            self._payloads[ident] = payload
        if now:
            self._put(payload)
            if len(self._jobs.sent) == 1:
                # With others at work a core may not be free to wait on.
                self._answers.expect()
        return len(draft) if isinstance(draft, bytes) else draft.size

    def _put(self, payload: Payload) -> None:
        station = self._station
        if station.quick > 0 and type(payload) is bytes:
            station.quick -= 1
            station.fresh.append(payload)
        else:
            station.put(payload)

    def fill(self) -> None:
        """Send what there is room for now."""
        while (job := self._jobs.next()) is not None:
            payload = self._payloads[job.ident]
            if not self._keeps_payloads:
                del self._payloads[job.ident]
            self._put(payload)
        if not self._jobs.unfinished:
            self._look_again()

    def _look_again(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def forget(self, ident: int) -> None:
        """A job is over."""
        self._payloads.pop(ident, None)

    def abandon(self, job: Job) -> None:
        """Nobody waits for a job any more."""
        if self._jobs.abandon(job):
            if self._state != "closed":
                self._crew.withdraw(job.ident)
        else:
            self.forget(job.ident)
            self.fill()

    def recall(self, job: Job) -> None:
        """A job is not to be started; if it runs, it goes on."""
        if job.state is JobState.WAITING:
            self.abandon(job)
            job.tag.skipped()
        elif job.state is JobState.SENT and self._state != "closed":
            self._crew.recall(job.ident)

    def began(self, job: Job) -> float | None:
        """When a job began, on the monotonic clock; None: it does not run."""
        return self._crew.began(job.ident)

    def _refusal(self) -> BaseException:
        if self._state != "running":
            return WorkerError(
                f"the pool is {self._state}; submit jobs inside of its `async with`"
            )
        if self._no_worker is not None:
            return self._no_worker_starts(self._no_worker)
        return WorkerError(
            "a pool is used on the event loop that entered it; from another thread "
            "use pool.executor.submit()"
        )

    def _no_worker_starts(self, cause: BaseException) -> WorkerError:
        error = WorkerError(
            "no worker of this pool starts; see the cause. The pool goes on trying"
        )
        error.__cause__ = cause
        return error

    # What the supervisor tells

    def _hear(self, event: WorkerEvent) -> None:
        if event.kind == "ready":
            self._failed_starts, self._no_worker = 0, None
        elif event.kind == "exited":
            self._exited(event)

    def _exited(self, event: WorkerEvent) -> None:
        self._answers.take_all()
        board = self._crew.gone(event.pid)
        for held in event.held:
            if held.queue == self._queue.name:
                self._lost(ident_of(held._payload), event, board)
        if board is not None:
            board.close()
        self._station.forget_dead()
        if event.reason in (ExitReason.BOOT_FAILED, ExitReason.START_TIMED_OUT):
            self._failed_to_start(event)
        self.fill()

    def _lost(self, ident: int, event: WorkerEvent, board: Any) -> None:
        job = self._jobs.sent.get(ident)
        started = board is None or not board.holds(ident)
        if started and job is not None and job.state is JobState.SENT:
            job.tag.worker_died(board)
        job, fate = self._jobs.lost(ident, started=started)
        if fate is not Fate.RETRIED:
            self.forget(ident)
        elif job is not None and started:
            self._send_only_the_rest(job)
        if job is not None and fate is Fate.CRASHED:
            job.tag.crash(
                WorkerCrashed.describe(
                    job.tag.name, job.attempt, event.worker, event.status
                )
            )

    def _send_only_the_rest(self, job: Job) -> None:
        # Of a chunk, what has its result is not called again.
        tag = job.tag
        rest = tag.rest()
        if rest is None:
            return
        reference = self._references.of(tag.function)
        draft = draft_call(job.ident, reference, rest, None, tag.values)
        packed = draft if type(draft) is bytes else self._station.pack(draft)
        self._payloads[job.ident] = packed

    def _failed_to_start(self, event: WorkerEvent) -> None:
        if self._crew.group is None or self._crew.ready:
            self._failed_starts = 0  # others go on, or nobody waits for anything yet
            return
        self._failed_starts += 1
        if self._failed_starts < _FAILED_STARTS * self._count:
            return
        failure = event.failure or WorkerError(f"{event.worker}: {event.status}")
        self._no_worker = failure
        for job in self._jobs.all_wanted():
            self.abandon(job)  # if a worker starts after all, it is not to run
            job.tag.crash(self._no_worker_starts(failure))
        self._look_again()


def check_patience(timeout: object) -> float | None:
    """Seconds that a call may take, as queues take them; None: as long as it takes."""
    if timeout is None or check_timeout(timeout) is None:
        return None
    return max(0.0, float(timeout))  # type: ignore[arg-type]  # it is a number
