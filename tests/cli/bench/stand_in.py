"""Contenders without processes, for the parts that only arrange and print."""

from __future__ import annotations

from typing import Any

from aioprocq.cli.bench.model import (
    Contender,
    Mark,
    Metric,
    Row,
    RowResult,
    Sample,
    Setting,
)

RATE = Metric("rate", "items/s", higher_is_better=True)
TIME = Metric("time", "µs", higher_is_better=False)

log: list[str] = []


class StandIn:
    """Says in `log` what is done with it, and measures what it was told to."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self._name = name
        self._error = error
        self._closed = False

    def wait_until_open(self) -> None:
        log.append(f"{self._name} is open")

    def play(self, count: int) -> Sample:
        log.append(f"{self._name} plays {count}")
        if self._error is not None:
            raise self._error
        return {"rate": 100.0 * count, "time": 2.0}

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        log.append(f"{self._name} closes")


def open_here(contender: Contender, setting: Setting) -> Any:
    """In place of a process of its own."""
    return contender.open(setting)


def make_contender(
    name: str,
    quick: int = 1,
    error: Exception | None = None,
    needs: tuple[str, ...] = (),
) -> Contender:
    def open_session(setting: Setting) -> StandIn:
        log.append(f"{name} opens on {setting.loop}")
        return StandIn(name, error)

    return Contender(name, open_session, quick, full=quick * 10, needs=needs)


def make_row(
    name: str = "row",
    error: Exception | None = None,
    needs: tuple[str, ...] = (),
    marks: tuple[Mark, ...] = (),
) -> Row:
    return Row(
        name,
        f"title of {name}",
        (RATE, TIME),
        (
            make_contender("ours", quick=3),
            make_contender("theirs", error=error),
            make_contender("absent", needs=("no_such_package",)),
        ),
        (Mark("theirs", "rate", 2.0), Mark("absent", "rate", 2.0), *marks),
        needs,
    )


def make_result(ours: list[float], theirs: list[float]) -> RowResult:
    rounds = {"ours": ours, "theirs": theirs}
    return RowResult(
        make_row(),
        {
            name: [{"rate": rate, "time": 1000 / rate} for rate in rates]
            for name, rates in rounds.items()
        },
    )
