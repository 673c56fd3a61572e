"""A worker that puts as fast as it can, and is killed: what had returned is there."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import eventually, within

from .processes import Mortal, at_rest, graveyard

pytestmark = pytest.mark.both_loops
LARGE = b"x" * 100_000


class Counter:
    """A number in a file, which outlives whoever counts."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._memory = memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")

    @property
    def value(self) -> int:
        return self._memory[0]

    @value.setter
    def value(self, value: int) -> None:
        self._memory[0] = value


def put_for_ever(queue: Any, path: Path, mixed: bool) -> None:
    """In a burst; ``mixed`` with large items and batches, which go another way."""
    counter, put, number = Counter(path), queue.sync.put, 0
    while True:
        if mixed and number % 97 == 0:
            put((number, LARGE))
            number += 1
        elif mixed and number % 89 == 0:
            queue.sync.put_many([(number, b""), (number + 1, b"")])
            number += 2
        else:
            put((number, b""))
            number += 1
        counter.value = number


@pytest.mark.parametrize("mixed", [False, True], ids=["small ones", "mixed"])
async def test_what_was_put_is_there_in_its_order(tmp_path: Path, mixed: bool) -> None:
    for attempt in range(5):
        queue = aioprocq.Queue[Any]()
        path = tmp_path / str(attempt)
        counter = Counter(path)
        async with graveyard(queue) as mortals:
            mortals.append(Mortal(put_for_ever, queue, path, mixed))
            got = [await within(queue.get()) for _ in range(50 * (attempt + 1))]
            await mortals[0].kill()
            await at_rest(queue)
            got += [await within(queue.get()) for _ in range(queue.qsize())]
            numbers = [number for number, _ in got]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= counter.value


async def test_a_pause_loses_nobody(tmp_path: Path) -> None:
    """A hub that has gone to sleep is woken by the first one of the next burst."""
    queue, go_on = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, go_on) as mortals:
        mortals.append(Mortal(put_in_bursts, queue, go_on))
        for count in (1, 2, 3, 50, 2, 1, 400):
            await go_on.put(count)
            got = [await within(queue.get()) for _ in range(count)]
            assert got == list(range(count))
        await go_on.put(0)
        assert await mortals[0].end() == 0
        await eventually(lambda: queue.qsize() == 0)


def put_in_bursts(queue: Any, go_on: Any) -> None:
    while count := go_on.sync.get():
        for number in range(count):
            queue.sync.put(number)
