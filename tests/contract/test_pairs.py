"""Every face as producer with every face as consumer: one script each."""

from __future__ import annotations

from typing import Any

import pytest

import aioprocq

from .faces import Face, outcome
from .stages import duet, pairs

COUNT = 300
pytestmark = pytest.mark.parametrize(("producer", "consumer"), pairs())


async def produce(queue: Face, count: int) -> None:
    for number in range(count):
        await queue.put(number)


async def consume(queue: Face, count: int) -> list[Any]:
    items = []
    for _ in range(count):
        items.append(await queue.get())
        queue.task_done()
    return items


@pytest.mark.parametrize("maxsize", [0, 1, 7])
def test_order(producer: str, consumer: str, maxsize: int) -> None:
    queue = aioprocq.JoinableQueue[int](maxsize)
    _, items = duet(producer, consumer, queue, (produce, COUNT), (consume, COUNT))
    assert items == list(range(COUNT))


async def produce_many(queue: Face, count: int) -> None:
    await queue.put_many(range(count // 3))
    await queue.put_many(number for number in range(count // 3, count))


async def consume_many(queue: Face, count: int, limit: int) -> list[Any]:
    items: list[Any] = []
    while len(items) < count:
        batch = await queue.get_many(limit)
        assert 1 <= len(batch) <= limit
        items += batch
        for _ in batch:
            queue.task_done()
    return items


@pytest.mark.parametrize("maxsize", [0, 7])
def test_many(producer: str, consumer: str, maxsize: int) -> None:
    queue = aioprocq.JoinableQueue[int](maxsize)
    consuming = (consume_many, COUNT, 10)
    _, items = duet(producer, consumer, queue, (produce_many, COUNT), consuming)
    assert items == list(range(COUNT))


ODD = [None, b"bytes", b"", None, 0, [None]] * 5


async def produce_odd(queue: Face) -> None:
    await queue.put_many(ODD)


def test_items_that_look_like_a_payload_or_like_nothing(
    producer: str, consumer: str
) -> None:
    queue = aioprocq.JoinableQueue[Any]()
    consuming = (consume_many, len(ODD), 10)
    _, items = duet(producer, consumer, queue, (produce_odd,), consuming)
    assert items == ODD


async def produce_and_shut_down(queue: Face, count: int) -> None:
    for number in range(count):
        await queue.put(number)
    queue.shutdown()


async def consume_all(queue: Face) -> list[Any]:
    items = []
    async for item in queue.items():
        items.append(item)
        queue.task_done()
    return items


def test_iteration_ends_at_shutdown(producer: str, consumer: str) -> None:
    queue = aioprocq.JoinableQueue[int](5)
    producing = (produce_and_shut_down, 20)
    _, items = duet(producer, consumer, queue, producing, (consume_all,))
    assert items == list(range(20))


async def deliver_all(queue: Face) -> list[Any]:
    seen = []
    async for delivery in queue.deliveries():
        async with delivery as item:
            seen.append((item, delivery.attempt))
    return seen


def test_deliveries_end_at_shutdown(producer: str, consumer: str) -> None:
    queue = aioprocq.JoinableQueue[int](5)
    producing = (produce_and_shut_down, 20)
    _, seen = duet(producer, consumer, queue, producing, (deliver_all,))
    assert seen == [(number, 1) for number in range(20)]


async def fail_the_even(queue: Face) -> list[Any]:
    seen = []
    async for delivery in queue.deliveries():
        try:
            async with delivery as item:
                seen.append((item, delivery.attempt))
                if item % 2 == 0 and delivery.attempt == 1:
                    raise ArithmeticError("even")
        except ArithmeticError:
            continue
    return seen


def test_failed_deliveries_come_again(producer: str, consumer: str) -> None:
    queue = aioprocq.JoinableQueue[int](5)
    producing = (produce_and_shut_down, 8)
    _, seen = duet(producer, consumer, queue, producing, (fail_the_even,))
    expected = [(n, 1) for n in range(8)] + [(n, 2) for n in range(0, 8, 2)]
    assert sorted(seen) == sorted(expected)


async def produce_and_join(queue: Face, count: int) -> int:
    for number in range(count):
        await queue.put(number)
    await queue.join()
    return queue.qsize()


def test_join(producer: str, consumer: str) -> None:
    queue = aioprocq.JoinableQueue[int](5)
    producing = (produce_and_join, 20)
    left, items = duet(producer, consumer, queue, producing, (consume, 20))
    assert items == list(range(20))
    assert left == 0


async def put_one(queue: Face, payload: object) -> None:
    await queue.put(payload)


async def sample_one(queue: Face) -> tuple[int, int]:
    payload = await queue.get()
    queue.task_done()
    return len(payload), sum(payload[:: 1 << 10])


@pytest.mark.parametrize("size", [300_000, 3 << 20])
def test_large_payload(producer: str, consumer: str, size: int) -> None:
    queue = aioprocq.JoinableQueue[bytes]()
    payload = bytes(range(256)) * (size // 256)
    _, sample = duet(producer, consumer, queue, (put_one, payload), (sample_one,))
    assert sample == (len(payload), sum(payload[:: 1 << 10]))


async def wait_for_item(queue: Face) -> Any:
    return await outcome(queue.get())


async def only_shut_down(queue: Face) -> None:
    queue.shutdown()


def test_shutdown_reaches_blocked_getters(producer: str, consumer: str) -> None:
    queue = aioprocq.Queue[int]()
    waiting = (wait_for_item,)
    _, answer = duet(producer, consumer, queue, (only_shut_down,), waiting)
    assert answer == "QueueShutDown"


async def put_each(queue: Face, count: int) -> list[Any]:
    return [await outcome(queue.put(number)) for number in range(count)]


async def shut_down_when_full(queue: Face) -> list[Any]:
    await queue.until(queue.full)
    queue.shutdown()
    return await consume_all(queue)


def test_shutdown_reaches_blocked_putters(producer: str, consumer: str) -> None:
    if consumer == "sync-owner":
        pytest.skip("a loopless owner sees it become full only while it is blocked")
    queue = aioprocq.JoinableQueue[int](2)
    ends = (shut_down_when_full,)
    outcomes, items = duet(producer, consumer, queue, (put_each, 4), ends)
    assert outcomes == [None, None, "QueueShutDown", "QueueShutDown"]
    assert items == [0, 1]
