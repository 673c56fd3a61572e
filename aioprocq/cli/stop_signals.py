"""Ctrl-C and SIGTERM, once and twice.

- The first asks the app to stop; the second ends the process at once. The kernel
  ends its workers with it, whatever they do.
- Python's own handlers, and not the event loop's: they run also while the loop is
  held up by a terminal or a pipe that takes nothing.
- A signal that was ignored when the process started stays ignored, as in a shell's
  background job.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

__all__ = ["StopSignals"]

_HEEDED = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Calls `stop` on the running loop at the first, `last_words` before the end."""

    def __init__(
        self, stop: Callable[[], object], last_words: Callable[[], object]
    ) -> None:
        self.received: int | None = None
        self._stop = stop
        self._last_words = last_words
        self._before: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def exit_code(self) -> int | None:
        """What a shell expects after the signal; None: there was none."""
        return None if self.received is None else 128 + self.received

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in _HEEDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._heed)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _heed(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            try:
                self._last_words()
            finally:
                os._exit(128 + number)
        self.received = number
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop)
