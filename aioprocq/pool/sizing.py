"""How many inputs go into one chunk of a map.

Invariants:

* A chunk has one input until the first answer has come.
* It grows at most fourfold from one answer to the next, and shrinks at once.
* It is meant to take ``TARGET`` seconds, and ``BYTES`` each way; with large inputs or
  results it has one input, which then travels like any argument.
"""

from __future__ import annotations

__all__ = ["ChunkSize"]

TARGET = 0.005
BYTES = 1 << 17
MOST = 512


class ChunkSize:
    """The size of the next chunk."""

    def __init__(self, most: int = MOST) -> None:
        self._most = max(1, most)
        self.size = 1

    def __repr__(self) -> str:
        return f"<ChunkSize {self.size}>"

    def answered(self, count: int, seconds: float, size: int) -> None:
        """A chunk of ``count`` inputs took so long, and ``size`` bytes at most."""
        by_time = TARGET * count / max(seconds, 1e-9)
        by_size = BYTES * count / max(size, 1)
        wanted = min(by_time, by_size, 4.0 * self.size, float(self._most))
        self.size = max(1, int(wanted))
