"""What the tests of staying awake share: a clock, and an experience that tells."""

from __future__ import annotations

from aioprocq.drivers.spinning import SPIN


class Time:
    """A clock that goes on only when somebody else gets the core."""

    def __init__(self, step: float = SPIN / 10) -> None:
        self.now = 100.0
        self.step = step

    def monotonic(self) -> float:
        return self.now

    def sched_yield(self) -> None:
        self.now += self.step


class Expectations:
    """Stands for an Experience: how often something was expected, and came in time."""

    def __init__(self) -> None:
        self.asked = self.good = self.bad = 0

    def is_due(self) -> bool:
        self.asked += 1
        return True

    def succeeded(self) -> None:
        self.good += 1

    def failed(self) -> None:
        self.bad += 1
