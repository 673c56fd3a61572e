"""How a coroutine waits, and how a thread does.

Invariants:

* A waiter is woken at most once for each time that it waits.
* ``wake`` may be called from any thread and never blocks.
* Of the threads that wait on one station at most one, the leader, waits on the
  sockets. The others wait for it, and one of them takes over when it leaves.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from asyncio import _get_running_loop as running_loop
from asyncio import _set_running_loop
from collections.abc import Callable

from ..machines.record import Waiter

__all__ = ["FutureWaiter", "ThreadWaiter", "running_loop"]


if sys.version_info < (3, 12):
    # In the child of a process whose loop runs no loop does, and asyncio knows it. But
    # until it is told so, as it tells itself from 3.12 on, each ``running_loop`` asks
    # the kernel for the process's number, which takes longer than all the rest of it.
    os.register_at_fork(after_in_child=lambda: _set_running_loop(None))


class FutureWaiter(Waiter):
    """Waits in a coroutine."""

    __slots__ = ("future", "loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        size: int = 0,
        linger: bool = False,
    ) -> None:
        super().__init__(size=size, linger=linger)
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        """Let the coroutine go on."""
        if running_loop() is self.loop:
            self._set()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class ThreadWaiter(Waiter):
    """Waits in a thread."""

    __slots__ = ("_nudge", "_signal", "signalled")

    def __init__(
        self,
        nudge: Callable[[Waiter], None],
        *,
        size: int = 0,
        linger: bool = False,
    ) -> None:
        super().__init__(size=size, linger=linger)
        self.signalled = False
        self._nudge = nudge
        self._signal = threading.Lock()
        self._signal.acquire()

    def wake(self) -> None:
        """Let the thread go on, wherever it waits."""
        self.signalled = True
        self.alert()

    def alert(self) -> None:
        """Let the thread look around, without having been woken."""
        self._nudge(self)
        try:
            self._signal.release()
        except RuntimeError:
            pass  # it has been alerted already

    def sleep(self, timeout: float) -> None:
        """Wait until woken or alerted; a negative timeout is none."""
        self._signal.acquire(timeout=timeout)
