"""A supervisor that remembers all that it tells, and looks whether it left anything.

Invariants:

* Every process that was started is in ``pids``.
* When its ``async with`` has been left, however, neither they nor anybody of their
  process groups is there.
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType
from typing import Any, Literal

from aioprocq import Backoff, Supervisor, WorkerEvent, WorkerGroup
from tests.contract.harness import eventually
from tests.death.processes import is_gone, wait_until


class Observed(Supervisor):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[WorkerEvent] = []

    def publish(self, event: WorkerEvent) -> None:
        self.log.append(event)
        super().publish(event)

    @property
    def pids(self) -> set[int]:
        return {event.pid for event in self.log if event.pid is not None}

    def kinds(self, worker: str | None = None) -> list[str]:
        return [e.kind for e in self.log if worker in (None, e.worker)]

    def told(self, kind: str) -> list[WorkerEvent]:
        return [event for event in self.log if event.kind == kind]

    async def until(self, kind: str, count: int = 1) -> WorkerEvent:
        """Wait until so many events of a kind were told, and give the last of them."""
        await eventually(lambda: len(self.told(kind)) >= count)
        return self.told(kind)[count - 1]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        try:
            return await super().__aexit__(kind, failure, trace)
        finally:
            self.check_nothing_left()

    def check_nothing_left(self) -> None:
        for group in self.groups:
            assert not any(worker.alive for worker in group.workers)
        for pid in self.pids:
            assert not exists(pid), f"process {pid} was left, or not reaped"
        # What was killed with its group is reaped by somebody else, a moment later.
        wait_until(lambda: not any(map(members, self.pids)))


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def members(group: int) -> list[int]:
    """The living processes of a group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return [pid for pid in _all() if _group(pid) == group and not is_gone(pid)]
    return []


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def pids_of(group: WorkerGroup, state: str = "ready") -> list[int]:
    return [
        worker.pid
        for worker in group.statistics().workers
        if worker.state == state and worker.pid is not None
    ]


def undaunted() -> dict[str, Any]:
    """Options of a group that is restarted at once, and as often as it takes."""
    return {"max_restarts": 1_000_000, "backoff": Backoff(initial=0, maximum=0)}
