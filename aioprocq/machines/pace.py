"""How much a consumer should be sent ahead, from how fast it consumes.

Invariants:

* The window is one until a pace is known, and never more than ``LARGEST``.
* What is sent ahead keeps a steady consumer busy for about ``AHEAD`` seconds, or
  ``ALONE`` where no other waits for the same items; a
  consumer that needs longer for one item is sent one at a time.
* The window grows at most fourfold from one measurement to the next.
"""

from __future__ import annotations

__all__ = ["AHEAD", "ALONE", "LARGEST", "LONG", "Pace"]

AHEAD = 0.008
"""Seconds of work that are sent ahead."""

ALONE = 0.2
"""The same for the only consumer: one that has dozens of queues to look after takes
dozens of times as long for each item, and yet is to have batches. Nobody waits for what
it has, and it is taken back when somebody comes."""

LARGEST = 2048
"""Items that are sent ahead at most."""

LONG = 0.05
"""Seconds an item from which on not even one is asked for ahead."""


class Pace:
    """Measures one consumer."""

    __slots__ = ("_count", "_since", "seconds", "window")

    def __init__(self) -> None:
        self.window = 1
        self.seconds: float | None = None
        self._since = 0.0
        self._count = 0

    def filled(self, count: int, now: float, *, empty: bool) -> None:
        """``count`` items have come; ``empty``: there were none before."""
        if empty:
            self._since, self._count = now, 0
        self._count += count

    def emptied(self, now: float, *, alone: bool = False) -> None:
        """Everything that came has been consumed."""
        if not self._count:
            return
        self.seconds = max(now - self._since, 1e-9) / self._count
        ahead = ALONE if alone else AHEAD
        fitting = max(1, int(ahead / self.seconds))
        self.window = min(fitting, LARGEST, 4 * max(self.window, self._count))
        self._count = 0

    @property
    def ahead(self) -> bool:
        """Whether to ask for the next item when the last one is handed out."""
        return self.seconds is not None and self.seconds < LONG
