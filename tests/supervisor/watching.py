"""Waiting for what a supervisor's workers do, with a deadline against hanging."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import aioprocq

DEADLINE = 30.0


async def until(
    events: aioprocq.EventStream,
    kind: str,
    wanted: Callable[[aioprocq.WorkerEvent], bool] = lambda event: True,
) -> aioprocq.WorkerEvent:
    """The next event of a kind."""
    async with asyncio.timeout(DEADLINE):
        async for event in events:
            if event.kind == kind and wanted(event):
                return event
    raise AssertionError(f"the events ended before {kind!r}")


async def rest(events: aioprocq.EventStream) -> list[aioprocq.WorkerEvent]:
    """All events that are left; after the end of the supervisor."""
    async with asyncio.timeout(DEADLINE):
        return [event async for event in events]


async def soon(awaitable: Any) -> Any:
    """The outcome of what has to end."""
    async with asyncio.timeout(DEADLINE):
        return await awaitable


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    assert pid
    os.kill(pid, number)


def exists(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pids(group: aioprocq.WorkerGroup) -> list[int]:
    found = [worker.pid for worker in group.statistics().workers]
    return [pid for pid in found if pid is not None]
