from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioprocq import JoinableQueue
from aioprocq.queues.delivery import DeadLetter, Delivery

from .faces import Faces


def deliver(faces: Faces, item: Any = "x", max_deliveries: int = 2) -> tuple[Any, Any]:
    queue: Any = faces.keep(JoinableQueue(max_deliveries=max_deliveries))
    queue.sync.put(item)
    return queue, queue.sync.get_delivery()


def test_what_a_delivery_is(faces: Faces) -> None:
    _, delivery = deliver(faces, "job")
    assert (delivery.item, delivery.attempt) == ("job", 1)
    assert repr(delivery) == "<Delivery attempt=1 held of 'job'>"
    delivery.done()
    assert repr(delivery) == "<Delivery attempt=1 settled of 'job'>"


def test_done_is_done(faces: Faces) -> None:
    queue, delivery = deliver(faces)
    delivery.done()
    assert queue.sync.join(0)
    assert queue.sync.dead_letters() == []


def test_a_retry_comes_again_and_then_is_given_up(faces: Faces) -> None:
    queue, delivery = deliver(faces)
    delivery.retry()
    again = queue.sync.get_delivery()
    assert again.attempt == 2
    again.retry("still no luck")
    assert queue.sync.dead_letters() == [DeadLetter("x", 2, "still no luck")]
    assert queue.sync.join(0)


def test_what_is_failed_is_given_up_at_once(faces: Faces) -> None:
    queue, delivery = deliver(faces, max_deliveries=9)
    delivery.fail()
    assert queue.sync.dead_letters() == [DeadLetter("x", 1, "fail() was called")]


@pytest.mark.parametrize("first", ["done", "retry", "fail"])
@pytest.mark.parametrize("second", ["done", "retry", "fail"])
def test_a_delivery_is_settled_once(faces: Faces, first: str, second: str) -> None:
    _, delivery = deliver(faces)
    getattr(delivery, first)()
    with pytest.raises(ValueError, match=r"call one of done\(\), retry\(\) and"):
        getattr(delivery, second)()


def test_a_block_that_ends_settles(faces: Faces) -> None:
    queue, delivery = deliver(faces)
    with delivery as item:
        assert item == "x"
    assert queue.sync.join(0)


def test_a_block_that_raises_returns_the_item(faces: Faces) -> None:
    queue, delivery = deliver(faces, max_deliveries=1)
    with pytest.raises(KeyError), delivery:
        raise KeyError("why")
    (letter,) = queue.sync.dead_letters()
    assert letter.reason == "its consumer raised KeyError('why')"


def test_a_block_leaves_alone_what_was_settled_in_it(faces: Faces) -> None:
    queue, delivery = deliver(faces)
    with pytest.raises(KeyError), delivery:
        delivery.done()
        raise KeyError
    assert queue.sync.join(0)
    assert queue.statistics().redelivered == 0


@pytest.mark.both_loops
async def test_async_blocks_settle_as_well(on_loop: Faces) -> None:
    queue: Any = on_loop.keep(JoinableQueue(max_deliveries=3))
    await queue.put("x")
    delivery = await queue.get_delivery()

    async def work() -> None:
        async with delivery:
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again: Delivery[Any] = await queue.get_delivery()
    assert again.attempt == 2
    async with again as item:
        assert item == "x"
    await queue.join()
