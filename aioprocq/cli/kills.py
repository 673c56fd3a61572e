"""When the demo kills a worker, and what becomes of its workers.

- Only a worker that is up is killed, and its supervisor is not told.
- A death counts as a kill if its process was chosen here, and else as a crash.
"""

from __future__ import annotations

import asyncio
import os
import signal
from random import Random

import aioprocq

__all__ = ["Killer", "kill_points"]

CRASHES = frozenset(
    {
        aioprocq.ExitReason.ERROR,
        aioprocq.ExitReason.SIGNAL,
        aioprocq.ExitReason.OUT_OF_MEMORY,
        aioprocq.ExitReason.BOOT_FAILED,
    }
)


def kill_points(jobs: int, kills: int, chance: Random) -> list[int]:
    """Before the putting of which jobs a worker is to be killed, in order.

    The run is cut into as many equal parts as there are kills, and each kill
    falls on a random place of its part. As it comes before a job is put, work
    remains at every one of them. With no jobs there are no kills.
    """
    if not jobs:
        return []
    part = jobs / kills if kills else 0.0
    return [int(part * (number + chance.random())) for number in range(kills)]


class Killer:
    """Kills workers, and counts those that died by it and those that did not."""

    def __init__(self, events: aioprocq.EventStream, chance: Random) -> None:
        self.killed = 0
        self.crashed = 0
        self.victims: set[int] = set()
        self._events = events
        self._chance = chance
        self._news = asyncio.Event()

    async def kill_one(self, workers: aioprocq.WorkerGroup, delay: float) -> int:
        """Kill a worker that is up, after a random while of at most `delay`.

        Waits until a worker is up, while `count_exits` runs. Returns its process id.

        Cancellation: no worker has been killed.
        """
        while True:
            await asyncio.sleep(self._chance.random() * delay)
            self._news.clear()
            if ready := self._ready(workers):
                victim = self._chance.choice(ready)
                self.victims.add(victim)
                # Not reaped yet, so the number cannot belong to another process.
                os.kill(victim, signal.SIGKILL)
                return victim
            await self._news.wait()

    def _ready(self, workers: aioprocq.WorkerGroup) -> list[int]:
        return [
            worker.pid
            for worker in workers.statistics().workers
            if worker.state == "ready"
            and worker.pid is not None
            and worker.pid not in self.victims
        ]

    async def count_exits(self) -> None:
        """Read events until the supervisor has ended.

        Cancellation: nothing is lost, and it can be awaited again.
        """
        async for event in self._events:
            self._news.set()
            if event.kind == "exited" and event.reason in CRASHES:
                if event.pid in self.victims:
                    self.killed += 1
                else:
                    self.crashed += 1
