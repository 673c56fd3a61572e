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
none of its queues has anything that nobody else gets, and all others are idle."""

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
        for worker in workers():
            worker.see_to_its_end()  # a second Ctrl-C may have cut that short
        active = [w for w in workers() if w.slot.state in _ACTIVE and w.alive]
        for worker in active:
            if _is_source(worker, active):
                worker.drain(ExitReason.SHUTDOWN)
        if not active:
            return
        before = _finished(stations())
        if before is not None and all(map(_may_wait, active)):
            for worker in active:
                worker.ping()
            await asyncio.sleep(pause)
            undecided = [one for one in active if _is_undecided(one, active)]
            busy = [w for w in active if w.alive and w not in undecided and not w.waits]
            if not busy and _finished(stations()) == before:
                if not undecided:
                    return
                for worker in undecided:
                    worker.drain(ExitReason.SHUTDOWN)
        else:
            await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _is_source(worker: Worker, active: list[Worker]) -> bool:
    if worker.slot.state is not WorkerState.READY:
        return False
    traffic = worker.traffic()
    puts = any(one.put for one in traffic)
    return not traffic or (puts and not _may_get(worker, active))


def _is_undecided(worker: Worker, active: list[Worker]) -> bool:
    # It has neither got nor put anything, and should have begun to by now.
    if worker.slot.state is not WorkerState.READY or worker.age <= UNDECIDED:
        return False
    return not _may_get(worker, active)


def _may_get(worker: Worker, active: list[Worker]) -> bool:
    # It may be about to get something that nobody else gets, and that the app has put,
    # or another group: then it is waited for.
    if any(one.gets for one in worker.traffic()):
        return True
    others = [one for one in active if one.group != worker.group]
    put = {
        station
        for one in others
        for station, traffic in zip(one.stations, one.traffic(), strict=False)
        if traffic.put
    }
    return any(
        station.unfinished
        and not station.consumed()
        and (station in put or station.put_here())
        for station in worker.stations
    )


def _may_wait(worker: Worker) -> bool:
    return worker.slot.state is WorkerState.READY


def _finished(stations: set[HubStation]) -> tuple[int | None, ...] | None:
    # How much was ever put, of each queue that workers get from; None: not all done.
    figures = tuple(s.settled_so_far() if s.consumed() else -1 for s in stations)
    return None if None in figures else figures
