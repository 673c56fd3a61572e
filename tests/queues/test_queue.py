from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import aioprocq
from aioprocq import (
    JoinableQueue,
    LoopMismatch,
    OwnerLost,
    Queue,
    QueueClosed,
    QueueEmpty,
    QueueFull,
    QueueShutDown,
)
from tests.drivers.stations import DEADLINE, LARGE, Thread, reached

from .faces import Broken, Faces

pytestmark = [pytest.mark.both_loops, pytest.mark.timeout(30)]


@pytest.fixture(params=["owner", "peer"])
async def make(request: pytest.FixtureRequest, on_loop: Faces) -> Callable[..., Any]:
    """Makes a queue as the owner has it, or as another process has it."""

    def build(*args: Any, kind: Any = Queue, **named: Any) -> Any:
        queue, peer = on_loop.pair(kind, *args, **named)
        return queue if request.param == "owner" else peer

    return build


async def eventually(waiting: Any) -> Any:
    return await asyncio.wait_for(waiting, DEADLINE)


async def blocked(waiting: Any) -> asyncio.Task[Any]:
    """A task that has begun to wait."""
    task = asyncio.ensure_future(waiting)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_first_in_first_out(make: Any) -> None:
    queue = make()
    for item in (1, "two", None, "x" * LARGE):
        await queue.put(item)
    got = [await eventually(queue.get()) for _ in range(4)]
    assert got == [1, "two", None, "x" * LARGE]


async def test_a_get_waits_for_a_put(make: Any) -> None:
    queue = make()
    getter = await blocked(queue.get())
    await queue.put("x")
    assert await eventually(getter) == "x"


async def test_a_put_waits_for_a_get(make: Any) -> None:
    queue = make(1)
    await eventually(queue.put(1))
    putter = await blocked(queue.put(2))
    assert await eventually(queue.get()) == 1
    await eventually(putter)
    assert await eventually(queue.get()) == 2


async def test_timeouts(make: Any) -> None:
    queue = make(1, name="jobs")
    with pytest.raises(QueueEmpty, match=r"'jobs' is empty: await get\(\), or allow"):
        await queue.get(timeout=0.01)
    with pytest.raises(QueueEmpty):
        await queue.get(timeout=0)
    await eventually(queue.put(1))
    with pytest.raises(QueueFull, match=r"'jobs' is full \(maxsize=1\): await put"):
        await queue.put(2, timeout=0.01)
    assert await eventually(queue.get(timeout=5)) == 1
    with pytest.raises(TypeError):
        await queue.put(1, timeout="soon")
    with pytest.raises(TypeError):
        await queue.get(timeout="soon")


async def test_a_cancelled_put_has_put_nothing(make: Any) -> None:
    queue = make(1)
    await eventually(queue.put(1))
    putter = await blocked(queue.put("cancelled"))
    other = await blocked(queue.put(2))
    putter.cancel()
    assert await eventually(queue.get()) == 1
    await eventually(other)
    assert await eventually(queue.get()) == 2
    assert putter.cancelled()


async def test_a_cancelled_get_has_taken_nothing(make: Any) -> None:
    queue = make()
    first, second = await blocked(queue.get()), await blocked(queue.get())
    await queue.put("x")
    first.cancel()
    assert await eventually(second) == "x"


async def test_many_at_once(make: Any) -> None:
    queue = make()
    await eventually(queue.put_many(range(10_000)))
    got: list[int] = []
    while len(got) < 10_000:
        part = await eventually(queue.get_many(10_000 - len(got)))
        assert part
        got += part
    assert got == list(range(10_000))
    with pytest.raises(ValueError, match="max_items must be at least 1"):
        await queue.get_many(0)


async def test_many_with_little_room(make: Any) -> None:
    queue = make(3)
    putter = asyncio.ensure_future(queue.put_many(range(20)))
    assert [await eventually(queue.get()) for _ in range(20)] == list(range(20))
    await eventually(putter)


async def test_many_from_an_async_iterable(make: Any) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    queue = make()
    await eventually(queue.put_many(items()))
    assert [await eventually(queue.get()) for _ in range(3)] == [0, 1, 2]


async def test_how_many_of_many_were_put(make: Any) -> None:
    queue = make()
    with pytest.raises(TypeError) as caught:
        await queue.put_many([1, 2, threading.Lock(), 4])
    assert "aioprocq: 2 of the items, or more, were put" in caught.value.__notes__[-1]
    assert [await eventually(queue.get()) for _ in range(2)] == [1, 2]


async def test_without_waiting_in_the_owner(on_loop: Faces) -> None:
    queue: Any = on_loop.keep(Queue(1))
    with pytest.raises(QueueEmpty, match="is empty"):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(QueueFull, match="is full"):
        queue.put_nowait(2)
    assert queue.full()
    assert queue.get_nowait() == 1
    assert queue.empty()


async def test_without_waiting_in_a_peer(on_loop: Faces) -> None:
    _, peer = on_loop.pair(Queue, 1)

    def put() -> bool:
        try:
            peer.put_nowait(1)
        except QueueFull:
            return False
        return True

    def get() -> bool:
        try:
            return bool(peer.get_nowait() == 1)
        except QueueEmpty:
            return False

    assert not put(), "it has not asked for room yet"
    await reached(put)
    assert not get(), "it has not asked for an item yet"
    await reached(get)


async def test_nothing_is_left_after_a_shutdown(make: Any) -> None:
    queue = make(name="jobs")
    await queue.put(1)
    await eventually(queue.flush())
    queue.shutdown()
    for call in (queue.put(2), queue.put_many([2])):
        with pytest.raises(QueueShutDown, match="'jobs' is shut down"):
            await call
    assert await eventually(queue.get()) == 1
    with pytest.raises(QueueShutDown):
        await eventually(queue.get())
    with pytest.raises(QueueShutDown):
        queue.get_nowait()


