"""The exceptions of aioprocq, all of them under `AioprocqError`.

Each is also the exception that the standard library raises in the same place, so code
that was written for `asyncio.Queue` or `multiprocessing.Queue` catches it as it stands.

Raised with no argument, an exception carries its class's own message; every message
says what to do next. All of them survive pickling, with their notes.
"""

import asyncio
import queue
import sys
from typing import ClassVar, Self

__all__ = [
    "AioprocqError",
    "CannotTravel",
    "LoopMismatch",
    "OwnerLost",
    "ProtocolError",
    "QueueClosed",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "RemoteError",
    "WorkerCrashed",
    "WorkerError",
    "WorkerStartError",
    "WorkersExhausted",
]

if sys.version_info >= (3, 13):

    class _StandardShutDown(asyncio.QueueShutDown, queue.ShutDown):
        pass

else:

    class _StandardShutDown(Exception):
        pass


class AioprocqError(Exception):
    """The base of every exception that aioprocq defines."""

    _message: ClassVar[str] = "an operation of aioprocq failed; see its cause"

    # The message is looked up here rather than stored by an __init__: `args` stays what
    # the caller gave, which is what pickle rebuilds an exception from.
    def __str__(self) -> str:
        return super().__str__() if self.args else self._message


class QueueEmpty(AioprocqError, asyncio.QueueEmpty, queue.Empty):
    """No item was there: at once for a `get_nowait`, in time for a `get`.

    Nothing was taken from the queue.
    """

    _message = "the queue is empty: await get(), or allow a longer timeout"


class QueueFull(AioprocqError, asyncio.QueueFull, queue.Full):
    """There was no room: at once for a `put_nowait`, in time for a `put`.

    The item was not put.
    """

    _message = "the queue is full: await put(), or allow a longer timeout"


class QueueShutDown(AioprocqError, _StandardShutDown):
    """The queue was shut down.

    A `put` raises it from that moment on, and its item was not put. A `get` raises it
    once the queue holds nothing more. From Python 3.13 on it is also
    `asyncio.QueueShutDown` and `queue.ShutDown`.
    """

    _message = (
        "the queue has been shut down: stop putting, and leave the loop that gets"
    )


class OwnerLost(AioprocqError, ConnectionError):
    """The process that owns the queue is gone, or no longer listens.

    Every blocked call and every later one raises it, in every other process. What the
    queue held is gone with its owner.
    """

    _message = (
        "the process that owns the queue is gone: end this worker, or have the new "
        "owner hand over a new queue"
    )


class QueueClosed(AioprocqError, ValueError):
    """The handle was used after its `close()`, in this process."""

    _message = (
        "the queue is closed in this process: close it later, or use a handle that is "
        "still open"
    )


class LoopMismatch(AioprocqError, RuntimeError):
    """The call does not belong on this thread or on this event loop.

    Either a coroutine was awaited on another loop than the one the queue is bound to,
    or a call that may block was made on the thread of a running loop.
    """

    _message = (
        "the queue is bound to another event loop: use it on the loop that used it "
        "first; on a loop's thread await the coroutine instead of the blocking call"
    )


class CannotTravel(AioprocqError, RuntimeError):
    """A queue was pickled where its descriptors cannot go along."""

    _message = (
        "a queue cannot be pickled here: hand it over as an argument of the process "
        "that is to use it, or put it into another aioprocq queue"
    )


class ProtocolError(AioprocqError):
    """A message was not of the protocol: corrupt, oversized, or of an unknown kind.

    The connection it came on is closed and its process counts as dead; the queue and
    everyone else carry on.
    """

    _message = (
        "a message was not of aioprocq's protocol: check that both processes run the "
        "same version of aioprocq, and that nothing else writes to its descriptors"
    )


class WorkerError(AioprocqError, RuntimeError):
    """A supervised worker failed; its `__cause__` is what it raised, if it could."""

    _message = "a worker failed: see the cause, and the traceback in its notes"


class WorkerStartError(WorkerError):
    """No worker of a new group, or of a new generation, came to be ready.

    Its `__cause__` is what the worker raised, with the worker's traceback in a note.
    Nothing of the group is left running.
    """

    _message = "the worker did not start: see the cause, and start it again"


class WorkersExhausted(WorkerError):
    """A worker failed more often than its restart limit allows.

    It leaves through the `async with` of the supervisor, as from a task group.
    """

    _message = (
        "a worker failed too often: see the cause; raise max_restarts, or use "
        "on_exhausted='degrade' to keep the others"
    )


class WorkerCrashed(WorkerError):
    """The worker process that ran a job of a WorkerPool died.

    The other jobs go on, and so does the pool.

    Attributes:
        job: the name of the function that it ran.
        attempt: which attempt at the job this was, the first being 1.
        worker: the worker's name.
        status: how it ended, in words: "signal SIGSEGV", "exit code 3".
    """

    _message = "the worker process died; see its standard error, or use retries="

    job: str = ""
    attempt: int = 0
    worker: str = ""
    status: str = ""

    @classmethod
    def describe(cls, job: str, attempt: int, worker: str, status: str) -> Self:
        """The error for one job."""
        error = cls(
            f"worker {worker} died ({status}) while it ran {job}, attempt {attempt}; "
            "the pool replaces it. See its standard error; retries= repeats such "
            "jobs"
        )
        error.job, error.attempt = job, attempt
        error.worker, error.status = worker, status
        return error


class RemoteError(AioprocqError):
    """What a worker raised, where the exception itself cannot be pickled.

    Attributes:
        type_name: the qualified name of the exception's class, in the worker.
        message: what `str` gave for it there.
        notes: its notes, as they were.
        traceback: the rendered traceback, as the worker would have printed it.
    """

    _message = "a worker raised an exception that cannot be sent: see its traceback"

    type_name: str = ""
    message: str = ""
    notes: tuple[str, ...] = ()
    traceback: str = ""

    @classmethod
    def describe(
        cls, type_name: str, message: str, notes: tuple[str, ...], traceback: str
    ) -> Self:
        """The description of an exception that stayed where it was raised."""
        error = cls(f"{type_name}: {message}" if message else type_name)
        error.type_name = type_name
        error.message = message
        error.notes = notes
        error.traceback = traceback
        return error
