"""Worker processes that are replaced when they die.

- A worker is in the crew from its start until its sentinel has fired and it has
  been reaped; until `release()`, each one that leaves is replaced.
- Only processes that the crew has started are ever signalled.
- Nothing waits in a thread and nothing polls: the event loop watches sentinels.
- After too many deaths in a row without progress, `failed()` raises `CrewError`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from random import Random

from aioprocq.cli.interrupts import interrupts_blocked

__all__ = ["Crew", "CrewError"]


class CrewError(Exception):
    """Workers keep dying, or cannot be started."""


class Crew:
    """A number of workers, made by `create`, on the running event loop.

    `patience` is how many may die of themselves in a row, with no `progress()`
    in between, before the crew gives up.
    """

    def __init__(self, create: Callable[[], BaseProcess], patience: int = 3) -> None:
        self.killed = 0
        self.crashed = 0
        self._create = create
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, BaseProcess] = {}
        self._ready: set[int] = set()
        self._doomed: set[int] = set()
        self._deaths_in_a_row = 0
        self._released = False
        self._someone_ready = asyncio.Event()
        self._empty = asyncio.Event()
        self._failure = ""
        self._has_failed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._workers)

    def __repr__(self) -> str:
        return (
            f"<Crew workers={len(self)} ready={len(self._ready)} "
            f"killed={self.killed} crashed={self.crashed}>"
        )

    def start(self, count: int) -> None:
        """Start `count` workers.

        Raises:
            OSError: a process could not be started.
        """
        for _ in range(count):
            self._start_one()

    def ready(self, pid: int) -> None:
        """A worker says that it is up; one that has died since is passed over."""
        if pid in self._workers and pid not in self._doomed:
            self._ready.add(pid)
            self._someone_ready.set()

    def progress(self) -> None:
        """A worker has done something: whoever died before it is forgiven."""
        self._deaths_in_a_row = 0

    async def kill_one(self, chance: Random, delay: float) -> int:
        """Kill a worker that is up, after a random while of at most `delay`.

        Waits until a worker is up. Returns its process id.

        Cancellation: no worker has been killed.
        """
        while True:
            await self._someone_ready.wait()
            await asyncio.sleep(chance.random() * delay)
            if self._ready:
                return self._kill(chance.choice(sorted(self._ready)))

    def release(self) -> None:
        """From now on workers may end; nobody takes their place."""
        self._released = True
        self._note_empty()

    async def wait_empty(self) -> None:
        """Wait, after `release()`, until the last worker has been reaped.

        Cancellation: nothing is lost, and it can be awaited again.
        """
        await self._empty.wait()

    async def failed(self) -> None:
        """Wait for the failure that this crew does not recover from.

        Cancellation: nothing is lost, and it can be awaited again.

        Raises:
            CrewError: always.
        """
        await self._has_failed.wait()
        raise CrewError(self._failure)

    async def stop(self) -> None:
        """Kill and reap whoever is left.

        Cancellation: the rest are killed already, but not reaped.
        """
        self.release()
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        await self.wait_empty()

    def _start_one(self) -> None:
        worker = self._create()
        with interrupts_blocked():
            worker.start()
        assert worker.pid is not None
        self._workers[worker.pid] = worker
        self._loop.add_reader(worker.sentinel, self._on_exit, worker.pid)

    def _kill(self, pid: int) -> int:
        self._doomed.add(pid)
        self._forget_ready(pid)
        # Not reaped yet, so the number cannot belong to another process.
        os.kill(pid, signal.SIGKILL)
        return pid

    def _on_exit(self, pid: int) -> None:
        worker = self._workers.pop(pid)
        self._loop.remove_reader(worker.sentinel)
        worker.join()
        code = worker.exitcode
        worker.close()
        self._forget_ready(pid)
        if pid in self._doomed and code == -signal.SIGKILL:
            self.killed += 1
            self._replace()
        elif not self._released:
            self._count_crash(code)
        self._note_empty()

    def _count_crash(self, code: int | None) -> None:
        self.crashed += 1
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > self._patience:
            self._fail(
                f"{self._deaths_in_a_row} workers in a row have died; "
                f"the last with exit code {code}"
            )
        else:
            self._replace()

    def _replace(self) -> None:
        if self._released or self._failure:
            return
        try:
            self._start_one()
        except OSError as error:
            self._fail(f"no worker can be started: {error}")

    def _forget_ready(self, pid: int) -> None:
        self._ready.discard(pid)
        if not self._ready:
            self._someone_ready.clear()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._has_failed.set()

    def _note_empty(self) -> None:
        if self._released and not self._workers:
            self._empty.set()
