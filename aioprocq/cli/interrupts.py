"""Ctrl-C belongs to the app, and never to its workers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["interrupts_blocked"]


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """A process that multiprocessing starts meanwhile never sees SIGINT.

    The mask is inherited through exec, so there is no moment in its start at
    which Ctrl-C would still print a traceback. One that arrives here meanwhile is
    delivered on leaving.
    """
    # Otherwise the first start would start the tracker, which unblocks SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
