"""What a worker knows of itself: ``current_worker()``."""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Callable

from ..drivers.transport import Wakeup

__all__ = ["CurrentWorker", "Stopping", "current_worker", "set_current_worker"]


class Stopping:
    """Whether this worker has been told to finish: a flag, and an event to await.

    True from the moment at which the supervisor wants the worker to drain, for
    whatever reason, or at which it received SIGTERM. From then on its queues hand
    nothing out any more; putting and settling go on.
    """

    def __init__(self) -> None:
        self._set = False
        self._wakeup: Wakeup | None = None
        self._events: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __bool__(self) -> bool:
        return self._set

    def __repr__(self) -> str:
        return f"<Stopping {'set' if self._set else 'not set'}>"

    def is_set(self) -> bool:
        """The flag."""
        return self._set

    async def wait(self) -> None:
        """Wait until the flag is set. Cancellation changes nothing."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        self._events.append(entry)
        try:
            if not self._set:
                await entry[1].wait()
        finally:
            self._events.remove(entry)

    def block(self, timeout: float | None = None) -> bool:
        """For plain functions: wait for ``timeout`` seconds at most; the flag."""
        if self._wakeup is None:
            self._wakeup = Wakeup()
        if not self._set:
            poller = select.poll()
            poller.register(self._wakeup.fileno(), select.POLLIN)
            poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
        return self._set

    def set(self) -> None:
        """Set it; also from a signal handler."""
        self._set = True
        if self._wakeup is not None:
            self._wakeup.set()
        for loop, event in list(self._events):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class CurrentWorker:
    """The supervised worker that this process is.

    Attributes:
        name: its name, unique in its group: the group's name and a number.
        group: the name of its group.
        attempt: how many processes have been started in its place, this one
            included; 1 for the first.
        stopping: whether it has been told to finish.
        logger: a logger of its own name, whose records arrive in the app.
    """

    def __init__(self, name: str, group: str, attempt: int) -> None:
        self.name = name
        self.group = group
        self.attempt = attempt
        self.stopping = Stopping()
        self.on_poke: Callable[[], object] | None = None
        #: What ends the target at once, in the place of an exception.
        self.on_leave: Callable[[], object] | None = None
        self._tell_ready: Callable[[], object] | None = None
        self.logger = logging.getLogger(f"aioprocq.worker.{name}")

    def __repr__(self) -> str:
        state = "stopping" if self.stopping else "running"
        return f"<worker {self.name!r} attempt={self.attempt} {state}>"

    def ready(self) -> None:
        """Say that this worker is ready, where it was started with ready="told".

        Otherwise, and after the first time, nothing happens.
        """
        tell, self._tell_ready = self._tell_ready, None
        if tell is not None:
            tell()


_current: tuple[int, CurrentWorker] | None = None


def current_worker() -> CurrentWorker:
    """The supervised worker that this process is.

    Raises RuntimeError in any other process, also in one that a worker forked.
    """
    if _current is None or _current[0] != os.getpid():
        raise RuntimeError(
            "this process is no supervised worker; call current_worker() in the "
            "target of Supervisor.start, or in what it calls"
        )
    return _current[1]


def set_current_worker(worker: CurrentWorker) -> None:
    """At the start of a worker."""
    global _current
    _current = (os.getpid(), worker)
