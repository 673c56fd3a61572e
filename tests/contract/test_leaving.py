"""close(), aclose() and `async with`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aioprocq

from .faces import Face, attempt, outcome
from .harness import within
from .stages import PEERS, AsyncStage, run_on
from .stages import solo as run_solo

CLOSED = "is closed"


async def use_closed(queue: Face) -> list[Any]:
    await queue.put(1)
    queue.close()
    queue.close()
    await queue.aclose()
    await queue.aclose()
    calls = [queue.put(2), queue.get(), queue.put_many([3]), queue.get_many(3)]
    seen = [await message_of(call) for call in calls]
    return [
        *seen,
        message_at_once(queue.put_nowait, 4),
        message_at_once(queue.get_nowait),
    ]


async def message_of(waiting: Any) -> str:
    try:
        await waiting
    except ValueError as error:
        return str(error)
    return "no ValueError"


def message_at_once(call: Any, *args: Any) -> str:
    try:
        call(*args)
    except ValueError as error:
        return str(error)
    return "no ValueError"


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue"])
def test_use_after_close(face: str, kind: str) -> None:
    queue = getattr(aioprocq, kind)(name="orders")
    messages = run_solo(face, queue, use_closed)
    assert len(messages) == 6
    for message in messages:
        assert "orders" in message
        assert CLOSED in message


async def read_closed(queue: Face) -> list[Any]:
    await queue.put_many([1, 2, 3])
    await queue.get()
    await queue.until(lambda: queue.qsize() == 2)
    queue.close()
    return [queue.qsize(), queue.empty(), attempt(queue.task_done)]


@pytest.mark.parametrize("face", ["owner", "uvloop-owner", "sync-owner"])
def test_the_owner_answers_after_close(face: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    assert run_solo(face, queue, read_closed) == [2, False, None]


async def read_ended(queue: Face) -> list[Any]:
    await queue.put_many([1, 2, 3])
    await queue.get()
    await queue.aclose()
    return [queue.qsize(), queue.empty(), attempt(queue.task_done)]


@pytest.mark.parametrize("face", ["owner", "uvloop-owner", "sync-owner"])
def test_the_owner_answers_after_aclose(face: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    assert run_solo(face, queue, read_ended) == [2, False, None]


async def join_closed(queue: Face) -> list[Any]:
    await queue.put(1)
    await queue.get()
    queue.close()
    queue.task_done()
    await queue.join()
    return [queue.qsize(), queue.empty(), attempt(queue.task_done)]


@pytest.mark.parametrize("face", ["owner", "uvloop-owner", "sync-owner"])
def test_the_owner_joins_after_close(face: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    assert run_solo(face, queue, join_closed) == [0, True, "ValueError"]


async def close_only(queue: Face) -> None:
    queue.close()


async def put_one(queue: Face, item: Any) -> Any:
    return await outcome(queue.put(item))


@pytest.mark.parametrize("face", PEERS)
def test_a_peers_close_is_its_own(face: str) -> None:
    run_on("owner", close_beside_others(face))


async def close_beside_others(face: str) -> None:
    """What it had put stays, and the other handles are as before."""
    queue = aioprocq.Queue[str]()
    async with AsyncStage(queue) as stage:
        closing, staying = stage.actor(face), stage.actor(face)
        await closing.call(put_one, "left behind")
        await closing.call(close_only)
        assert await closing.call(put_one, "refused") == "QueueClosed"
        assert await within(queue.get()) == "left behind"
        assert await staying.call(put_one, "works") is None
        assert await within(queue.get()) == "works"


async def get_one(queue: Face) -> Any:
    return await outcome(queue.get())


@pytest.mark.parametrize("face", ["owner", "async-peer", "uvloop-peer"])
def test_aclose_wakes_what_waits_on_the_handle(face: str) -> None:
    run_on("owner", close_under_a_getter(face))


async def close_under_a_getter(face: str) -> None:
    queue = aioprocq.Queue[str]()
    async with AsyncStage(queue) as stage:
        actor = stage.actor(face)
        waiting = actor.post(get_one)
        await actor.call(let_others_run)
        await actor.call(aclose_only)
        assert await actor.result(waiting) == "QueueClosed"


async def aclose_only(queue: Face) -> None:
    await queue.aclose()


async def let_others_run(queue: Face) -> None:
    await asyncio.sleep(0)


async def work_off(queue: Face, handled: int) -> int:
    async for _ in queue.items():
        handled += 1
        queue.task_done()
    return handled


@pytest.mark.parametrize("face", ["owner", "thread", *PEERS])
def test_leaving_cleanly_joins_then_shuts_down(face: str) -> None:
    run_on("owner", leave_cleanly(face))


async def leave_cleanly(face: str) -> None:
    queue = aioprocq.JoinableQueue[int](5)
    async with AsyncStage(queue) as stage:
        worker = stage.actor(face)
        async with asyncio.timeout(20), queue as entered:
            assert entered is queue
            working = worker.post(work_off, 0)
            await queue.put_many(range(20))
        # All was settled by the time that the block was left.
        assert queue.empty()
        assert await worker.result(working) == 20
        with pytest.raises(ValueError, match="too many"):
            queue.task_done()
        assert await put_one(stage.actor("owner").faces[0], 1) in ENDED


async def leave_block(queue: Face) -> list[Any]:
    """`async with` in a peer: it ends the queue for everybody, the owner included."""
    async with queue.queue as entered:
        await queue.put_many(range(5))
    return [entered is queue.queue, await outcome(queue.put(1))]


@pytest.mark.parametrize("face", ["async-peer", "uvloop-peer"])
def test_leaving_in_a_peer(face: str) -> None:
    run_on("owner", leave_elsewhere(face))


async def leave_elsewhere(face: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        peer = stage.actor(face)
        leaving = peer.post(leave_block)
        assert await within(work_off(stage.actor("owner").faces[0], 0)) == 5
        assert await peer.result(leaving) == [True, "QueueShutDown"]
        with pytest.raises(aioprocq.QueueShutDown):
            await within(queue.put(1))


ENDED = ("QueueShutDown", "QueueClosed")


@pytest.mark.both_loops
async def test_leaving_a_plain_queue_does_not_wait() -> None:
    queue = aioprocq.Queue[int]()
    async with asyncio.timeout(20):
        async with queue:
            await queue.put(1)
            await queue.get()
    with pytest.raises((aioprocq.QueueShutDown, ValueError)):
        await queue.put(2)
    await queue.aclose()


@pytest.mark.parametrize("face", PEERS)
def test_leaving_with_an_exception_shuts_down_at_once(face: str) -> None:
    run_on("owner", leave_in_anger(face))


async def leave_in_anger(face: str) -> None:
    queue = aioprocq.JoinableQueue[int]()
    async with AsyncStage(queue) as stage:
        worker = stage.actor(face)
        held = await hold_then_wait(queue, worker)
        assert held == 0
        waiting = worker.post(join_then_get)
        with pytest.raises(ArithmeticError):
            async with asyncio.timeout(20), queue:
                raise ArithmeticError("anger")
        assert queue.empty()
        assert await worker.result(waiting) == "QueueShutDown"


async def hold_then_wait(queue: Any, worker: Any) -> Any:
    await queue.put_many(range(10))
    return await worker.call(get_one)


async def join_then_get(queue: Face) -> Any:
    """Settle what is held, then see what is left of what waited."""
    await queue.until(queue.empty)
    queue.task_done()
    return await outcome(queue.get())


@pytest.mark.parametrize("face", PEERS)
def test_peers_of_a_closed_owner_have_lost_it(face: str) -> None:
    run_on("owner", lose_by_aclose(face))


async def lose_by_aclose(face: str) -> None:
    """The connected as well as those who come too late."""
    queue = aioprocq.Queue[str]()
    async with AsyncStage(queue) as stage:
        connected, late = stage.actor(face), stage.actor(face)
        await connected.call(put_one, "hello")
        assert await within(queue.get()) == "hello"
        waiting = connected.post(get_one)
        await queue.aclose()
        assert await connected.result(waiting) == "OwnerLost"
        assert await connected.call(put_one, "bye") == "OwnerLost"
        assert await late.call(get_one) == "OwnerLost"
