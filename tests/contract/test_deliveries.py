"""Deliveries: done, retry, fail, attempts and dead letters, on every face."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

import aioprocq

from .faces import Face, attempt, outcome
from .harness import eventually, within
from .stages import FACES, AsyncStage, run_on
from .stages import solo as run_solo

# Dead letters are read with a coroutine of the owner.
SERVED = [name for name in FACES if name != "sync-owner"]
ASYNC_FACES = ["owner", "uvloop-owner", "async-peer", "uvloop-peer"]


def on(face: str, script: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return run_solo(face, aioprocq.JoinableQueue[Any](**options), script, *args)


async def settle_on_leaving(queue: Face) -> list[Any]:
    await queue.put_many(["a", "b"])
    queue.shutdown()
    seen = []
    async for delivery in queue.deliveries():
        async with delivery as item:
            seen.append((item, delivery.item, delivery.attempt))
    await queue.join()
    return [*seen, attempt(queue.task_done)]


def test_leaving_settles(face: str) -> None:
    assert on(face, settle_on_leaving) == [
        ("a", "a", 1),
        ("b", "b", 1),
        "ValueError",
    ]


async def settle_by_hand(queue: Face) -> list[Any]:
    await queue.put_many(["a", "b"])
    queue.shutdown()
    seen = []
    async for delivery in queue.deliveries():
        seen.append((delivery.item, delivery.attempt))
        delivery.done()
    await queue.join()
    return seen


def test_done(face: str) -> None:
    assert on(face, settle_by_hand) == [("a", 1), ("b", 1)]


async def done_within(queue: Face) -> list[Any]:
    await queue.put_many(["a", "b"])
    queue.shutdown()
    seen = []
    async for delivery in queue.deliveries():
        async with delivery as item:
            delivery.done()
            seen.append(item)
    await queue.join()
    return [*seen, attempt(queue.task_done)]


def test_done_within_the_block_settles_once(face: str) -> None:
    assert on(face, done_within) == ["a", "b", "ValueError"]


async def raise_within(queue: Face, times: int) -> list[Any]:
    """Fail the delivery of "a" so often; tell whether the error came through."""
    await queue.put("a")
    queue.shutdown()
    seen: list[Any] = []
    async for delivery in queue.deliveries():
        try:
            async with delivery:
                seen.append(delivery.attempt)
                if delivery.attempt <= times:
                    raise ArithmeticError("no")
        except ArithmeticError:
            seen.append("raised")
    await queue.join()
    return seen


def test_an_exception_returns_it(face: str) -> None:
    assert on(face, raise_within, 2) == [1, "raised", 2, "raised", 3]


def test_attempts_end_at_max_deliveries(face: str) -> None:
    seen = on(face, raise_within, 100, max_deliveries=2)
    assert seen == [1, "raised", 2, "raised"]


def test_three_deliveries_unless_told(face: str) -> None:
    assert on(face, raise_within, 100) == [1, "raised", 2, "raised", 3, "raised"]


def test_one_delivery_is_at_most_once(face: str) -> None:
    assert on(face, raise_within, 100, max_deliveries=1) == [1, "raised"]


async def retry_first(queue: Face) -> list[Any]:
    await queue.put("a")
    queue.shutdown()
    seen = []
    async for delivery in queue.deliveries():
        seen.append((delivery.item, delivery.attempt))
        if delivery.attempt < 3:
            delivery.retry()
        else:
            delivery.done()
    await queue.join()
    return seen


def test_retry(face: str) -> None:
    assert on(face, retry_first) == [("a", 1), ("a", 2), ("a", 3)]


async def retry_always(queue: Face) -> list[Any]:
    await queue.put("a")
    queue.shutdown()
    seen = []
    async for delivery in queue.deliveries():
        seen.append(delivery.attempt)
        delivery.retry()
    await queue.join()
    return seen


def test_retry_ends_at_max_deliveries(face: str) -> None:
    assert on(face, retry_always, max_deliveries=2) == [1, 2]


async def old_place(queue: Face) -> list[Any]:
    """Return the first of two that wait: it comes before the other."""
    await queue.put_many(["first", "second"])
    await queue.until(lambda: queue.qsize() == 2)
    seen = []
    async for delivery in queue.deliveries():
        seen.append((delivery.item, delivery.attempt))
        if len(seen) == 1:
            delivery.retry()
            continue
        delivery.done()
        if len(seen) == 3:
            break
    return seen


@pytest.mark.parametrize("face", ["owner", "uvloop-owner", "sync-owner"])
def test_what_returns_goes_to_its_old_place(face: str) -> None:
    assert on(face, old_place) == [("first", 1), ("first", 2), ("second", 1)]


async def get_plainly_after_retry(queue: Face) -> list[Any]:
    await queue.put("a")
    async for delivery in queue.deliveries():
        delivery.retry()
        break
    item = await queue.get()
    queue.task_done()
    await queue.join()
    return [item, attempt(queue.task_done)]


def test_get_takes_what_was_returned(face: str) -> None:
    assert on(face, get_plainly_after_retry) == ["a", "ValueError"]


async def fail_one(queue: Face, reason: str) -> list[Any]:
    seen = []
    async for delivery in queue.deliveries():
        seen.append((delivery.item, delivery.attempt))
        if delivery.item == "bad":
            delivery.fail(reason)
        else:
            delivery.done()
    return seen


async def raise_always(queue: Face, reason: str) -> None:
    async for delivery in queue.deliveries():
        try:
            async with delivery:
                raise ArithmeticError(reason)
        except ArithmeticError:
            continue


@pytest.mark.parametrize("face", SERVED)
def test_fail_is_final(face: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        seen, letters = run_on(face, collect_letters(face, fail_one, ["bad", "good"]))
    assert seen == [("bad", 1), ("good", 1)]
    (letter,) = letters
    assert (letter.item, letter.attempts) == ("bad", 1)
    assert "out of paper" in str(letter.reason)
    assert_logged(caplog, "letterbox")


@pytest.mark.parametrize("face", SERVED)
def test_exhausted_attempts_are_dead_letters(
    face: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        _, letters = run_on(face, collect_letters(face, raise_always, ["bad"]))
    (letter,) = letters
    assert (letter.item, letter.attempts) == ("bad", 2)
    assert str(letter.reason)
    assert_logged(caplog, "letterbox")


async def collect_letters(
    face: str, script: Callable[..., Any], items: list[str]
) -> tuple[Any, list[Any]]:
    queue = aioprocq.JoinableQueue[str](max_deliveries=2, name="letterbox")
    async with AsyncStage(queue) as stage:
        worker = stage.actor(face)
        working = worker.post(script, "out of paper")
        await queue.put_many(items)
        # A dead letter counts as finished: join does not wait for it.
        await within(queue.join())
        queue.shutdown()
        seen = await worker.result(working)
        assert queue.statistics().dead_letters == 1
        letters = list(await within(queue.dead_letters()))
    return seen, letters


def assert_logged(caplog: pytest.LogCaptureFixture, name: str) -> None:
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert name in errors[0].getMessage()


async def settle_after_close(queue: Face) -> Any:
    await queue.put(1)
    async for delivery in queue.deliveries():
        delivery.done()
        return [attempt(delivery.done), attempt(delivery.retry)]
    return await outcome(queue.get())


def test_settling_twice_counts_once(face: str) -> None:
    """Whatever it raises, the item is settled once and does not come back."""
    queue = aioprocq.JoinableQueue[int]()
    if face == "sync-owner":
        assert len(run_solo(face, queue, settle_after_close)) == 2
    else:
        run_on(face, settle_twice(face, queue))


async def settle_twice(face: str, queue: Any) -> None:
    async with AsyncStage(queue) as stage:
        await stage.run(face, settle_after_close)
        await eventually(lambda: queue.statistics().held == 0)
        with pytest.raises(ValueError, match="too many"):
            queue.task_done()
        assert queue.empty()


async def cancel_while_handling(queue: Face) -> list[Any]:
    """The task that handles the first delivery is cancelled in the middle of it."""
    await queue.put("a")
    begun = asyncio.Event()

    async def handle() -> None:
        async for delivery in queue.deliveries():
            async with delivery:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(handle())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])
    delivery = await queue.queue.get_delivery(timeout=20)
    delivery.done()
    return [task.cancelled(), delivery.item, delivery.attempt]


@pytest.mark.parametrize("face", ASYNC_FACES)
def test_cancelled_handling_returns_it(face: str) -> None:
    assert on(face, cancel_while_handling) == [True, "a", 2]


async def get_a_delivery(queue: Face) -> list[Any]:
    missed = await outcome(queue.queue.get_delivery(timeout=0.01))
    await queue.put("a")
    delivery = await queue.queue.get_delivery()
    delivery.done()
    queue.shutdown()
    return [missed, delivery.item, await outcome(queue.queue.get_delivery())]


@pytest.mark.parametrize("face", ASYNC_FACES)
def test_get_delivery(face: str) -> None:
    assert on(face, get_a_delivery) == ["QueueEmpty", "a", "QueueShutDown"]
