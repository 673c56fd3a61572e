"""put_many and get_many, on every face."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

import aioprocq

from .conftest import Solo
from .faces import Face, outcome
from .stages import OWNERS
from .stages import solo as run_solo

SHORT = 0.05

SOURCES: dict[str, Iterable[int]] = {
    "list": [0, 1, 2, 3, 4],
    "tuple": (0, 1, 2, 3, 4),
    "range": range(5),
    "dict": dict.fromkeys(range(5)),
}


async def put_many_get_each(queue: Face, items: Iterable[int]) -> list[Any]:
    await queue.put_many(items)
    return [await queue.get() for _ in range(5)]


@pytest.mark.parametrize("source", SOURCES)
def test_put_many_takes_any_iterable(ours: Solo, source: str) -> None:
    assert ours(put_many_get_each, SOURCES[source]) == [0, 1, 2, 3, 4]


async def put_generated(queue: Face) -> list[Any]:
    await queue.put_many(number * number for number in range(5))
    return [await queue.get() for _ in range(5)]


def test_put_many_takes_a_generator(ours: Solo) -> None:
    assert ours(put_generated) == [0, 1, 4, 9, 16]


async def put_none(queue: Face) -> tuple[int, Any]:
    await queue.put_many([])
    await queue.put_many(iter(()), timeout=SHORT)
    return queue.qsize(), await outcome(queue.get(timeout=0))


def test_put_many_of_nothing(ours: Solo) -> None:
    assert ours(put_none, maxsize=1) == (0, "QueueEmpty")


async def put_too_many(queue: Face) -> tuple[Any, list[Any]]:
    refused = await outcome(queue.put_many(range(10), timeout=SHORT))
    assert await queue.shows(lambda: queue.qsize() <= 3)
    taken = []
    while (item := await outcome(queue.get(timeout=SHORT))) != "QueueEmpty":
        taken.append(item)
    return refused, taken


def test_put_many_times_out_within_the_bound(ours: Solo) -> None:
    refused, taken = ours(put_too_many, maxsize=3)
    assert refused == "QueueFull"
    assert taken == list(range(10))[: len(taken)]
    assert len(taken) <= 3


async def put_exactly(queue: Face) -> Any:
    await queue.put_many([1, 2, 3], timeout=5)
    return await queue.shows(queue.full), await outcome(queue.put(4, timeout=0))


def test_put_many_up_to_the_bound(ours: Solo) -> None:
    assert ours(put_exactly, maxsize=3) == (True, "QueueFull")


async def failing_source(queue: Face) -> tuple[Any, list[Any]]:
    def source() -> Iterable[int]:
        yield 0
        yield 1
        raise LookupError("the source ran dry")

    failed = await outcome(queue.put_many(source()))
    await queue.put("after")
    taken = []
    while (item := await queue.get(timeout=5)) != "after":
        taken.append(item)
    return failed, taken


def test_the_error_of_a_source_comes_up(ours: Solo) -> None:
    failed, taken = ours(failing_source)
    assert failed == "LookupError"
    assert taken == [0, 1][: len(taken)]


async def get_batches(queue: Face) -> list[list[Any]]:
    await queue.put_many(range(5))
    await queue.until(lambda: queue.qsize() == 5)
    return [await queue.get_many(3, timeout=5), await queue.get_many(10, timeout=5)]


@pytest.mark.parametrize("face", OWNERS)
def test_get_many_takes_all_there_are_up_to_its_limit(face: str) -> None:
    batches = run_solo(face, aioprocq.Queue(), get_batches)
    assert batches == [[0, 1, 2], [3, 4]]


async def get_in_batches(queue: Face, count: int, limit: int) -> list[list[Any]]:
    await queue.put_many(range(count))
    batches: list[list[Any]] = []
    while sum(map(len, batches)) < count:
        batches.append(await queue.get_many(limit))
    return batches


@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_get_many_gives_one_at_least(ours: Solo, limit: int) -> None:
    batches = ours(get_in_batches, 40, limit)
    assert all(1 <= len(batch) <= limit for batch in batches)
    assert [item for batch in batches for item in batch] == list(range(40))


async def get_none(queue: Face) -> list[Any]:
    return [await outcome(queue.get_many(5, timeout=t)) for t in (-1, 0, SHORT)]


def test_get_many_times_out(ours: Solo) -> None:
    assert ours(get_none) == ["QueueEmpty"] * 3


async def many_after_shutdown(queue: Face) -> list[Any]:
    await queue.put_many([1, 2])
    queue.shutdown()
    drained: list[Any] = []
    while len(drained) < 2:
        drained += await queue.get_many(5)
    return [
        drained,
        await outcome(queue.get_many(5)),
        await outcome(queue.put_many([3])),
    ]


def test_many_after_shutdown(ours: Solo) -> None:
    assert ours(many_after_shutdown) == [[1, 2], "QueueShutDown", "QueueShutDown"]


async def settle_a_batch(queue: Face) -> list[Any]:
    await queue.put_many(range(4))
    got: list[Any] = []
    while len(got) < 4:
        got += await queue.get_many(4)
    for _ in got:
        queue.task_done()
    await queue.join()
    return got


def test_task_done_for_each_of_a_batch(ours: Solo) -> None:
    assert ours(settle_a_batch) == [0, 1, 2, 3]
