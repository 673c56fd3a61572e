"""Log records on their way from a worker to the app.

A record is formatted where it was made, as far as its message and its exception
go, and handled by the app's logger of the same name, as if it had been logged there.
"""

from __future__ import annotations

import logging
from typing import Any

from .control import Control
from .messages import Log

__all__ = ["LineHandler", "handle_log", "levels_here", "ship_logs"]

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__)


class LineHandler(logging.Handler):
    """Sends records to the app."""

    def __init__(self, control: Control, worker: str) -> None:
        super().__init__()
        self._control = control
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and send it; it is dropped when the app is gone."""
        try:
            content = self._prepare(record)
            try:
                self._control.send(Log(content))
            except OSError:
                return
            except Exception:  # something in ``extra`` does not pickle
                standard = {k: v for k, v in content.items() if k in _STANDARD}
                self._control.send(Log(standard))
        except Exception:
            self.handleError(record)

    def _prepare(self, record: logging.LogRecord) -> dict[str, Any]:
        content = dict(record.__dict__)
        content["msg"] = record.getMessage()
        content["args"] = None
        content["processName"] = self._worker
        if record.exc_info:
            formatter = self.formatter or logging.Formatter()
            content["exc_text"] = record.exc_text or formatter.formatException(
                record.exc_info
            )
            content["exc_info"] = None
        return content


def levels_here() -> dict[str, int]:
    """The levels that were set in this process, by the names of the loggers."""
    loggers = logging.root.manager.loggerDict
    levels = {
        name: logger.level
        for name, logger in list(loggers.items())
        if isinstance(logger, logging.Logger) and logger.level
    }
    return {"": logging.root.level, **levels}


def ship_logs(control: Control, worker: str, levels: dict[str, int]) -> None:
    """In a worker: send all records, and all warnings, to the app."""
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)
    logging.root.handlers[:] = [LineHandler(control, worker)]
    logging.captureWarnings(True)


def handle_log(content: dict[str, Any]) -> None:
    """In the app: have the logger of the same name handle a worker's record."""
    record = logging.makeLogRecord(content)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
