"""What the processes of a storm do, until they are killed or the queue is shut down.

An item is `(who, number, payload)`: who put it, and its number in that one's sequence.
Producers note each put that has returned; consumers each item that they were handed,
before they work on it, and each settlement, after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import aioprocq
from tests.contract.harness import bare_main

from .crash_points import ballast
from .diary import CHILD, GOT, PUT, RETURNED, SETTLED, Diary

Role = Callable[[Any, Diary, int], None]

BATCH = 20
LARGE = 3 << 20
WORK = 0.002
EMPTY_HANDED = contextlib.suppress(aioprocq.QueueShutDown)


def put_small(queue: Any, diary: Diary, who: int) -> None:
    for number in count():
        queue.sync.put((who, number, b""))
        diary.note(PUT, who, number)


def put_large(queue: Any, diary: Diary, who: int) -> None:
    for number in count():
        queue.sync.put((who, number, ballast(number, LARGE)))
        diary.note(PUT, who, number)


def put_batches(queue: Any, diary: Diary, who: int) -> None:
    for first in count(0, BATCH):
        numbers = range(first, first + BATCH)
        queue.sync.put_many((who, number, b"") for number in numbers)
        diary.write([(PUT, who, number, 0) for number in numbers])


def put_in_tasks(queue: Any, diary: Diary, who: int) -> None:
    async def main() -> None:
        for number in count():
            await queue.put((who, number, ballast(number, LARGE * (number % 9 == 8))))
            diary.note(PUT, who, number)

    asyncio.run(main())


def put_batches_in_tasks(queue: Any, diary: Diary, who: int) -> None:
    async def main() -> None:
        for first in count(0, BATCH):
            numbers = range(first, first + BATCH)
            await queue.put_many((who, number, b"") for number in numbers)
            diary.write([(PUT, who, number, 0) for number in numbers])

    asyncio.run(main())


def note_got(diary: Diary, item: tuple[int, int, bytes], attempt: int = 0) -> None:
    who, number, payload = item
    diary.note(GOT, who, number, attempt)
    assert payload == ballast(number, len(payload))


def get_singly(queue: Any, diary: Diary, who: int) -> None:
    for item in queue.sync:
        note_got(diary, item)
        settle(queue.sync, diary, item)


def get_batches(queue: Any, diary: Diary, who: int) -> None:
    with EMPTY_HANDED:
        while True:
            items = queue.sync.get_many(BATCH)
            diary.write([(GOT, giver, number, 0) for giver, number, _ in items])
            for item in items:
                settle(queue.sync, diary, item)


def get_in_tasks(queue: Any, diary: Diary, who: int) -> None:
    async def main() -> None:
        async for item in queue:
            note_got(diary, item)
            settle(queue, diary, item)

    asyncio.run(main())


def get_batches_in_tasks(queue: Any, diary: Diary, who: int) -> None:
    async def main() -> None:
        with EMPTY_HANDED:
            while True:
                items = await queue.get_many(BATCH)
                diary.write([(GOT, giver, number, 0) for giver, number, _ in items])
                for item in items:
                    settle(queue, diary, item)

    asyncio.run(main())


def settle(face: Any, diary: Diary, item: tuple[int, int, bytes]) -> None:
    with contextlib.suppress(ValueError):  # from a queue that does not settle
        face.task_done()
        diary.note(SETTLED, *item[:2])


def hold_deliveries(queue: Any, diary: Diary, who: int) -> None:
    for delivery in queue.sync.deliveries():
        note_got(diary, delivery.item, delivery.attempt)
        time.sleep(WORK)
        finish(delivery, diary)


def hold_deliveries_in_tasks(queue: Any, diary: Diary, who: int) -> None:
    async def hold() -> None:
        async for delivery in queue.deliveries():
            note_got(diary, delivery.item, delivery.attempt)
            await asyncio.sleep(WORK)
            finish(delivery, diary)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(hold())

    asyncio.run(main())


def finish(delivery: Any, diary: Diary) -> None:
    giver, number, _ = delivery.item
    if delivery.attempt == 1 and number % 7 == 3:
        delivery.retry()
        diary.note(RETURNED, giver, number, 1)
    else:
        delivery.done()
        diary.note(SETTLED, giver, number, delivery.attempt)


def by_grandchild(queue: Any, diary: Diary, who: int, role: Role) -> None:
    """Have a child of this one play the role, and note its pid."""
    context = multiprocessing.get_context("fork")
    with bare_main():
        child = context.Process(
            target=role, args=(queue, diary.beside("grandchild"), who)
        )
        child.start()
    diary.note(CHILD, number=child.pid or 0)
    child.join()
    os._exit(0)


PRODUCERS: tuple[Role, ...] = (
    put_small,
    put_large,
    put_batches,
    put_in_tasks,
    put_batches_in_tasks,
)
CONSUMERS: tuple[Role, ...] = (
    get_singly,
    get_batches,
    get_in_tasks,
    get_batches_in_tasks,
)
HOLDERS: tuple[Role, ...] = (hold_deliveries, hold_deliveries_in_tasks)
