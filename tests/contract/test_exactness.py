"""qsize, empty and full are exact at the owner, whatever peers hold ahead."""

from __future__ import annotations

from typing import Any

import pytest

import aioprocq

from .faces import Face
from .harness import eventually
from .stages import PEERS, AsyncStage

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.parametrize("face", ["thread", *PEERS]),
]


async def put_and_flush(queue: Face, count: int) -> None:
    await queue.put_many(range(count))
    await flush(queue)


async def flush(queue: Face) -> None:
    answer = getattr(queue, "sync", queue.queue).flush()
    if answer is not None:
        await answer


async def get_some(queue: Face, count: int) -> list[Any]:
    return [await queue.get() for _ in range(count)]


async def test_what_was_flushed_is_counted(face: str) -> None:
    queue = aioprocq.Queue[int](20)
    async with AsyncStage(queue) as stage:
        await stage.run(face, put_and_flush, 20)
        assert (queue.qsize(), queue.empty(), queue.full()) == (20, False, True)


async def test_what_has_been_got_is_not_counted(face: str) -> None:
    """And what was only sent ahead is."""
    queue = aioprocq.JoinableQueue[int](50)
    async with AsyncStage(queue) as stage:
        await queue.put_many(range(50))
        assert queue.full()
        consumer = stage.actor(face)
        for left in range(49, 40, -1):
            await consumer.call(get_some, 1)
            assert queue.qsize() == left
            assert not queue.full()
            assert queue.statistics().held == 50 - left
            assert queue.statistics().unfinished == 50


async def test_a_peer_sees_what_changes(face: str) -> None:
    queue = aioprocq.Queue[int](2)
    async with AsyncStage(queue) as stage:
        watcher = stage.actor(face)
        for size in (0, 1, 2):
            await watcher.call(see, size)
            if size < 2:
                await queue.put(size)
        for size in (1, 0):
            await queue.get()
            await watcher.call(see, size)


async def see(queue: Face, size: int) -> None:
    await queue.until(lambda: queue.qsize() == size)
    await queue.until(lambda: queue.empty() == (size == 0))
    await queue.until(lambda: queue.full() == (size == 2))


async def test_the_room_is_never_more_than_maxsize(face: str) -> None:
    """Several producers, each with room of its own: the sum keeps the bound."""
    queue = aioprocq.Queue[int](5)
    async with AsyncStage(queue) as stage:
        producers = [stage.actor(face) for _ in range(3)]
        tickets = [producer.post(put_and_flush, 40) for producer in producers]
        for taken in range(120):
            assert queue.qsize() <= 5
            await queue.get()
            if taken % 10 == 0:
                await eventually(lambda: queue.full() or not queue.empty())
        for producer, ticket in zip(producers, tickets, strict=True):
            await producer.result(ticket)
        assert queue.empty()
