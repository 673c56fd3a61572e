"""What a supervisor and a worker say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .remote import Failure

__all__ = ["Drain", "Failed", "Finished", "Log", "Pong", "Ready", "Recycle", "Setup"]


@dataclass(frozen=True, slots=True)
class Setup:
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


@dataclass(frozen=True, slots=True)
class Drain:
    """From the app, with SIGTERM: finish what was begun; or, ``at_once``, leave."""

    at_once: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: the target is imported and about to be called."""


@dataclass(frozen=True, slots=True)
class Finished:
    """From a worker: the target has returned."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From a worker: it has raised."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Recycle:
    """From a worker: it has reached a limit and takes nothing more."""

    limit: str


@dataclass(frozen=True, slots=True)
class Pong:
    """From a worker, to SIGURG: it is alive; and whether it waits for an item."""

    waits: bool


@dataclass(frozen=True, slots=True)
class Log:
    """From a worker: a log record, formatted."""

    record: dict[str, Any]
