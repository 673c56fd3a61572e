"""Consumers and producers that die, or leave with what they were handed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

import aioprocq

from .faces import Face
from .harness import ChildDied, eventually, within
from .stages import PEERS, AsyncStage, forgotten, run_on


async def hold(queue: Face, count: int) -> list[Any]:
    return [await queue.get() for _ in range(count)]


async def hold_delivery(queue: Face) -> Any:
    async for delivery in queue.deliveries():
        return delivery.item, delivery.attempt
    raise AssertionError("the queue was shut down")


@pytest.mark.parametrize("how", ["killed", "left", "left tidily"])
@pytest.mark.parametrize("face", PEERS)
def test_what_the_gone_held_is_delivered_again(face: str, how: str) -> None:
    run_on("owner", hold_and_go(face, how))


async def hold_and_go(face: str, how: str) -> None:
    """Held: a second attempt. Never started on: a first one. All in old places."""
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        await queue.put_many(range(6))
        worker = stage.actor(face)
        assert await worker.call(hold, 2) == [0, 1]
        await go(worker, how)
        await forgotten(queue)
        seen = []
        for _ in range(6):
            delivery = await within(queue.get_delivery())
            seen.append((delivery.item, delivery.attempt))
            delivery.done()
        assert seen == [(0, 2), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]
        await within(queue.join())


async def go(worker: Any, how: str) -> None:
    if how == "killed":
        await worker.kill()
    else:
        await worker.leave(tidily=how == "left tidily")


@pytest.mark.parametrize("face", PEERS)
def test_consumers_that_die_of_it_end_in_a_dead_letter(face: str) -> None:
    run_on("owner", die_of_it(face))


async def die_of_it(face: str) -> None:
    queue = aioprocq.JoinableQueue[str](max_deliveries=2)
    async with AsyncStage(queue) as stage:
        await queue.put_many(["deadly", "harmless"])
        for number in (1, 2):
            worker = stage.actor(face)
            assert await worker.call(hold_delivery) == ("deadly", number)
            await worker.kill()
            await forgotten(queue)
        assert await within(queue.get()) == "harmless"
        queue.task_done()
        await within(queue.join())
        (letter,) = await within(queue.dead_letters())
        assert (letter.item, letter.attempts) == ("deadly", 2)


@pytest.mark.parametrize("face", PEERS)
def test_a_plain_queue_gives_each_item_once(face: str) -> None:
    run_on("owner", lose_with_consumer(face))


async def lose_with_consumer(face: str) -> None:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        await queue.put_many(range(4))
        worker = stage.actor(face)
        assert await worker.call(hold, 2) == [0, 1]
        await worker.kill()
        await forgotten(queue)
        rest = [await within(queue.get()) for _ in range(2)]
        assert rest == [2, 3]
        assert queue.empty()


async def put_and_die(queue: Face, count: int) -> None:
    for number in range(count):
        await queue.put(number)
    os.kill(os.getpid(), signal.SIGKILL)


async def put_many_and_die(queue: Face, count: int) -> None:
    await queue.put_many(range(count))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("maxsize", [0, 1000])
@pytest.mark.parametrize("script", [put_and_die, put_many_and_die])
@pytest.mark.parametrize("face", PEERS)
def test_what_was_put_outlives_its_producer(
    face: str, script: Any, maxsize: int
) -> None:
    run_on("owner", outlive(face, script, maxsize))


async def outlive(face: str, script: Any, maxsize: int) -> None:
    """However soon it dies: what a put has returned for is in the queue."""
    queue = aioprocq.Queue[int](maxsize)
    async with AsyncStage(queue) as stage:
        producer = stage.actor(face)
        with pytest.raises(ChildDied):
            await producer.call(script, 300)
        await eventually(producer.ended)
        assert [await within(queue.get()) for _ in range(300)] == list(range(300))
        assert queue.empty()


async def put_large_and_die(queue: Face, size: int) -> None:
    await queue.put(b"x" * size)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("face", PEERS)
def test_a_large_item_outlives_its_producer(face: str) -> None:
    run_on("owner", outlive_large(face, 3 << 20))


async def outlive_large(face: str, size: int) -> None:
    queue = aioprocq.Queue[bytes]()
    async with AsyncStage(queue) as stage:
        with pytest.raises(ChildDied):
            await stage.run(face, put_large_and_die, size)
        assert len(await within(queue.get())) == size


async def put_until_full(queue: Face, count: int) -> None:
    for number in range(count):
        await queue.put(number)


@pytest.mark.parametrize("face", PEERS)
def test_a_put_that_waited_has_put_nothing(face: str) -> None:
    run_on("owner", die_waiting(face))


async def die_waiting(face: str) -> None:
    queue = aioprocq.Queue[int](2)
    async with AsyncStage(queue) as stage:
        producer = stage.actor(face)
        producer.post(put_until_full, 3)
        await eventually(
            lambda: queue.full() and queue.statistics().putters_waiting == 1
        )
        await producer.kill()
        assert [await within(queue.get()) for _ in range(2)] == [0, 1]
        # The dead one's place is free again.
        assert queue.empty()
        await within(queue.put_many([3, 4]))
        assert queue.full()


async def wait_for_item(queue: Face) -> Any:
    return await queue.get()


@pytest.mark.parametrize("face", PEERS)
def test_a_getter_that_died_waiting_takes_nothing(face: str) -> None:
    run_on("owner", die_getting(face))


async def die_getting(face: str) -> None:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        dying, living = stage.actor(face), stage.actor(face)
        dying.post(wait_for_item)
        await eventually(lambda: queue.statistics().getters_waiting == 1)
        await dying.kill()
        await queue.put(1)
        assert await living.call(wait_for_item) == 1


async def hold_and_join(queue: Face) -> None:
    await queue.get()
    await queue.join()


@pytest.mark.parametrize("face", PEERS)
def test_join_does_not_wait_for_the_dead(face: str) -> None:
    run_on("owner", join_after_death(face))


async def join_after_death(face: str) -> None:
    """max_deliveries=1: what the dead one held is given up, and counts as done."""
    queue = aioprocq.JoinableQueue[int](max_deliveries=1)
    async with AsyncStage(queue) as stage:
        holder, joiner = stage.actor(face), stage.actor(face)
        await queue.put(1)
        holder.post(hold_and_join)
        await eventually(lambda: queue.statistics().held == 1)
        joining = joiner.post(only_join)
        await holder.kill()
        await joiner.result(joining)
        await within(queue.join())
        (letter,) = await within(queue.dead_letters())
        assert (letter.item, letter.attempts) == (1, 1)


async def only_join(queue: Face) -> None:
    await queue.join()
