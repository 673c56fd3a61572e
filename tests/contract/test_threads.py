"""Many threads on one handle: in a child, and in the owner's process."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

import aioprocq

from .faces import Face, outcome
from .harness import within
from .stages import AsyncStage, run_on

THREADS = 8
EACH = 60


def in_threads(work: Any) -> list[Any]:
    """Run work(number) in each of the threads; what they gave, or the first error."""
    results: list[Any] = [None] * THREADS

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [
        threading.Thread(target=run, args=(number,), daemon=True)
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


async def produce_in_threads(queue: Face) -> None:
    sync = queue.queue.sync

    def produce(name: int) -> None:
        for number in range(EACH):
            sync.put((name, number))

    in_threads(produce)


async def consume_in_threads(queue: Face) -> list[Any]:
    sync = queue.queue.sync

    def consume(name: int) -> list[Any]:
        items = []
        for item in sync:
            items.append(item)
            sync.task_done()
        return items

    return in_threads(consume)


FACES = ["thread", "blocking-peer"]


@pytest.mark.parametrize("maxsize", [0, 5])
@pytest.mark.parametrize("consumer", FACES)
@pytest.mark.parametrize("producer", FACES)
def test_eight_threads_at_each_end(producer: str, consumer: str, maxsize: int) -> None:
    shares = run_on("owner", exchange(producer, consumer, maxsize))
    everything = Counter(item for share in shares for item in share)
    assert everything == Counter((n, i) for n in range(THREADS) for i in range(EACH))
    for share in shares:
        for name in range(THREADS):
            numbers = [number for producer, number in share if producer == name]
            assert numbers == sorted(numbers)


async def exchange(producer: str, consumer: str, maxsize: int) -> list[Any]:
    queue = aioprocq.JoinableQueue[Any](maxsize)
    async with AsyncStage(queue) as stage:
        consuming, producing = stage.actor(consumer), stage.actor(producer)
        taking = consuming.post(consume_in_threads)
        await producing.call(produce_in_threads)
        await within(queue.join())
        queue.shutdown()
        shares: list[Any] = await consuming.result(taking)
        return shares


async def own_settling_in_threads(queue: Face) -> list[Any]:
    """Two items are held by two threads; the second one settles its own, and dies."""
    sync = queue.queue.sync
    first_has, second_is_done = threading.Event(), threading.Event()
    held: list[Any] = []

    def first() -> None:
        held.append(sync.get())
        first_has.set()
        second_is_done.wait(20)

    def second() -> None:
        first_has.wait(20)
        held.append(sync.get())
        sync.task_done()
        second_is_done.set()

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return held


async def test_task_done_settles_what_its_own_thread_got() -> None:
    queue = aioprocq.JoinableQueue[str]()
    async with AsyncStage(queue) as stage:
        await queue.put_many(["unsettled", "settled"])
        worker = stage.actor("blocking-peer")
        held = await worker.call(own_settling_in_threads)
        assert held == ["unsettled", "settled"]
        await worker.kill()
        again = await within(queue.get_delivery())
        assert (again.item, again.attempt) == ("unsettled", 2)
        again.done()
        await within(queue.join())


async def time_out_in_threads(queue: Face) -> list[Any]:
    """Each thread has a deadline of its own, whoever of them reads the socket."""
    sync = queue.queue.sync

    def wait(number: int) -> Any:
        try:
            return sync.get(timeout=0.02 * (number + 1))
        except aioprocq.QueueEmpty:
            return "QueueEmpty"

    return in_threads(wait)


@pytest.mark.parametrize("face", FACES)
def test_timeouts_of_threads_are_their_own(face: str) -> None:
    assert run_on("owner", time_out(face)) == ["QueueEmpty"] * THREADS


async def time_out(face: str) -> Any:
    async with AsyncStage(aioprocq.Queue[Any]()) as stage:
        return await stage.run(face, time_out_in_threads)


async def shut_down_in_threads(queue: Face) -> list[Any]:
    sync = queue.queue.sync

    def wait(number: int) -> Any:
        if number == THREADS - 1:
            return sync.shutdown()
        try:
            return sync.get()
        except aioprocq.QueueShutDown:
            return "QueueShutDown"

    return in_threads(wait)


@pytest.mark.parametrize("face", FACES)
def test_shutdown_wakes_every_thread(face: str) -> None:
    seen = run_on("owner", shut_down(face))
    assert seen == ["QueueShutDown"] * (THREADS - 1) + [None]


async def shut_down(face: str) -> Any:
    async with AsyncStage(aioprocq.Queue[Any]()) as stage:
        return await stage.run(face, shut_down_in_threads)


async def put_and_get_in_threads(queue: Face) -> int:
    """Producers and consumers on the same handle."""
    sync = queue.queue.sync

    def work(number: int) -> int:
        if number % 2:
            sync.put_many(range(EACH))
            return 0
        return sum(sync.get() for _ in range(EACH))

    return sum(in_threads(work))


@pytest.mark.parametrize("maxsize", [0, 3])
@pytest.mark.parametrize("face", FACES)
def test_both_directions_on_one_handle(face: str, maxsize: int) -> None:
    total = run_on("owner", both_directions(face, maxsize))
    assert total == THREADS // 2 * sum(range(EACH))


async def both_directions(face: str, maxsize: int) -> Any:
    async with AsyncStage(aioprocq.Queue[int](maxsize)) as stage:
        total = await stage.run(face, put_and_get_in_threads)
        assert await outcome(stage.queues[0].get(timeout=0)) == "QueueEmpty"
        return total
