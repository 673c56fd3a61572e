"""The progress bar of a map."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any

__all__ = ["MapProgress"]

_EVERY = 0.1
"""Seconds from which on the bar is drawn again."""


def _is_terminal() -> bool:
    if sys.stderr is None or os.environ.get("TERM") == "dumb":
        return False
    return sys.stderr.isatty()


class MapProgress:
    """A bar on standard error, with the package ``rich``; silent elsewhere.

    Raises ImportError when rich is not installed.
    """

    def __init__(self, inputs: object, what: str) -> None:
        try:
            rich: Any = importlib.import_module("rich.progress")
            console: Any = importlib.import_module("rich.console")
        except ImportError as failure:
            raise ImportError(
                "progress=True needs the package rich: pip install 'aioprocq[progress]'"
            ) from failure
        try:
            total = len(inputs)  # type: ignore[arg-type]  # or it has none
        except TypeError:
            total = None
        self._bar = rich.Progress(
            *rich.Progress.get_default_columns(),
            rich.MofNCompleteColumn(),
            console=console.Console(file=sys.stderr),
            disable=not _is_terminal(),
            auto_refresh=False,
        )
        self._task = self._bar.add_task(what, total=total)
        self._count, self._next = 0, 0.0
        self._bar.start()

    def advance(self, count: int = 1) -> None:
        """So many more results."""
        self._count += count
        if self._bar.disable or (now := time.monotonic()) < self._next:
            return
        self._next = now + _EVERY
        self._bar.update(self._task, completed=self._count, refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._count, refresh=True)
        self._bar.stop()
