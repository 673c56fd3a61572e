"""A process ends before what it put is got; with multiprocessing.Queue it does not."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import bare_main, eventually

ITEMS = 200
BLOCK = bytes(10_000)  # all together far more than a pipe or a socket takes
PATIENCE = 1.0

context = multiprocessing.get_context("forkserver")


def put_blocks(queue: Any) -> None:
    for number in range(ITEMS):
        queue.put((number, BLOCK))


def put_to_ours(queue: Any) -> None:
    put_blocks(queue.sync)


def started(target: Any, queue: Any) -> Any:
    process = context.Process(target=target, args=(queue,), daemon=True)
    with bare_main():
        process.start()
    return process


def test_the_standard_library_deadlocks() -> None:
    queue = context.Queue()
    producer = started(put_blocks, queue)
    producer.join(PATIENCE)
    assert producer.is_alive()  # its feeder thread waits for somebody to read
    assert [queue.get()[0] for _ in range(ITEMS)] == list(range(ITEMS))
    producer.join()
    producer.close()
    queue.close()
    queue.join_thread()


@pytest.mark.both_loops
@pytest.mark.parametrize("count", [1, 3])
async def test_ours_does_not(count: int) -> None:
    queue = aioprocq.Queue[Any]()
    await queue.flush()
    producers = [started(put_to_ours, queue) for _ in range(count)]
    await eventually(lambda: not any(p.is_alive() for p in producers))
    for producer in producers:
        assert producer.exitcode == 0
        producer.close()
    assert queue.qsize() == count * ITEMS
    numbers = [(await queue.get())[0] for _ in range(count * ITEMS)]
    assert sorted(numbers) == sorted(count * [*range(ITEMS)])
    await queue.aclose()
