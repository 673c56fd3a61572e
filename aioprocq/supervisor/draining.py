"""When the work is done: how the end of an app is told from a pause.

An app that leaves its supervisor wants what it has put to be finished, through
however many stages. No single queue tells that: it may be empty while a worker
still makes what will be put into it. All is done when every queue that workers get
from is finished, every worker waits to get, and nothing was put while they were
asked. (The double look is that of termination detection in distributed systems;
see Mattern, Algorithms for distributed termination detection, 1987.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..drivers.hub_station import HubStation
from ..machines.restart import ExitReason, WorkerState
from .worker import Worker

__all__ = ["until_idle"]

FIRST_LOOK = 0.002
LONGEST_PAUSE = 0.05
UNDECIDED = 1.0
"""Seconds that a worker may be ready before it counts as one that gets nothing, if
none of its queues has anything that nobody else gets."""

_ACTIVE = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)


async def until_idle(
    workers: Callable[[], list[Worker]],
    stations: Callable[[], set[HubStation]],
    deadline: float,
) -> None:
    """Wait until nothing is left to do, or the deadline on the monotonic clock.

    Workers that get nothing, but put, are told to finish at once.
    """
    pause = FIRST_LOOK
    while time.monotonic() < deadline:
        active = [w for w in workers() if w.slot.state in _ACTIVE and w.alive]
        for worker in active:
            if _is_source(worker):
                worker.drain(ExitReason.SHUTDOWN)
        if not active:
            return
        before = _finished(stations())
        if before is not None and all(map(_may_wait, active)):
            for worker in active:
                worker.ping()
            await asyncio.sleep(pause)
            waiting = all(worker.waits for worker in active if worker.alive)
            if waiting and _finished(stations()) == before:
                return
        else:
            await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _is_source(worker: Worker) -> bool:
    if worker.slot.state is not WorkerState.READY:
        return False
    traffic = worker.traffic()
    if any(one.gets for one in traffic):
        return False
    if not traffic or any(one.put for one in traffic):
        return True
    # It may be about to get: while there is something for it, it is waited for.
    unclaimed = (s.unfinished and not s.consumed() for s in worker.stations)
    return worker.age > UNDECIDED and not any(unclaimed)


def _may_wait(worker: Worker) -> bool:
    return worker.slot.state is WorkerState.READY


def _finished(stations: set[HubStation]) -> tuple[int | None, ...] | None:
    # How much was ever put, of each queue that workers get from; None: not all done.
    figures = tuple(s.settled_so_far() if s.consumed() else -1 for s in stations)
    return None if None in figures else figures
