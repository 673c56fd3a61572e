"""What `python -m aioprocq map` says on standard error.

- One line for each input line that has failed; its traceback only if asked for.
- A progress bar never gets in the way of text: it is wiped out, and drawn again.
- Nothing that goes wrong with standard error ends anything.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from aioprocq.errors import RemoteError, WorkerCrashed

__all__ = ["MapBar", "Report", "describe", "new_bar"]

LONGEST = 400
REDRAW_INTERVAL = 0.1
_FROM_WORKER = "aioprocq: in worker "


def describe(number: int, failure: BaseException, with_traceback: bool = False) -> str:
    """The line for input line `number`, and what was asked for below it."""
    text = f"line {number}: {_in_one_line(failure)}\n"
    if with_traceback:
        text += _traceback_of(failure)
    return text


def _in_one_line(failure: BaseException) -> str:
    if isinstance(failure, WorkerCrashed):
        attempts = f" in attempt {failure.attempt}" if failure.attempt > 1 else ""
        text = f"WorkerCrashed: its worker died of {failure.status}{attempts}"
    elif isinstance(failure, RemoteError):
        text = str(failure)  # which begins with the name of what was raised
    else:
        text = f"{type(failure).__name__}: {failure}"
    text = " ".join(text.split()).removesuffix(":")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _traceback_of(failure: BaseException) -> str:
    for note in getattr(failure, "__notes__", ()):
        if note.startswith(_FROM_WORKER):
            lines = note.split("\n")[1:]
            return "".join(f"    {line}\n" for line in lines)
    return ""


class MapBar:
    """Lines done, lines failed and the speed, drawn with the package rich.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, stream: TextIO) -> None:
        rich: Any = importlib.import_module("rich.progress")
        console: Any = importlib.import_module("rich.console")
        self._bar = rich.Progress(
            rich.SpinnerColumn(),
            rich.TextColumn("{task.completed} lines{task.fields[failed]}"),
            rich.TextColumn("{task.fields[speed]} lines/s"),
            rich.TimeElapsedColumn(),
            console=console.Console(file=stream),
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
            failed=f", {failed} failed" if failed else "",
            speed=f"{done / max(now - self._began, 1e-3):,.0f}",
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


def new_bar(wanted: bool | None) -> MapBar | None:
    """The bar, if there is to be one; None for `wanted` leaves it to the terminal.

    Raises:
        ImportError: it is wanted, and rich is not installed.
    """
    if wanted is None:
        # Results and a bar in one terminal are hard to read.
        wanted = _is_terminal(sys.stderr) and not _is_terminal(sys.stdout)
        if wanted and importlib.util.find_spec("rich") is None:
            wanted = False
    return MapBar(sys.stderr) if wanted else None


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


class Report:
    """Counts lines, and says what has failed."""

    def __init__(self, bar: MapBar | None, with_tracebacks: bool) -> None:
        self.done = 0
        self.failed = 0
        self._bar = bar
        self._with_tracebacks = with_tracebacks
        self._shares_terminal = bar is not None and _is_terminal(sys.stdout)

    def count(self, done: int, failures: list[tuple[int, BaseException]]) -> None:
        """So many more lines are done; these of them, by their numbers, failed."""
        self.done += done
        self.failed += len(failures)
        if failures:
            self.say(
                "".join(
                    describe(number, failure, self._with_tracebacks)
                    for number, failure in failures
                )
            )
        if self._bar is not None:
            self._bar.update(self.done, self.failed)

    def say(self, text: str) -> None:
        """Write to standard error, whole lines."""
        if self._bar is None:
            _write(text)
            return
        with self._bar.aside():
            _write(text)

    @contextmanager
    def results(self) -> Iterator[None]:
        """For as long as results are written, which may be to the bar's terminal."""
        if self._bar is None or not self._shares_terminal:
            yield
            return
        with self._bar.aside():
            yield

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def sum_up(self) -> None:
        """Say how many lines have failed, if any have; nothing comes after that."""
        self.close()
        if self.failed:
            _write(f"{self.failed} of {self.done} lines failed\n")


def _write(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass
