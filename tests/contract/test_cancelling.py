"""A cancelled get has taken no item; a cancelled put has put none."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

import aioprocq

from .faces import Face
from .harness import within
from .stages import AsyncStage, run_on

FACES = ["owner", "uvloop-owner", "async-peer", "uvloop-peer"]
TASKS = 60


async def cancel_gets(queue: Face, seed: int) -> tuple[list[Any], int]:
    """Start and cancel gets while items arrive; what those that returned gave."""
    chance = random.Random(seed)
    tasks = []
    for _ in range(TASKS):
        tasks.append(asyncio.create_task(queue.get()))
        if chance.random() < 0.6:
            chance.choice(tasks).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() / 500)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    got = [item for item in results if not isinstance(item, BaseException)]
    return got, sum(isinstance(item, asyncio.CancelledError) for item in results)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("face", FACES)
def test_cancelled_gets_take_nothing(face: str, seed: int) -> None:
    run_on(face, take_and_cancel(face, seed))


async def take_and_cancel(face: str, seed: int) -> None:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        consumer = stage.actor(face)
        taking = consumer.post(cancel_gets, seed)
        for number in range(40):
            await queue.put(number)
            if number % 5 == 0:
                await asyncio.sleep(0)
        got, cancelled = await consumer.result(taking)
        assert len(got) + cancelled == TASKS
        await stage.dismiss()
        left = [await within(queue.get()) for _ in range(40 - len(got))]
        # What a cancelled get gave back, and what was sent ahead, is in its old place.
        assert left == sorted(left)
        assert Counter(got + left) == Counter(range(40))
        assert queue.empty()


async def cancel_puts(queue: Face, seed: int) -> list[int]:
    """Start and cancel puts of numbers; those whose put has returned."""
    chance = random.Random(seed)
    tasks = []
    for number in range(TASKS):
        tasks.append(asyncio.create_task(queue.put(number)))
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() / 500)
    for task in tasks:
        if chance.random() < 0.5:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
    await queue.put("end")
    return [number for number, result in enumerate(results) if result is None]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("face", FACES)
def test_cancelled_puts_put_nothing(face: str, seed: int) -> None:
    run_on(face, put_and_cancel(face, seed))


async def put_and_cancel(face: str, seed: int) -> None:
    queue = aioprocq.Queue[Any](3)
    async with AsyncStage(queue) as stage:
        producer = stage.actor(face)
        collecting = asyncio.create_task(collect(queue))
        put = await within(producer.call(cancel_puts, seed))
        arrived = await within(collecting)
        assert Counter(arrived) == Counter(put)


async def collect(queue: Any) -> list[Any]:
    arrived = []
    while (item := await queue.get()) != "end":
        assert queue.qsize() <= 3
        arrived.append(item)
    return arrived


async def cancel_the_chosen(queue: Face) -> list[Any]:
    """The one who has been chosen is cancelled before it runs: the next one gets."""
    chosen = asyncio.create_task(queue.get())
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait("item")
    chosen.cancel()
    item = await within(waiting)
    return [item, chosen.cancelled() or await outcome_of(chosen)]


async def outcome_of(task: asyncio.Task[Any]) -> bool:
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("face", FACES)
def test_a_cancelled_choice_passes_its_turn_on(face: str) -> None:
    async def main() -> Any:
        async with AsyncStage(aioprocq.Queue[str]()) as stage:
            return await stage.run(face, cancel_the_chosen)

    assert run_on(face, main()) == ["item", True]


async def cancel_join(queue: Face) -> None:
    joining = asyncio.create_task(queue.join())
    await asyncio.sleep(0)
    joining.cancel()
    assert await outcome_of(joining)


@pytest.mark.parametrize("face", FACES)
def test_a_cancelled_join_leaves_nothing(face: str) -> None:
    async def main() -> None:
        queue = aioprocq.JoinableQueue[str]()
        async with AsyncStage(queue) as stage:
            await queue.put("item")
            await stage.run(face, cancel_join)
            await queue.get()
            queue.task_done()
            await within(queue.join())

    run_on(face, main())
