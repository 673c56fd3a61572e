from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import JoinableQueue, QueueClosed, QueueEmpty, QueueShutDown
from tests.drivers.stations import DEADLINE, Thread, reached

from .faces import Broken, Faces

pytestmark = [pytest.mark.both_loops, pytest.mark.timeout(30)]


@pytest.fixture(params=["owner", "peer"])
async def make(request: pytest.FixtureRequest, on_loop: Faces) -> Callable[..., Any]:
    def build(**named: Any) -> Any:
        queue, peer = on_loop.pair(JoinableQueue, **named)
        return queue if request.param == "owner" else peer

    return build


async def eventually(waiting: Any) -> Any:
    return await asyncio.wait_for(waiting, DEADLINE)


@pytest.mark.parametrize("given", [0, -1])
async def test_an_item_is_delivered_once_at_least(given: int) -> None:
    with pytest.raises(ValueError, match="max_deliveries must be at least 1"):
        JoinableQueue(max_deliveries=given)
    with pytest.raises(TypeError, match="max_deliveries must be a whole number"):
        JoinableQueue(max_deliveries=1.5)  # type: ignore[arg-type]  # on purpose


async def test_join_waits_until_all_is_settled(make: Any) -> None:
    queue = make()
    await queue.put_many([1, 2])
    joiner = asyncio.ensure_future(queue.join())
    for _ in range(2):
        await asyncio.sleep(0)
        assert not joiner.done()
        await get_in_this_task(queue)
        queue.task_done()
    await eventually(joiner)


async def get_in_this_task(queue: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await queue.get()


async def test_task_done_settles_what_this_task_got(make: Any) -> None:
    queue = make()
    await queue.put_many(["other's", "mine"])
    go = asyncio.Event()

    async def other() -> None:
        await get_in_this_task(queue)
        go.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(other())
    await eventually(go.wait())
    assert await get_in_this_task(queue) == "mine"
    queue.task_done()
    queue.task_done()
    await eventually(queue.join())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_task_done_called_too_many_times(make: Any) -> None:
    queue = make()
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()


async def test_deliveries_one_by_one(make: Any) -> None:
    queue = make()
    await queue.put_many("ab")
    await eventually(queue.flush())
    queue.shutdown()
    seen = []
    async with asyncio.timeout(DEADLINE):
        async for delivery in queue.deliveries():
            async with delivery as item:
                seen.append((item, delivery.attempt))
    assert seen == [("a", 1), ("b", 1)]
    with pytest.raises(QueueShutDown):
        await eventually(queue.get_delivery())


async def test_a_delivery_waits_like_a_get(make: Any) -> None:
    queue = make()
    with pytest.raises(QueueEmpty):
        await queue.get_delivery(timeout=0.01)
    waiting = asyncio.ensure_future(queue.get_delivery())
    await queue.put("x")
    delivery = await eventually(waiting)
    assert delivery.item == "x"
    station = queue._handle.station
    assert not station.settle_held(None), "only its own methods settle a delivery"
    delivery.done()
    await eventually(queue.join())


async def test_dead_letters_tell_what_and_why(make: Any) -> None:
    queue = make(max_deliveries=2)
    await queue.put("x")
    for attempt in (1, 2):
        delivery = await eventually(queue.get_delivery())
        assert delivery.attempt == attempt
        delivery.retry(f"no luck {attempt}")
    (letter,) = await eventually(queue.dead_letters())
    assert (letter.item, letter.attempts, letter.reason) == ("x", 2, "no luck 2")
    await eventually(queue.join())


async def test_an_item_that_does_not_unpickle_has_failed(make: Any) -> None:
    queue = make(max_deliveries=2)
    await queue.put(Broken())
    for call in (queue.get_delivery, queue.get):
        with pytest.raises(ValueError, match="broken on purpose"):
            await eventually(call())
    (letter,) = await eventually(queue.dead_letters())
    assert isinstance(letter.item, bytes)
    assert letter.attempts == 2


async def test_a_block_joins_before_it_shuts_down(make: Any) -> None:
    queue = make()

    async def consume() -> list[Any]:
        seen = []
        async for delivery in queue.deliveries():
            async with delivery as item:
                seen.append(item)
        return seen

    consumer = asyncio.ensure_future(consume())
    async with queue:
        await queue.put_many([1, 2, 3])
        await eventually(queue.flush())
    assert queue.statistics().unfinished == 0
    assert await eventually(consumer) == [1, 2, 3]


# Joining what has ended


async def test_joining_ends_with_the_queue(on_loop: Faces) -> None:
    queue = on_loop.keep(JoinableQueue(name="jobs"))
    await queue.put("x")
    waiting = asyncio.create_task(queue.join())
    thread = Thread(queue.sync.join)
    await reached(lambda: len(queue._handle.station.hub.joiners) == 2)
    await queue.aclose()
    with pytest.raises(QueueClosed, match="'jobs' is closed"):
        await waiting
    await reached(lambda: not thread.is_alive())
    assert isinstance(thread.failure(), QueueClosed)


async def test_a_queue_in_which_nothing_is_left_is_joined_after_its_end(
    on_loop: Faces,
) -> None:
    queue = on_loop.keep(JoinableQueue())
    await queue.put("x")
    await queue.get()
    queue.task_done()
    await queue.aclose()
    await queue.join()


async def test_task_done_leaves_deliveries_alone(on_loop: Faces) -> None:
    queue = on_loop.keep(JoinableQueue())
    await queue.put("x")
    delivery = await queue.get_delivery()
    with pytest.raises(ValueError, match="called too many times"):
        queue.task_done()
    delivery.retry()
    assert await queue.get() == "x"
    queue.task_done()


class Mute(Exception):
    """An exception that cannot be shown."""

    def __repr__(self) -> str:
        raise AttributeError("it has no text")


async def test_an_attempt_fails_whatever_its_exception_looks_like(
    on_loop: Faces,
) -> None:
    queue = on_loop.keep(JoinableQueue(max_deliveries=1))
    await queue.put("x")
    with pytest.raises(Mute):
        async with await queue.get_delivery():
            raise Mute
    await queue.join()
    (letter,) = await queue.dead_letters()
    assert letter.reason == "its consumer raised Mute, whose repr() fails"


@pytest.mark.parametrize("call", ["fail", "retry"])
@pytest.mark.parametrize("reason", [KeyError("x"), None, 5, b"x"])
async def test_a_reason_is_text(on_loop: Faces, call: str, reason: Any) -> None:
    queue = on_loop.keep(JoinableQueue())
    await queue.put("x")
    delivery = await queue.get_delivery()
    with pytest.raises(TypeError, match="reason must be a str, not"):
        getattr(delivery, call)(reason)
    delivery.done()
    await queue.join()


async def test_a_task_settles_nothing_of_one_that_has_ended(on_loop: Faces) -> None:
    """Whose number may be its own."""
    queue = on_loop.keep(JoinableQueue(max_deliveries=9))
    count, left = 100, 5
    await queue.put_many(range(count))

    async def handle() -> None:
        item = await queue.get()
        await asyncio.sleep(0)
        if item != left:
            queue.task_done()

    for _ in range(count // 10):
        await asyncio.gather(*[handle() for _ in range(10)])
    station = queue._handle.station
    assert queue.statistics().unfinished == 1
    (place,) = station.hub.store.held
    assert place == left
