"""What `python -m aioprocq map` says on standard error.

- One line for each input line that has failed; its traceback only if asked for.
- Nothing of what a function raises steers the terminal; what it prints may.
- A progress bar never gets in the way of text: it is wiped out, and drawn again.
- Nothing that goes wrong with standard error ends anything.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from aioprocq.cli.console import tell
from aioprocq.cli.map_bar import Bar
from aioprocq.cli.progress import is_terminal
from aioprocq.cli.reasons import in_one_line, named, printable
from aioprocq.cli.tracebacks import without_library
from aioprocq.errors import WorkerCrashed

__all__ = ["Report", "describe", "indented"]

_FROM_WORKER = "aioprocq: in worker "


def describe(number: int, failure: BaseException, with_traceback: bool = False) -> str:
    """The line for input line `number`, and what was asked for below it."""
    text = f"line {number}: {_why(failure)}\n"
    if with_traceback:
        text += _traceback_of(failure)
    return text


def _why(failure: BaseException) -> str:
    if isinstance(failure, WorkerCrashed):
        attempts = f" in attempt {failure.attempt}" if failure.attempt > 1 else ""
        return f"WorkerCrashed: its worker died of {failure.status}{attempts}"
    return in_one_line(named(failure))


def _traceback_of(failure: BaseException) -> str:
    for note in getattr(failure, "__notes__", ()):
        if note.startswith(_FROM_WORKER):
            return indented(without_library(note.partition("\n")[2]))
    return ""


def indented(rendered: str) -> str:
    """A traceback, to be read below the line that it belongs to."""
    return textwrap.indent(printable(rendered).rstrip("\n") + "\n", "    ")


class Report:
    """Counts lines, and says what has failed."""

    def __init__(self, bar: Bar | None, with_tracebacks: bool) -> None:
        self.done = 0
        self.failed = 0
        self._bar = bar
        self._with_tracebacks = with_tracebacks
        self._shares_terminal = bar is not None and is_terminal(sys.stdout)

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
            tell(text)
            return
        with self._bar.aside():
            tell(text)

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
            tell(f"{self.failed} of {self.done} lines failed\n")
