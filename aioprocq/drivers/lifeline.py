"""No worker, and no descendant of it in its process group, outlives the app.

A lifeline is a pipe that nobody writes to. The app keeps the writing end; the worker
has asked the kernel to kill its whole group when something happens at the reading
end, and all that can happen is that the last writing end closes.

- The kernel does it: a worker inside a long C call dies as promptly as any other.
- Only the app has the writing end: it is not inherited through exec, and forked
  children of the app close theirs at once.
- Only a process that leads its own group is armed: no other group is ever killed.

Where the kernel cannot be asked for SIGKILL, `KERNEL_KILLS` is False and a handler
of SIGIO does it, between two bytecodes of the worker.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import weakref

from .transport import opening

__all__ = ["KERNEL_KILLS", "Lifeline", "hold"]

KERNEL_KILLS = sys.platform.startswith("linux")
"""Whether the kernel sends the SIGKILL itself."""

_SET_SIGNAL = getattr(fcntl, "F_SETSIG", 10)
_ASYNC = getattr(os, "O_ASYNC", 0o20000)


class Lifeline:
    """The app's end. Closing it kills the worker that holds the other."""

    __slots__ = ("__weakref__", "_near", "far")

    def __init__(self) -> None:
        with opening:  # no fork between the pipe and its being known
            self.far, self._near = os.pipe()
            _lifelines.add(self)

    def close_far(self) -> None:
        """Close the end that the worker has now. May be called twice."""
        if self.far >= 0:
            os.close(self.far)
            self.far = -1

    def close(self) -> None:
        """Close all of it. May be called twice."""
        self.close_far()
        if self._near >= 0:
            os.close(self._near)
            self._near = -1

    def __repr__(self) -> str:
        return f"<Lifeline {'open' if self._near >= 0 else 'closed'}>"


_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked sibling of the workers that kept a writing end would keep them alive."""
    for lifeline in list(_lifelines):
        lifeline.close()


os.register_at_fork(after_in_child=_close_in_child)


def hold(number: int, parent: int) -> None:
    """In a worker: die with the process ``parent``, which has the other end.

    ``number`` is the reading end, which stays open. RuntimeError: this process does
    not lead a process group.
    """
    group = os.getpgrp()
    if group != os.getpid():
        raise RuntimeError("only the leader of a process group can hold a lifeline")
    os.set_inheritable(number, False)
    if KERNEL_KILLS:
        fcntl.fcntl(number, _SET_SIGNAL, signal.SIGKILL)
    else:
        signal.signal(signal.SIGIO, lambda *_: _kill_if_cut(number, group))
    fcntl.fcntl(number, fcntl.F_SETOWN, -group)
    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    fcntl.fcntl(number, fcntl.F_SETFL, flags | _ASYNC)
    # The parent may have died before, when there was nobody to be told.
    if os.getppid() != parent:
        _kill(group)
    _kill_if_cut(number, group)


def _kill_if_cut(number: int, group: int) -> None:
    poller = select.poll()
    poller.register(number, 0)
    if any(events & select.POLLHUP for _, events in poller.poll(0)):
        _kill(group)


def _kill(group: int) -> None:
    os.killpg(group, signal.SIGKILL)
