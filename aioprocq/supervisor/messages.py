"""What a supervisor and a worker say to each other.

Named tuples: a worker's start waits for this, and a dataclass takes longer to make.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .remote import Failure

__all__ = ["Drain", "Failed", "Finished", "Log", "Pong", "Ready", "Recycle", "Setup"]


class Setup(NamedTuple):
    """From the app: what a worker has to know before its target can be unpickled."""

    name: str
    group: str
    attempt: int
    path: list[str]
    argv: list[str]
    main: tuple[str, str] | None
    levels: dict[str, int]
    loop: str | None
    line_buffered: bool
    max_items: int | None
    max_rss: int | None
    tells_ready: bool = False


class Drain(NamedTuple):
    """From the app, with SIGTERM: finish what was begun; or, ``at_once``, leave."""

    at_once: bool


class Ready(NamedTuple):
    """From a worker: it is ready, in the sense of ``Supervisor.start``'s ``ready``."""


class Finished(NamedTuple):
    """From a worker: the target has returned."""


class Failed(NamedTuple):
    """From a worker: it has raised."""

    failure: Failure


class Recycle(NamedTuple):
    """From a worker: it has reached a limit and takes nothing more."""

    limit: str


class Pong(NamedTuple):
    """From a worker, to SIGURG: it is alive; and whether it waits for an item."""

    waits: bool


class Log(NamedTuple):
    """From a worker: a log record, formatted."""

    record: dict[str, Any]
