"""A progress bar on a terminal; silence everywhere else."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

__all__ = ["PlainProgress", "Progress", "SilentProgress", "is_terminal"]
__all__ += ["new_console", "new_progress"]

REDRAW_INTERVAL = 0.1
BAR_WIDTH = 30
_DUMB = ("dumb", "unknown")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal on which a line can be drawn over itself.

    What rich takes to mean that there is none (TERM=dumb, TTY_INTERACTIVE=0) means it
    here. None is a stream that was closed when the process started.
    """
    if stream is None or not stream.isatty():
        return False
    told = os.environ.get("TTY_COMPATIBLE"), os.environ.get("TTY_INTERACTIVE")
    return os.environ.get("TERM", "").lower() not in _DUMB and "0" not in told


def new_console(stream: TextIO) -> Any:
    """A console of rich on a terminal; raises ImportError."""
    rich = importlib.import_module("rich.console")
    # It would look again, also at FORCE_COLOR, and write blank lines in the end.
    return rich.Console(file=stream, force_terminal=True, force_interactive=True)


class Progress(Protocol):
    """How far a piece of work has come."""

    def update(self, done: int, remark: str = "") -> None:
        """`done` steps are finished; `remark` stands behind the bar."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


class SilentProgress:
    """Shows nothing."""

    def update(self, done: int, remark: str = "") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainProgress:
    """One line that is drawn over itself."""

    def __init__(
        self,
        total: int,
        what: str,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._what = what
        self._stream = stream
        self._clock = clock
        self._next_draw = 0.0
        self._drawn = 0

    def update(self, done: int, remark: str = "") -> None:
        """Draw, unless that was done a moment ago."""
        now = self._clock()
        if now < self._next_draw and done < self._total:
            return
        self._next_draw = now + REDRAW_INTERVAL
        self._draw(self._line(done, remark))

    def close(self) -> None:
        """Wipe the line out; a later update draws it again."""
        self._draw("")
        self._stream.write("\r")
        self._stream.flush()

    def _line(self, done: int, remark: str) -> str:
        filled = BAR_WIDTH * done // self._total if self._total else BAR_WIDTH
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        return f"[{bar}] {done}/{self._total} {self._what}  {remark}".rstrip()

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + line.ljust(self._drawn))
        self._stream.flush()
        self._drawn = len(line)


class RichProgress:
    """A bar of the `rich` package, refreshed by hand: no thread.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, total: int, what: str, stream: TextIO) -> None:
        rich = importlib.import_module("rich.progress")
        self._bar = rich.Progress(
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn(what + "  {task.fields[remark]}"),
            rich.TimeRemainingColumn(),
            console=new_console(stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(what, total=total, remark="")
        self._next_draw = 0.0
        self._bar.start()

    def update(self, done: int, remark: str = "") -> None:
        """Draw, unless that was done a moment ago."""
        self._bar.update(self._task, completed=done, remark=remark)
        now = time.monotonic()
        if now >= self._next_draw:
            self._next_draw = now + REDRAW_INTERVAL
            self._bar.refresh()

    def close(self) -> None:
        """Wipe the bar out."""
        self._bar.stop()


def new_progress(total: int, what: str, stream: TextIO | None) -> Progress:
    """The best bar for `stream`: none unless it is a terminal."""
    if stream is None or not is_terminal(stream):
        return SilentProgress()
    try:
        return RichProgress(total, what, stream)
    except ImportError:
        return PlainProgress(total, what, stream)
