"""How late an event loop is.

A callback is due every few milliseconds; whatever it comes late by, everything
else on that loop came late by too.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["LagMonitor"]

INTERVAL = 0.005


class LagMonitor:
    """Notes the worst lateness of the running loop while it is entered.

    `worst` is in seconds and may be read at any time; `record` gets every lateness.
    """

    def __init__(
        self, interval: float = INTERVAL, record: list[float] | None = None
    ) -> None:
        self.worst = 0.0
        self._record = record
        self._interval = interval
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> LagMonitor:
        self._schedule(asyncio.get_running_loop())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A stall right before the end has no callback of its own any more.
        self._note(asyncio.get_running_loop().time())
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __repr__(self) -> str:
        state = "running" if self._handle is not None else "stopped"
        return f"<LagMonitor {state} worst={self.worst * 1000:.2f}ms>"

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._interval
        self._handle = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._note(loop.time())
        self._schedule(loop)

    def _note(self, now: float) -> None:
        late = now - self._due
        self.worst = max(self.worst, late)
        if self._record is not None:
            self._record.append(late)
