"""Play the rows: all contenders of one, in turn, round after round."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from aioprocq.cli.bench.model import (
    Contender,
    Row,
    RowResult,
    Sample,
    Session,
    Setting,
    is_installed,
)

__all__ = ["Scale", "contenders_at_hand", "run_row"]


QUICK_BUDGET = 48.0  # seconds: some are left for a row that takes longer
USUAL_ROUND = 0.7  # seconds of a row's round, with its share of the start


@dataclass(frozen=True, slots=True)
class Scale:
    """How long a row is: its rounds, and the items of one.

    `share` makes quick rounds shorter still.
    """

    rounds: int = 5
    quick: bool = False
    share: float = 1.0

    def count(self, contender: Contender) -> int:
        """The items of one round of this contender."""
        if self.quick:
            return max(1, round(contender.quick * self.share))
        return contender.full

    def fitted(self, elapsed: float, rows_left: int) -> Scale:
        """The same, cut down where the machine is too slow for a quick run.

        There are as many rounds as ever: their number is what makes a median.
        """
        if not self.quick:
            return self
        needed = rows_left * self.rounds * USUAL_ROUND
        share = (QUICK_BUDGET - elapsed) / needed
        return replace(self, share=min(1.0, max(0.05, share)))


def run_row(
    row: Row,
    setting: Setting,
    scale: Scale,
    tell: Callable[[str], None] = lambda step: None,
) -> RowResult:
    """Measure one row; `tell` hears what is being done.

    Raises:
        BenchError: a worker died, or a round did not end.
    """
    rounds: dict[str, list[Sample]] = {}
    with ExitStack() as stack:
        sessions: list[tuple[Contender, Session]] = []
        for contender in contenders_at_hand(row):
            tell(f"{row.name}: starting {contender.name}")
            session = stack.enter_context(closing(contender.open(setting)))
            sessions.append((contender, session))
            rounds[contender.name] = []
        for number in range(scale.rounds):
            tell(f"{row.name}: round {number + 1} of {scale.rounds}")
            for contender, session in sessions:
                gc.collect()
                sample = session.play(scale.count(contender))
                rounds[contender.name].append(sample)
    return RowResult(row, rounds)


def contenders_at_hand(row: Row) -> list[Contender]:
    """The contenders whose packages are installed."""
    return [
        contender
        for contender in row.contenders
        if all(is_installed(package) for package in contender.needs)
    ]
