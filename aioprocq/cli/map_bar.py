"""How far a map has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from aioprocq.cli.console import tell
from aioprocq.cli.progress import is_terminal, new_console

__all__ = ["Bar", "MapBar", "MapLines", "new_bar"]

REDRAW_INTERVAL = 0.1
LINE_INTERVAL = 5.0
"""Seconds between two lines in a file or a log."""


class Bar(Protocol):
    """Shows how many lines are done, and how many of them failed."""

    def update(self, done: int, failed: int) -> None:
        """Show it, unless that was done a moment ago."""

    def aside(self) -> Any:
        """Keep out of the way for as long as something else is written."""

    def close(self) -> None:
        """Show nothing more; twice is fine."""


class MapBar:
    """Lines done, lines failed and the speed, drawn with the package rich.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, stream: TextIO) -> None:
        rich: Any = importlib.import_module("rich.progress")
        self._bar = rich.Progress(
            rich.SpinnerColumn(),
            rich.TextColumn("{task.completed} lines{task.fields[failed]}"),
            rich.TextColumn("{task.fields[speed]} lines/s"),
            rich.TimeElapsedColumn(),
            console=new_console(stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None, failed="", speed="0")
        self._began = time.monotonic()
        self._next_draw = 0.0
        self._bar.start()

    def update(self, done: int, failed: int) -> None:
        """Draw, unless that was done a moment ago."""
        now = time.monotonic()
        if now < self._next_draw:
            return
        self._next_draw = now + REDRAW_INTERVAL
        self._bar.update(
            self._task,
            completed=done,
            failed=_failed(failed),
            speed=_speed(done, now - self._began),
        )
        self._bar.refresh()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Wipe it out for as long as something else is written."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def close(self) -> None:
        """Leave the terminal as it was found."""
        self._bar.stop()


class MapLines:
    """The same as lines of text, the last of them at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._next_line = self._began + LINE_INTERVAL
        self._count = self._told = (0, 0)

    def update(self, done: int, failed: int) -> None:
        """Write a line, unless that was done some seconds ago."""
        self._count = done, failed
        if self._clock() >= self._next_line:
            self._tell()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Do nothing: lines are in nobody's way."""
        yield

    def close(self) -> None:
        """Write the last line, if there is more to tell than in the one before."""
        if self._count != self._told:
            self._tell()

    def _tell(self) -> None:
        now = self._clock()
        self._next_line = now + LINE_INTERVAL
        done, failed = self._told = self._count
        speed = _speed(done, now - self._began)
        tell(f"{done} lines{_failed(failed)}, {speed} lines/s\n")


def new_bar(wanted: bool | None) -> Bar | None:
    """The bar, if there is to be one; None for `wanted` leaves it to the terminal.

    Raises:
        ImportError: it is wanted on a terminal, and rich is not installed.
    """
    on_terminal = is_terminal(sys.stderr)
    if wanted is None:
        # Results and a bar in one terminal are hard to read.
        wanted = on_terminal and not is_terminal(sys.stdout)
        wanted = wanted and importlib.util.find_spec("rich") is not None
    if not wanted:
        return None
    return MapBar(sys.stderr) if on_terminal else MapLines()


def _failed(count: int) -> str:
    return f", {count} failed" if count else ""


def _speed(done: int, seconds: float) -> str:
    return f"{done / max(seconds, 1e-3):,.0f}"
