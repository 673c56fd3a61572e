"""Several producers and consumers at a time, in any mix of faces."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import aioprocq

from .faces import Face
from .harness import within
from .stages import PEERS, AsyncStage

EACH = 120
CROWD = ("owner", "thread", *PEERS)

pytestmark = pytest.mark.both_loops


async def produce_as(queue: Face, name: str, count: int) -> None:
    for number in range(count):
        await queue.put((name, number))


async def consume_all(queue: Face) -> list[Any]:
    items = []
    async for item in queue.items():
        items.append(item)
        queue.task_done()
    return items


@pytest.mark.parametrize("maxsize", [0, 4])
async def test_every_face_at_both_ends(maxsize: int) -> None:
    queue = aioprocq.JoinableQueue[tuple[str, int]](maxsize)
    async with AsyncStage(queue) as stage:
        consumers = [stage.actor(face) for face in CROWD]
        takings = [consumer.post(consume_all) for consumer in consumers]
        producers = [stage.actor(face) for face in CROWD]
        puttings = [
            producer.post(produce_as, face, EACH)
            for producer, face in zip(producers, CROWD, strict=True)
        ]
        for producer, ticket in zip(producers, puttings, strict=True):
            await producer.result(ticket)
        await within(queue.join())
        queue.shutdown()
        shares = [
            await consumer.result(ticket)
            for consumer, ticket in zip(consumers, takings, strict=True)
        ]
        returned = queue.statistics().returned
    # What was sent ahead to a busy consumer, and has come back, is handed to another
    # one later than what was put after it. All else is in order.
    for share in shares if not returned else ():
        assert_in_order_per_producer(share)
    expected = Counter((name, n) for name in CROWD for n in range(EACH))
    assert Counter(item for share in shares for item in share) == expected


def assert_in_order_per_producer(share: list[tuple[str, int]]) -> None:
    for name in CROWD:
        numbers = [number for producer, number in share if producer == name]
        assert numbers == sorted(numbers)


async def put_one(queue: Face, item: str) -> None:
    await queue.put(item)


@pytest.mark.parametrize("face", ["thread", *PEERS])
async def test_order_of_arrival_across_producers(face: str) -> None:
    queue = aioprocq.Queue[str]()
    async with AsyncStage(queue) as stage:
        owner, other = stage.actor("owner"), stage.actor(face)
        await other.call(put_one, "first")
        await owner.faces[0].until(lambda: queue.qsize() == 1)
        await queue.put("second")
        await other.call(put_one, "third")
        await owner.faces[0].until(lambda: queue.qsize() == 3)
        arrived = await queue.get_many(3)
    assert list(arrived) == ["first", "second", "third"]


async def get_one(queue: Face) -> Any:
    return await queue.get()


async def test_waiting_getters_are_served_in_turn() -> None:
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        owner = stage.actor("owner")
        tickets = []
        for _ in range(5):
            tickets.append(owner.post(get_one))
            # One turn of the loop, in which the getter comes to wait.
            await owner.call(let_others_run)
        await queue.put_many(range(5))
        served = [await owner.result(ticket) for ticket in tickets]
    assert served == list(range(5))


async def let_others_run(queue: Face) -> None:
    return None


@pytest.mark.parametrize("face", PEERS)
async def test_items_go_around_a_busy_consumer(face: str) -> None:
    """What a peer has been sent ahead, and has not got, is there for the others."""
    queue = aioprocq.Queue[int]()
    async with AsyncStage(queue) as stage:
        busy, idle = stage.actor(face), stage.actor(face)
        await queue.put_many(range(50))
        first = await busy.call(get_one)
        others = await idle.call(get_rest, 49)
    assert first == 0
    assert others == list(range(1, 50))


async def get_rest(queue: Face, count: int) -> list[Any]:
    return [await queue.get() for _ in range(count)]
