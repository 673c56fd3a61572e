"""Play the rows: all contenders of one, in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Protocol

from aioprocq.cli.bench.hosting import Hosted
from aioprocq.cli.bench.model import (
    BenchError,
    Contender,
    Row,
    RowResult,
    Sample,
    Setting,
)

__all__ = ["Scale", "contenders_at_hand", "run_row"]


QUICK_BUDGET = 44.0  # seconds: some are left for a row that takes longer
USUAL_START = 0.9  # seconds until a row's processes are up, and until they are gone
USUAL_ROUND = 0.6  # seconds of a row's round


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
        share = (QUICK_BUDGET - elapsed - rows_left * USUAL_START) / needed
        return replace(self, share=min(1.0, max(0.05, share)))


class HostedSession(Protocol):
    """What is done with a session; see `Hosted`."""

    def wait_until_open(self) -> None:
        """Wait until rounds can be played."""

    def play(self, count: int) -> Sample:
        """Measure one round."""

    def close(self) -> None:
        """End it; twice is fine."""


def open_in_process(contender: Contender, setting: Setting) -> Hosted:
    """Begin to open a session in a process of its own."""
    return Hosted(contender.open, setting)


def run_row(
    row: Row,
    setting: Setting,
    scale: Scale,
    tell: Callable[[str], None] = lambda step: None,
    open_hosted: Callable[[Contender, Setting], HostedSession] = open_in_process,
) -> RowResult:
    """Measure one row; `tell` hears what is being done.

    A contender that fails does not play on, and has no figures.
    """
    players = Players()
    with ExitStack() as stack:
        tell(f"{row.name}: starting")
        for contender in contenders_at_hand(row, scale.quick):
            session = stack.enter_context(closing(open_hosted(contender, setting)))
            players.add(contender, session)
        players.each(lambda contender, session: session.wait_until_open())
        for number in range(scale.rounds):
            tell(f"{row.name}: round {number + 1} of {scale.rounds}")
            players.play(scale)
    return RowResult(row, players.rounds, players.failures)


class Players:
    """The contenders of a row that are still in it."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[Sample]] = {}
        self.failures: dict[str, str] = {}
        self._sessions: list[tuple[Contender, HostedSession]] = []

    def add(self, contender: Contender, session: HostedSession) -> None:
        """Somebody whose session is being opened."""
        self._sessions.append((contender, session))
        self.rounds[contender.name] = []

    def play(self, scale: Scale) -> None:
        """One round of each, in turn."""

        def play_one(contender: Contender, session: HostedSession) -> None:
            sample = session.play(scale.count(contender))
            self.rounds[contender.name].append(sample)

        self.each(play_one)

    def each(self, act: Callable[[Contender, HostedSession], None]) -> None:
        """Do something with each of them, in turn. Who fails is out."""
        for contender, session in tuple(self._sessions):
            try:
                act(contender, session)
            except BenchError as error:
                session.close()
                self._sessions.remove((contender, session))
                self.failures[contender.name] = str(error)
                del self.rounds[contender.name]


def contenders_at_hand(row: Row, quick: bool = False) -> list[Contender]:
    """Those that can be measured; in a quick run, those that a mark is about."""
    wanted = {row.ours.name, *(mark.against for mark in row.marks)}
    return [
        contender
        for contender in row.contenders
        if contender.obstacle() is None and (not quick or contender.name in wanted)
    ]
