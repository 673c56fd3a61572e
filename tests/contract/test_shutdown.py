"""shutdown(), from every face, for every face."""

from __future__ import annotations

import asyncio
import queue as standard_queue
import sys
from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, attempt, outcome
from .stages import FACES, AsyncStage, run_on

LISTENERS = [name for name in FACES if name not in ("sync-owner", "uvloop-owner")]


async def after_shutdown(queue: Face, immediate: bool) -> list[Any]:
    await queue.put(1)
    await queue.put(2)
    await queue.until(lambda: queue.qsize() == 2)
    queue.shutdown(immediate)
    queue.shutdown(immediate)
    await queue.until(lambda: queue.qsize() == (0 if immediate else 2))
    seen = [await outcome(queue.put(3)), attempt(queue.put_nowait, 3)]
    seen += [await outcome(queue.get()) for _ in range(3)]
    return [*seen, attempt(queue.get_nowait)]


def test_gets_drain_then_raise(solo: Solo) -> None:
    down = "QueueShutDown"
    assert solo(after_shutdown, False) == [down, down, 1, 2, down, down]


def test_immediate_throws_away(solo: Solo) -> None:
    assert solo(after_shutdown, True) == ["QueueShutDown"] * 6


async def iterate_after_shutdown(queue: Face) -> list[Any]:
    await queue.put_many(range(10))
    queue.shutdown()
    return [item async for item in queue.items()]


def test_iteration_drains_and_ends(ours: Solo) -> None:
    assert ours(iterate_after_shutdown) == list(range(10))


async def iterate_nothing(queue: Face) -> list[Any]:
    queue.shutdown()
    return [item async for item in queue.items()]


def test_iteration_of_nothing_ends(ours: Solo) -> None:
    assert ours(iterate_nothing) == []


async def immediate_with_held(queue: Face) -> list[Any]:
    await queue.put("held")
    await queue.put("waiting")
    held = await queue.get()
    queue.shutdown(immediate=True)
    await queue.until(queue.empty)
    queue.task_done()
    await queue.join()
    return [held, attempt(queue.task_done)]


def test_what_was_handed_out_still_needs_task_done(solo: Solo) -> None:
    assert solo(immediate_with_held) == ["held", "ValueError"]


async def upgrade(queue: Face) -> list[Any]:
    await queue.put(1)
    queue.shutdown()
    queue.shutdown(immediate=True)
    await queue.until(queue.empty)
    await queue.join()
    return [await outcome(queue.get())]


def test_a_draining_queue_can_be_shut_down_at_once(solo: Solo) -> None:
    assert solo(upgrade) == ["QueueShutDown"]


async def bases_of_shutdown(queue: Face) -> list[bool]:
    queue.shutdown()
    try:
        await queue.get()
    except aioprocq.QueueShutDown as error:
        expected: list[type] = [aioprocq.AioprocqError]
        if sys.version_info >= (3, 13):
            expected += [asyncio.QueueShutDown, standard_queue.ShutDown]
        return [isinstance(error, base) for base in expected]
    raise AssertionError("get() returned from a queue that was shut down")


def test_the_error_is_that_of_both_libraries(face: str) -> None:
    from .stages import solo as run_solo

    queue = aioprocq.JoinableQueue[int]()
    assert all(run_solo(face, queue, bases_of_shutdown))


async def get_one(queue: Face) -> Any:
    return await outcome(queue.get())


async def put_one(queue: Face, item: Any) -> Any:
    return await outcome(queue.put(item))


async def join_all(queue: Face) -> Any:
    return await outcome(queue.join())


async def shut_down(queue: Face, immediate: bool) -> None:
    queue.shutdown(immediate)


@pytest.mark.parametrize("immediate", [False, True])
@pytest.mark.parametrize("origin", LISTENERS)
def test_it_reaches_everybody(origin: str, immediate: bool) -> None:
    run_on("owner", reach_everybody(origin, immediate))


async def reach_everybody(origin: str, immediate: bool) -> None:
    """Getters and joiners of an empty queue, putters of a full one."""
    empty = aioprocq.JoinableQueue[int](1)
    full = aioprocq.JoinableQueue[int](1)
    async with AsyncStage(empty) as hungry, AsyncStage(full) as stuffed:
        await full.put(0)
        getters = [hungry.actor(name) for name in LISTENERS]
        putters = [stuffed.actor(name) for name in LISTENERS]
        gets = [actor.post(get_one) for actor in getters]
        puts = [actor.post(put_one, 1) for actor in putters]
        await hungry.run(origin, shut_down, immediate)
        await stuffed.run(origin, shut_down, immediate)
        for actors, tickets in ((getters, gets), (putters, puts)):
            for actor, ticket in zip(actors, tickets, strict=True):
                assert await actor.result(ticket) == "QueueShutDown"
        left = await get_one(stuffed.actor("owner").faces[0])
    assert left == ("QueueShutDown" if immediate else 0)


@pytest.mark.parametrize("origin", LISTENERS)
def test_immediate_ends_a_join(origin: str) -> None:
    run_on("owner", end_joins(origin))


async def end_joins(origin: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        await queue.put_many(range(3))
        joiners = [stage.actor(name) for name in LISTENERS]
        joins = [actor.post(join_all) for actor in joiners]
        await stage.run(origin, shut_down, True)
        for actor, ticket in zip(joiners, joins, strict=True):
            assert await actor.result(ticket) is None
