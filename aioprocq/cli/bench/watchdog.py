"""An end to a blocking call that has none of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from aioprocq.cli.bench.model import BenchError

__all__ = ["watchdog"]


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise `BenchError` in the body when it takes longer; main thread only.

    Others' queues are called as their users call them: a timeout at each call
    would measure a different code path of theirs.
    """

    def expire(number: int, frame: FrameType | None) -> None:
        raise BenchError(f"a round did not end within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, expire)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)
        signal.signal(signal.SIGALRM, before)