async def test_a_shutdown_ends_all_who_wait(make: Any) -> None:
    queue = make(1)
    getter = await blocked(queue.get())
    queue.shutdown()
    with pytest.raises(QueueShutDown):
        await eventually(getter)
    full = make(1)
    await eventually(full.put(1))
    putter = await blocked(full.put(2))
    full.shutdown(immediate=True)
    with pytest.raises(QueueShutDown):
        await eventually(putter)


async def test_an_iteration_ends_at_shutdown(make: Any) -> None:
    queue = make()
    await queue.put_many("abc")
    await eventually(queue.flush())
    queue.shutdown()
    assert [item async for item in queue] == ["a", "b", "c"]


async def test_a_block_shuts_down(make: Any) -> None:
    queue = make()
    async with queue as same:
        assert same is queue
        await queue.put("left")
        await eventually(queue.flush())
    assert [item async for item in queue] == ["left"]
    other = make()
    with pytest.raises(KeyError):
        async with other:
            await other.put("thrown away")
            raise KeyError
    assert [item async for item in other] == []


async def test_join_waits_until_all_is_handed_out(make: Any) -> None:
    queue = make()
    await queue.put(1)
    joiner = await blocked(queue.join())
    await eventually(queue.get())
    await asyncio.wait_for(joiner, 3)
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()


async def test_closing_it_ends_the_waits_here(make: Any) -> None:
    queue = make(1, name="jobs")
    getter = await blocked(queue.get())
    queue.close()
    with pytest.raises(ValueError, match="'jobs' is closed"):
        await eventually(getter)
    with pytest.raises(QueueClosed, match="is closed; use it before"):
        await queue.put(1)
    other = make(1)
    await eventually(other.put(1))
    putter = await blocked(other.put(2))
    other.close()
    with pytest.raises(ValueError, match="is closed"):
        await eventually(putter)


async def test_the_end_of_the_owner(on_loop: Faces) -> None:
    queue, peer = on_loop.pair(Queue, name="jobs")
    getter = await blocked(peer.get())
    await queue.aclose()
    await queue.aclose()
    with pytest.raises(OwnerLost, match="'jobs'"):
        await eventually(getter)
    assert "owner lost" in repr(peer)


async def test_an_item_that_does_not_unpickle_is_one_item(make: Any) -> None:
    queue = make()
    await queue.put_many([1, Broken(), 3])
    await eventually(queue.flush())
    got: list[Any] = []
    failures: list[str] = []
    while len(got) < 2:
        try:
            got += await eventually(queue.get_many(9))
        except ValueError as failure:
            failures += failure.__notes__
    assert got == [1, 3]
    assert len(failures) == 1
    assert "could not be unpickled here" in failures[0]


async def test_an_item_that_does_not_unpickle_is_raised_by_its_get(make: Any) -> None:
    queue = make()
    await queue.put(Broken())
    with pytest.raises(ValueError, match="broken on purpose"):
        await eventually(queue.get())


async def test_an_item_that_does_not_pickle(make: Any) -> None:
    queue = make()
    with pytest.raises(TypeError) as caught:
        await queue.put({"a": [threading.Lock()]})
    assert "dict['a'][0] cannot be pickled" in caught.value.__notes__[0]
    assert queue.qsize() == 0


async def test_bounded_in_bytes(make: Any) -> None:
    queue = make(max_bytes=200)
    await eventually(queue.put(b"x" * 100))
    with pytest.raises(QueueFull):
        await queue.put(b"y" * 100, timeout=0.01)
    with pytest.raises(ValueError, match="never fits"):
        await queue.put(b"z" * 300)
    assert await eventually(queue.get()) == b"x" * 100


async def test_what_it_says_of_itself(on_loop: Faces) -> None:
    queue, peer = on_loop.pair(Queue, 3, name="jobs")
    await queue.put(1)
    assert repr(queue) == "<Queue 'jobs' owner open qsize=1 maxsize=3>"
    assert repr(peer) == "<Queue 'jobs' peer open qsize=1 maxsize=3>"
    assert (queue.name, queue.maxsize, peer.statistics().qsize) == ("jobs", 3, 1)
    assert repr(queue.sync) == "<blocking face of queue 'jobs'>"
    queue.close()
    peer.close()
    assert repr(queue) == "<Queue 'jobs' owner closed, open qsize=1 maxsize=3>"
    assert repr(peer) == "<Queue 'jobs' peer closed maxsize=3>"


async def test_a_name_is_made_up_or_a_string(on_loop: Faces) -> None:
    one: Any = on_loop.keep(Queue())
    other: Any = on_loop.keep(Queue())
    assert one.name.startswith(f"queue-{os.getpid()}-")
    assert one.name != other.name
    with pytest.raises(TypeError, match="name must be a string, not int"):
        Queue(name=3)  # type: ignore[arg-type]  # on purpose
    assert Queue[int].__origin__ is Queue  # type: ignore[attr-defined]


async def test_another_loop_is_told_so(on_loop: Faces) -> None:
    queue: Any = on_loop.keep(JoinableQueue(1))
    other = Thread(asyncio.run, queue.get(timeout=5))
    await reached(lambda: not other.is_alive())
    assert isinstance(other.failure(), LoopMismatch)


async def test_a_block_that_is_cancelled_while_it_drains(make: Any) -> None:
    queue = make(kind=JoinableQueue)

    async def use() -> None:
        async with queue:
            await queue.put("never settled")
            await queue.flush()

    task = await blocked(use())
    await reached(lambda: queue.statistics().unfinished)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(QueueShutDown):
        await queue.put(1)
    assert issubclass(QueueShutDown, aioprocq.AioprocqError)
