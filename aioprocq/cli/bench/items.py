"""What travels through the queues that are measured."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

__all__ = ["in_batches", "in_turn", "make_array", "make_item", "some_items"]

# Items are made before the clock starts, and this many are used in turn: making
# them is no queue's work, and a million of them would measure the allocator.
VARIETY = 1000


def make_item(number: int) -> dict[str, Any]:  # Any: as mixed as users' own items
    """The item of the small rows."""
    return {"id": number, "name": "job-123", "args": [1, 2, 3]}


def some_items() -> list[Any]:
    """Enough small items to be used in turn."""
    return [make_item(number) for number in range(VARIETY)]


def make_array(size: int) -> Any:  # Any: NumPy is optional
    """A NumPy array of `size` bytes with something in it."""
    numpy = importlib.import_module("numpy")
    return numpy.arange(size // 8, dtype=numpy.float64)


def in_turn(items: list[Any], count: int) -> Iterator[Any]:
    """`count` items, from the first again after the last."""
    return islice(cycle(items), count)


def in_batches(items: list[Any], count: int, size: int) -> list[list[Any]]:
    """The same as lists of at most `size`."""
    turn = in_turn(items, count)
    return list(iter(lambda: list(islice(turn, size)), []))
