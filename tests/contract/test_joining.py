"""task_done() and join(), on every face."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, attempt, outcome
from .harness import eventually, within
from .stages import PEERS, AsyncStage, run_on

OTHERS = ["owner", "thread", *PEERS]
TOO_MANY = r"task_done\(\) called too many times"


async def settle_each(queue: Face, count: int) -> list[Any]:
    for number in range(count):
        await queue.put(number)
    items = []
    for _ in range(count):
        items.append(await queue.get())
        queue.task_done()
    await queue.join()
    return items


def test_join_returns_when_all_is_settled(solo: Solo) -> None:
    assert solo(settle_each, 10) == list(range(10))


async def join_nothing(queue: Face) -> None:
    await queue.join()
    await queue.join()


def test_join_of_an_unused_queue_returns(solo: Solo) -> None:
    assert solo(join_nothing) is None


async def settle_too_often(queue: Face) -> list[Any]:
    seen = [attempt(queue.task_done)]
    await queue.put(1)
    await queue.get()
    seen += [attempt(queue.task_done), attempt(queue.task_done)]
    await queue.join()
    return seen


def test_task_done_too_often(solo: Solo) -> None:
    assert solo(settle_too_often) == ["ValueError", None, "ValueError"]


async def message_of_too_many(queue: Face) -> str:
    try:
        queue.task_done()
    except ValueError as error:
        return str(error)
    return "nothing raised"


def test_message_of_too_many(solo: Solo) -> None:
    assert "task_done() called too many times" in solo(message_of_too_many)


async def get_one(queue: Face) -> Any:
    return await queue.get()


async def settle_one(queue: Face) -> Any:
    return attempt(queue.task_done)


async def join_all(queue: Face) -> Any:
    return await outcome(queue.join())


@pytest.mark.parametrize("joiner", OTHERS)
@pytest.mark.parametrize("worker", OTHERS)
def test_join_waits_for_the_last_task_done(joiner: str, worker: str) -> None:
    run_on("owner", wait_for_the_last(joiner, worker))


async def wait_for_the_last(joiner: str, worker: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        await queue.put_many([1, 2])
        working, joining = stage.actor(worker), stage.actor(joiner)
        await working.call(get_one)
        joined = joining.post(join_all)
        assert await working.call(settle_one) is None
        await working.call(get_one)
        # Nothing is waiting any more, but one item is held: join goes on.
        assert queue.empty()
        again = asyncio.create_task(queue.join())
        await asyncio.sleep(0)
        assert not again.done()
        assert await working.call(settle_one) is None
        await joining.result(joined)
        await within(again)


@pytest.mark.parametrize("face", OTHERS)
def test_anybody_can_settle_the_oldest_that_is_held(face: str) -> None:
    run_on("owner", settle_for_another(face))


async def settle_for_another(face: str) -> None:
    """Who holds nothing settles for those who do, and no more than they hold."""
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        holder, settler = stage.actor("async-peer"), stage.actor(face)
        await queue.put_many([1, 2])
        await holder.call(get_one)
        await holder.call(get_one)
        assert await settler.call(settle_one) is None
        assert await settler.call(settle_one) is None
        await within(queue.join())
        with pytest.raises(ValueError, match=TOO_MANY):
            queue.task_done()


async def get_in_two_tasks(queue: Face) -> list[Any]:
    """Each of two tasks gets an item; the second one settles, and no more."""
    first_has = asyncio.Event()
    second_has = asyncio.Event()
    end = asyncio.Event()

    async def first() -> Any:
        item = await queue.get()
        first_has.set()
        await end.wait()
        return item

    async def second() -> Any:
        await first_has.wait()
        item = await queue.get()
        second_has.set()
        queue.task_done()
        end.set()
        return item

    return list(await asyncio.gather(first(), second()))


@pytest.mark.parametrize("face", ["async-peer", "uvloop-peer"])
def test_task_done_settles_what_its_own_task_got(face: str) -> None:
    run_on("owner", settle_own(face))


async def settle_own(face: str) -> None:
    queue = aioprocq.JoinableQueue[str]()
    async with AsyncStage(queue) as stage:
        await queue.put_many(["unsettled", "settled"])
        worker = stage.actor(face)
        assert await worker.call(get_in_two_tasks) == ["unsettled", "settled"]
        await worker.kill()
        again = await within(queue.get_delivery())
        assert (again.item, again.attempt) == ("unsettled", 2)
        again.done()
        await within(queue.join())
        assert queue.empty()


async def settle_from_a_task_apart(queue: Face) -> Any:
    await queue.put(1)
    await asyncio.create_task(get_one(queue))

    async def settle() -> None:
        queue.task_done()

    await asyncio.create_task(settle())
    await queue.join()


@pytest.mark.parametrize("face", ["owner", "uvloop-owner", "async-peer", "uvloop-peer"])
def test_a_task_may_settle_what_another_got(face: str) -> None:
    from .stages import solo as run_solo

    run_solo(face, aioprocq.JoinableQueue[int](), settle_from_a_task_apart)


@pytest.mark.both_loops
async def test_join_checks_again_after_it_was_woken() -> None:
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        await queue.put(1)
        joined = asyncio.create_task(queue.join())
        await asyncio.sleep(0)
        await queue.get()
        queue.task_done()
        # join is about to wake when something new is put, which counts.
        queue.put_nowait(2)
        await asyncio.sleep(0)
        settled = [joined.done()]
        await queue.get()
        settled.append(joined.done())
        queue.task_done()
        await eventually(joined.done)
        assert not any(settled)
        del stage
