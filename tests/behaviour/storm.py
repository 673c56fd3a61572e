"""Gets and puts that are cancelled at random instants, in one process.

The scripts at the end run in the owner or in a child of `tests.contract.harness`;
each process has one storm at a time.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from aioprocq import JoinableQueue, QueueEmpty, QueueFull
from tests.contract.faces import Face

Work = Callable[..., Awaitable[None]]
Report = tuple[list[Any], list[Any], dict[str, int]]


class Storm:
    """Tasks that put and get, and something that cancels them all the time.

    ``put`` are the items whose put has returned, ``got`` those that a get gave, each
    in the order in which that happened.
    """

    def __init__(self, queue: Any, name: str, seed: int) -> None:
        self.queue = queue
        self.name = name
        self.chance = random.Random(seed)
        self.halted = False
        self.put: list[Any] = []
        self.got: list[Any] = []
        self.tally: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.ways = [by_task, by_timeout, by_move_on_after, by_scope, by_argument]

    def begin(self, putters: int, getters: int) -> None:
        for number in range(putters):
            self.tasks.append(asyncio.create_task(self._keep_putting(number)))
        for _ in range(getters):
            self.tasks.append(asyncio.create_task(self._keep_getting()))

    async def end(self) -> Report:
        self.halted = True
        await asyncio.gather(*self.tasks)
        return self.put, self.got, dict(self.tally)

    async def _keep_putting(self, putter: int) -> None:
        number = 0
        while not self.halted:
            item = (self.name, putter, number)
            await self._try("put", functools.partial(self._put, item))
            number += 1

    async def _keep_getting(self) -> None:
        while not self.halted:
            await self._try("get", self._get)

    async def _try(self, what: str, work: Work) -> None:
        way = self.chance.choice(self.ways)
        outcome = "returned" if await way(self, work) else way.__name__
        self.tally[f"{what} {outcome}"] += 1
        await asyncio.sleep(self.chance.choice((0, 0, self.instant())))

    def instant(self) -> float:
        """Seconds: at once, within some turns of the loop, or later."""
        return self.chance.choice((0.0, 0.0003, 0.003)) * self.chance.random()

    # Nothing is awaited between the queue's own return and the note of it.

    async def _put(self, item: Any, timeout: float | None = None) -> None:
        await self.queue.put(item, timeout=timeout)
        self.put.append(item)

    async def _get(self, timeout: float | None = None) -> None:
        joinable = isinstance(self.queue, JoinableQueue)
        if joinable and self.chance.random() < 0.3:
            delivery = await self.queue.get_delivery(timeout=timeout)
            self.got.append(delivery.item)
            delivery.done()
            return
        if self.chance.random() < 0.3:
            items = await self.queue.get_many(3, timeout=timeout)
        else:
            items = [await self.queue.get(timeout=timeout)]
        self.got.extend(items)
        for _ in items if joinable else ():
            self.queue.task_done()


# The ways to cancel: each returns whether the work has returned all the same.


async def by_task(storm: Storm, work: Work) -> bool:
    task = asyncio.ensure_future(work())
    if storm.chance.random() < 0.7:
        for _ in range(storm.chance.randrange(6)):
            await asyncio.sleep(0)
    else:
        await asyncio.wait([task], timeout=storm.instant())
    task.cancel()
    await asyncio.wait([task])
    return not task.cancelled() and task.result() is None


async def by_timeout(storm: Storm, work: Work) -> bool:
    try:
        async with asyncio.timeout(storm.instant()):
            await work()
    except TimeoutError:
        return False
    return True


async def by_move_on_after(storm: Storm, work: Work) -> bool:
    with anyio.move_on_after(storm.instant()) as scope:
        await work()
    return not scope.cancelled_caught


async def by_scope(storm: Storm, work: Work) -> bool:
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:
        timer = loop.call_later(storm.instant(), scope.cancel)
        await work()
    timer.cancel()
    return not scope.cancelled_caught


async def by_argument(storm: Storm, work: Work) -> bool:
    """No cancellation, but the queue's own timeout, which promises the same."""
    try:
        await work(timeout=storm.instant())
    except (QueueEmpty, QueueFull):
        return False
    return True


# Scripts.

_storms: list[Storm] = []


async def begin(face: Face, name: str, seed: int, putters: int, getters: int) -> None:
    storm = Storm(face.queue, name, seed)
    storm.begin(putters, getters)
    _storms.append(storm)


async def cancellations(face: Face) -> int:
    """How many there were so far, without the queue's own timeouts."""
    tally = _storms[-1].tally
    return sum(count for what, count in tally.items() if "by_" in what) - (
        tally["put by_argument"] + tally["get by_argument"]
    )


async def halt(face: Face) -> Report:
    return await _storms.pop().end()


async def waiting_here(face: Face) -> int:
    """How many waiters this peer still knows of."""
    machine = face.queue._handle.station.machine
    return len(machine.getters) + len(machine.putters) + len(machine.answers)


async def drain(face: Face, count: int) -> list[Any]:
    items = []
    for _ in range(count):
        items.append(await face.queue.get())
        if isinstance(face.queue, JoinableQueue):
            face.queue.task_done()
    return items
