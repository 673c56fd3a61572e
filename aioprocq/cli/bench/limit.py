"""The limits: what pickle alone, and memory alone, allow; nothing goes anywhere."""

from __future__ import annotations

import pickle
import time
from functools import partial

from aioprocq.cli.bench.items import in_turn, make_array, some_items
from aioprocq.cli.bench.model import Contender, Sample, Setting

__all__ = ["LIMIT_NAME", "copy", "limit"]

LIMIT_NAME = "limit"


def limit(quick: int, full: int) -> Contender:
    """`dumps` on one side, `loads` on the other: the slower of the two."""
    return Contender(LIMIT_NAME, Limit, quick, full)


def copy(size: int, quick: int, full: int) -> Contender:
    """A copy to memory that is warm."""
    return Contender("memcpy", partial(Copy, size), quick, full, ("numpy",))


class Limit:
    """A session without processes."""

    def __init__(self, setting: Setting) -> None:
        self._items = some_items()

    def play(self, count: int) -> Sample:
        """One round."""
        dumps, loads = pickle.dumps, pickle.loads
        pickles = [dumps(item, 5) for item in self._items]
        start = time.monotonic()
        for item in in_turn(self._items, count):
            dumps(item, 5)
        between = time.monotonic()
        for message in in_turn(pickles, count):
            loads(message)
        slower = max(between - start, time.monotonic() - between)
        return {"rate": count / slower}

    def close(self) -> None:
        """Nothing was opened."""


class Copy:
    """A session that copies an array to memory that is mapped already."""

    def __init__(self, size: int, setting: Setting) -> None:
        self._size = size
        self._source = memoryview(make_array(size)).cast("B")
        self._target = memoryview(bytearray(size))

    def play(self, count: int) -> Sample:
        """One round."""
        source, target = self._source, self._target
        start = time.monotonic()
        for _ in range(count):
            target[:] = source
        return {"rate": count * self._size / 1e9 / (time.monotonic() - start)}

    def close(self) -> None:
        """Nothing was opened."""
