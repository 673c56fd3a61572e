"""Workers whose jobs take as long as a test wants: until it, or the others, say so.

A job is a tuple of its kind and an argument:

* ``quick``: nothing to do; many of them have the hub send ahead.
* ``short``: sleeps for so many seconds.
* ``hold``: lasts until the test has released it.
* ``meet``: lasts until all workers of the crew are in a meeting of that number.

Workers and test tell each other by files in one directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from tests.contract.faces import DEADLINE, PAUSE, Face
from tests.contract.stages import AsyncStage

Job = tuple[str, Any]


class Board:
    """Where notes are left, and how long to wait for those of the others."""

    def __init__(self, directory: str, author: str, *, blocking: bool) -> None:
        self.directory = Path(directory)
        self.author = author
        self.blocking = blocking  # whether to stop the whole process while waiting

    def note(self, topic: str) -> None:
        (self.directory / topic).mkdir(exist_ok=True)
        (self.directory / topic / self.author).touch()

    def count(self, topic: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return len(os.listdir(self.directory / topic))
        return 0

    async def meet(self, topic: str, crew: int) -> None:
        self.note(topic)
        await self.until(lambda: self.count(topic) == crew)

    async def until(self, predicate: Callable[[], bool]) -> None:
        limit = time.monotonic() + DEADLINE
        while not predicate():
            if time.monotonic() >= limit:
                raise TimeoutError("the others did not come")
            await self.pause(PAUSE)

    async def pause(self, seconds: float) -> None:
        if self.blocking:
            time.sleep(seconds)
        else:
            await asyncio.sleep(seconds)


async def work(
    face: Face, directory: str, number: int, blocking: bool, crew: int
) -> tuple[Counter[str], float]:
    """Do jobs until shutdown: how many of each kind, and for how many seconds."""
    board = Board(directory, str(number), blocking=blocking)
    done: Counter[str] = Counter()
    busy = 0.0
    async for kind, argument in face.items():
        began = time.monotonic()
        if kind == "short":
            await board.pause(argument)
        elif kind == "hold":
            board.note("held")
            await board.until(lambda: board.count("released") > 0)
        elif kind == "meet":
            await board.meet(f"meeting {argument}", crew)
        busy += time.monotonic() - began
        done[kind] += 1
        face.task_done()
    return done, busy


class Crew:
    """Some workers at one queue."""

    def __init__(self, stage: AsyncStage, directory: Path, *kinds: str) -> None:
        self.queue = stage.queues[0]
        self.board = Board(str(directory), "test", blocking=False)
        self.actors: list[Any] = []
        self.tickets: list[Any] = []
        self._stage, self._directory, self._size = stage, str(directory), len(kinds)
        for kind in kinds:
            self.hire(kind)

    def hire(self, kind: str) -> None:
        """Let one more worker come; meetings are without it."""
        actor = self._stage.actor(kind.removeprefix("stuck-"))
        # One that is stuck is an event loop that stands still while it has a job.
        blocking = kind.startswith("stuck-") or kind in ("blocking-peer", "thread")
        where = self._directory, len(self.actors), blocking
        self.tickets.append(actor.post(work, *where, self._size))
        self.actors.append(actor)

    async def unfinished(self, count: int) -> None:
        """Wait until all but so many jobs are done."""
        await self.board.until(lambda: self.queue.statistics().unfinished == count)

    async def held(self) -> None:
        await self.board.until(lambda: self.board.count("held") > 0)

    def release(self) -> None:
        self.board.note("released")

    async def leave(self) -> list[tuple[Counter[str], float]]:
        """Shut down; what each worker did."""
        self.queue.shutdown()
        return [
            await actor.result(ticket)
            for actor, ticket in zip(self.actors, self.tickets, strict=True)
        ]


@contextlib.asynccontextmanager
async def crew(queue: Any, directory: Path, *kinds: str) -> AsyncIterator[Crew]:
    """A crew that is connected, every one of it idle."""
    async with AsyncStage(queue) as stage:
        workers = Crew(stage, directory, *kinds)
        await workers.board.until(
            lambda: queue.statistics().getters_waiting == len(kinds)
        )
        assert queue.statistics().peers == sum("peer" in kind for kind in kinds)
        yield workers
