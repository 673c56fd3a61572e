"""What a benchmark consists of.

A *row* compares *contenders*, ours first. In every *round* each contender of a
row plays once, in turn, so that whatever disturbs the machine disturbs all of
them. A contender stays up from its first round to its last, in a *session*. What
a row has to reach is said by its *marks*, as ratios: absolute figures mean
nothing from one machine to the next.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "BenchError",
    "Contender",
    "Mark",
    "Metric",
    "Row",
    "RowResult",
    "Sample",
    "Session",
    "Setting",
    "is_installed",
    "nothing",
]

Sample = Mapping[str, float]  # the name of a metric → its value in its unit


class BenchError(Exception):
    """What ends a session, and what ends a run before it has begun."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for every contender of a run."""

    loop: str = "asyncio"
    patience: float = 120.0  # seconds that a round, or a start, may take at the most


class Session(Protocol):
    """A contender whose processes are up and have passed a first item."""

    def play(self, count: int) -> Sample:
        """Measure one round of `count` items."""

    def close(self) -> None:
        """End the processes, also after an error."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is measured. For a rate higher is better, for a time lower."""

    name: str
    unit: str
    higher_is_better: bool


def nothing() -> None:
    """Nothing but packages can be missing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of doing a row's work.

    `quick` and `full` are the items of one round, chosen so that all contenders
    of a row take about the same time. `open` has to pickle: it is called in a
    process of its own. `needs` names packages; `lack` says what else is missing, a
    server that does not answer, say.
    """

    name: str
    open: Callable[[Setting], Session]
    quick: int
    full: int
    needs: tuple[str, ...] = ()
    lack: Callable[[], str | None] = nothing

    def obstacle(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        for package in self.needs:
            if not is_installed(package):
                return f"{package} is not installed"
        return self.lack()


@dataclass(frozen=True, slots=True)
class Mark:
    """`metric` of ours, divided by that of `against`, is to be `ratio`.

    Without `against`, the figure itself is to be that, in its unit.
    """

    against: str | None
    metric: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    `needs` names packages, and `memory` says how many bytes, without which it is
    skipped. One that is `long` is no part of a quick run.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    contenders: tuple[Contender, ...]
    marks: tuple[Mark, ...] = ()
    needs: tuple[str, ...] = ()
    memory: int = 0
    long: bool = False

    @property
    def ours(self) -> Contender:
        """The contender that the others are compared with."""
        return self.contenders[0]

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def mark(self, against: str | None, metric: str) -> Mark | None:
        """What is to be reached against a contender, if anything is."""
        for mark in self.marks:
            if (mark.against, mark.metric) == (against, metric):
                return mark
        return None

    def obstacle(self) -> str | None:
        """Why it cannot be measured here, if it cannot."""
        for package in self.needs:
            if not is_installed(package):
                return f"{package} is not installed"
        return self.ours.obstacle()


@dataclass(frozen=True, slots=True)
class RowResult:
    """What was measured: for each contender a sample a round.

    A contender that did not get to its end is in `failures`, with the reason.
    """

    row: Row
    rounds: Mapping[str, list[Sample]]
    failures: Mapping[str, str] = field(default_factory=dict)

    def values(self, contender: str, metric: str) -> list[float]:
        """The rounds of one contender, as they were measured."""
        return [sample[metric] for sample in self.rounds[contender]]

    def median(self, contender: str, metric: str) -> float:
        """The median over the rounds."""
        return statistics.median(self.values(contender, metric))

    def ratio(self, against: str | None, metric: str) -> float:
        """Ours over theirs, of the medians; ours where there is nothing to compare."""
        ours = self.median(self.row.ours.name, metric)
        return ours if against is None else ours / self.median(against, metric)

    def meets(self, mark: Mark) -> bool:
        """Whether the mark was reached."""
        ratio = self.ratio(mark.against, mark.metric)
        if self.row.metric(mark.metric).higher_is_better:
            return ratio >= mark.ratio
        return ratio <= mark.ratio

    def decided(self) -> list[Mark]:
        """The marks of which it can be said whether they were reached."""
        return [
            mark
            for mark in self.row.marks
            if mark.against is None or mark.against in self.rounds
        ]

    def others(self) -> list[str]:
        """The contenders that ours was compared with."""
        return [name for name in self.rounds if name != self.row.ours.name]


def is_installed(package: str) -> bool:
    """Whether a top-level package can be imported; it is not imported by this."""
    return importlib.util.find_spec(package) is not None
