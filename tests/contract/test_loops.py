"""Where calls belong: their thread and their event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import aioprocq

from .faces import Face, attempt, outcome
from .harness import Child, eventually
from .stages import FACES, AsyncStage, bind, run_on
from .stages import solo as run_solo

BLOCKING: dict[str, Callable[[Any], Any]] = {
    "get": lambda sync: sync.get(),
    "get with a timeout": lambda sync: sync.get(timeout=1),
    "put": lambda sync: sync.put(1),
    "put_many": lambda sync: sync.put_many([1]),
    "get_many": lambda sync: sync.get_many(1),
    "join": lambda sync: sync.join(),
    "iteration": lambda sync: next(iter(sync)),
    "deliveries": lambda sync: next(iter(sync.deliveries())),
}
ASYNC_FACES = [name for name in FACES if name.startswith(("owner", "async", "uvloop"))]


async def block_the_loop(queue: Face, call: str) -> str:
    # Something to settle and to get: none of the calls would have to wait.
    await queue.put("there")
    try:
        BLOCKING[call](queue.queue.sync)
    except RuntimeError as error:
        return str(error)
    return "it went through"


@pytest.mark.parametrize("call", BLOCKING)
@pytest.mark.parametrize("face", ASYNC_FACES)
def test_blocking_calls_on_a_running_loop(face: str, call: str) -> None:
    message = run_solo(face, aioprocq.JoinableQueue[str](5), block_the_loop, call)
    assert "await" in message or "async for" in message


WAITING: dict[str, Callable[[Any], Any]] = {
    "get": lambda queue: queue.get(),
    "put": lambda queue: queue.put("more"),
    "join": lambda queue: queue.join(),
    "get_delivery": lambda queue: queue.get_delivery(),
}


@pytest.mark.parametrize("call", WAITING)
@pytest.mark.parametrize("other", ["owner", "uvloop-owner"])
def test_use_from_another_loop(other: str, call: str) -> None:
    queue = aioprocq.JoinableQueue[str](1)

    async def elsewhere() -> None:
        async with asyncio.timeout(20):
            await WAITING[call](queue)

    with asyncio.Runner() as runner:
        runner.run(bind(queue))
        if call in ("put", "join"):
            runner.run(queue.put("full"))
        with pytest.raises(RuntimeError, match="loop"):
            run_on(other, elsewhere())
        runner.run(queue.aclose())


async def wait_on_two_loops(queue: Face) -> list[Any]:
    def wait_elsewhere() -> Any:
        return asyncio.run(get_one(queue.queue))

    elsewhere = asyncio.create_task(asyncio.to_thread(wait_elsewhere))
    return sorted([await get_one(queue.queue), await elsewhere])


async def get_one(queue: Any) -> Any:
    async with asyncio.timeout(20):
        return await queue.get()


@pytest.mark.parametrize("face", ["async-peer", "uvloop-peer"])
def test_a_peer_may_wait_on_several_loops(face: str) -> None:
    """It is the hub that has a loop of its own: a peer's state is on neither."""
    assert run_on("owner", feed_two_loops(face)) == [1, 2]


async def feed_two_loops(face: str) -> Any:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        peer = stage.actor(face)
        waiting = peer.post(wait_on_two_loops)
        await eventually(lambda: queue.statistics().getters_waiting != 0)
        await queue.put_many([1, 2])
        return await peer.result(waiting)


def test_made_without_a_loop_and_used_on_one() -> None:
    queue = aioprocq.Queue[str](2)

    async def use() -> str:
        await queue.put("made before")
        item = await queue.get()
        await queue.aclose()
        return item

    assert asyncio.run(use()) == "made before"


def test_waiting_items_are_there_when_a_loop_comes() -> None:
    queue = aioprocq.JoinableQueue[int]()
    queue.put_nowait(1)
    queue.sync.put(2)

    async def use() -> list[int]:
        items = [await queue.get(), await queue.get()]
        queue.task_done()
        queue.task_done()
        await queue.join()
        await queue.aclose()
        return items

    assert asyncio.run(use()) == [1, 2]


FIRST_USES: dict[str, Callable[[Any], Any]] = {
    "put": lambda queue: queue.put("mine"),
    "put_nowait": lambda queue: as_coroutine(queue.put_nowait, "mine"),
    "put_many": lambda queue: queue.put_many(["mine"]),
    "get": lambda queue: outcome(queue.get(timeout=0)),
    "get_nowait": lambda queue: as_coroutine(attempt, queue.get_nowait),
    "join": lambda queue: outcome(asyncio.wait_for(queue.join(), 0.01)),
    "flush": lambda queue: queue.flush(),
}


async def as_coroutine(call: Callable[..., Any], *args: Any) -> Any:
    return call(*args)


async def put_one(queue: Face) -> None:
    await queue.put("theirs")


@pytest.mark.parametrize("use", FIRST_USES)
async def test_any_first_use_on_a_loop_binds(use: str) -> None:
    """The owner's loop serves its peers, although nothing waits on the queue."""
    queue = await asyncio.to_thread(aioprocq.Queue[str], 5)
    child = Child("blocking-peer", queue)
    try:
        await FIRST_USES[use](queue)
        await child.call(put_one)
        await eventually(lambda: queue.statistics().peers == 1)
        while not queue.empty():
            queue.get_nowait()
        with pytest.raises(RuntimeError, match="loop"):
            await asyncio.to_thread(asyncio.run, get_one(queue))
        await child.leave()
    finally:
        child.bury()
        await queue.aclose()
