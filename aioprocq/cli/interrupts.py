"""Ctrl-C belongs to the app, and never to its workers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

__all__ = ["interrupts_blocked"]

_QUIET = "ignore:resource_tracker:UserWarning"


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """A process that multiprocessing starts meanwhile never sees SIGINT.

    The mask is inherited through exec, so there is no moment in its start at
    which Ctrl-C would still print a traceback. One that arrives here meanwhile is
    delivered on leaving.
    """
    # Otherwise the first start would start the tracker, which unblocks SIGINT.
    _start_tracker()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    # It removes what those who were killed have left; that they were is no news.
    sys.warnoptions.append(_QUIET)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(_QUIET)
