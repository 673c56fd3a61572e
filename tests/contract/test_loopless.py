"""An owner that runs no event loop: its blocked calls drive its queues."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import aioprocq

from .faces import Face
from .harness import Child
from .stages import PEERS, pump


async def square_all(jobs: Face, results: Face) -> None:
    async for number in jobs.items():
        await results.put(number * number)
        jobs.task_done()


async def put_one(queue: Face, item: Any) -> None:
    await queue.put(item)


async def get_one(queue: Face) -> Any:
    return await queue.get()


@pytest.mark.parametrize("face", PEERS)
def test_a_call_blocked_on_one_queue_drives_the_other(face: str) -> None:
    jobs, results = aioprocq.JoinableQueue[int](2), aioprocq.Queue[int](2)
    workers = [Child(face, jobs, results) for _ in range(2)]
    try:
        tickets = [worker.post(square_all) for worker in workers]
        for number in range(4):
            jobs.sync.put(number, timeout=5)
        squares = [results.sync.get(timeout=5) for _ in range(4)]
        jobs.sync.join()
        jobs.sync.shutdown()
        for worker, ticket in zip(workers, tickets, strict=True):
            pump(worker, ticket, jobs, results)
            worker.leave_blocking()
        assert sorted(squares) == [0, 1, 4, 9]
    finally:
        for worker in workers:
            worker.bury()
        jobs.close()
        results.close()


def test_threads_of_an_owner_without_a_loop() -> None:
    queue = aioprocq.JoinableQueue[int](3)
    received: list[int] = []

    def consume() -> None:
        for item in queue.sync:
            received.append(item)
            queue.sync.task_done()

    consumers = [threading.Thread(target=consume, daemon=True) for _ in range(3)]
    for thread in consumers:
        thread.start()
    for number in range(100):
        queue.sync.put(number, timeout=20)
    assert queue.sync.join(timeout=20)
    queue.sync.shutdown()
    for thread in consumers:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(received) == list(range(100))
    queue.close()


def test_a_thread_and_a_peer_at_a_time() -> None:
    """Whichever thread is blocked drives the queue for all of them."""
    queue = aioprocq.Queue[str]()
    child = Child("blocking-peer", queue)
    received: list[str] = []

    def consume() -> None:
        received.extend(queue.sync.get(timeout=20) for _ in range(2))

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    try:
        child.call_blocking(put_one, "from a peer")
        queue.sync.put("from the owner")
        consumer.join(20)
        child.leave_blocking()
        assert sorted(received) == ["from a peer", "from the owner"]
    finally:
        child.bury()
        queue.close()


@pytest.mark.parametrize("face", PEERS)
def test_what_was_put_before_a_child_started(face: str) -> None:
    queue = aioprocq.JoinableQueue[str]()
    queue.sync.put("early")
    child = Child(face, queue)
    try:
        ticket = child.post(get_one)
        assert not queue.sync.join(timeout=0.001)
        assert pump(child, ticket, queue) == "early"
        queue.sync.task_done()
        assert queue.sync.join(timeout=20)
        child.leave_blocking()
    finally:
        child.bury()
        queue.close()


def test_join_times_out() -> None:
    queue = aioprocq.JoinableQueue[str]()
    queue.sync.put("held")
    assert queue.sync.join(timeout=0) is False
    assert queue.sync.join(timeout=-1) is False
    assert queue.sync.join(timeout=0.01) is False
    queue.sync.get()
    queue.sync.task_done()
    assert queue.sync.join(timeout=0) is True
    queue.close()
