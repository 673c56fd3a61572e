"""The limit: what pickle alone allows, with nothing carried anywhere."""

from __future__ import annotations

import pickle
import time

from aioprocq.cli.bench.items import in_turn, some_items
from aioprocq.cli.bench.model import Contender, Sample, Setting

__all__ = ["LIMIT_NAME", "limit"]

LIMIT_NAME = "limit"


def limit(quick: int, full: int) -> Contender:
    """`dumps` on one side, `loads` on the other: the slower of the two."""
    return Contender(LIMIT_NAME, Limit, quick, full)


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
