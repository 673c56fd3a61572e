"""`python -m aioprocq bench`: measure on this machine, against its peers."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from aioprocq.cli.bench import environment, plot, report
from aioprocq.cli.bench.model import BenchError, Row, RowResult, Setting, is_installed
from aioprocq.cli.bench.rows import choose
from aioprocq.cli.bench.runner import Scale, run_row
from aioprocq.cli.console import complain, show, tell
from aioprocq.cli.progress import PlainProgress, Progress, SilentProgress, is_terminal

__all__ = ["Options", "run"]

FAILURE = 1
MISUSE = 2

ROUNDS, PATIENCE = 5, 120.0
QUICK_ROUNDS, QUICK_PATIENCE = 3, 4.0
LAST_START = 48.0  # seconds after which a quick run begins no row


@dataclass(frozen=True, slots=True)
class Options:
    """What the benchmark was asked for."""

    quick: bool = False
    only: tuple[str, ...] = ()
    rounds: int | None = None
    loop: str = "asyncio"
    list_rows: bool = False
    json_file: Path | None = None
    plot_file: Path | None = None
    table_file: Path | None = None

    @property
    def scale(self) -> Scale:
        """How much is measured."""
        usual = QUICK_ROUNDS if self.quick else ROUNDS
        return Scale(rounds=self.rounds or usual, quick=self.quick)

    @property
    def setting(self) -> Setting:
        """What holds for every contender."""
        patience = QUICK_PATIENCE if self.quick else PATIENCE
        return Setting(loop=self.loop, patience=patience)


def run(options: Options) -> int:
    """Measure, print the table, write the files, and return the exit code."""
    try:
        rows = choose(options.only)
        if options.list_rows:
            show("\n".join(f"{row.name:<20}{row.title}" for row in rows))
            return 0
        _check_quick(options, rows)
        _check_loop(options.loop)
        _check_writable(options)
    except (BenchError, OSError) as error:
        return complain(str(error), MISUSE)
    try:
        benchmark = _Benchmark(rows, options)
        benchmark.measure()
        benchmark.write_files()
    except (BenchError, OSError) as error:
        return complain(str(error), FAILURE)
    return FAILURE if benchmark.failed else 0


def _check_quick(options: Options, rows: list[Row]) -> None:
    """Who names a row wants it measured."""
    long = [row.name for row in rows if row.long]
    if options.quick and options.only and long:
        raise BenchError(
            f"{long[0]} is not part of --quick; leave out one of the two options"
        )


def _check_loop(loop: str) -> None:
    if loop == "uvloop" and not is_installed("uvloop"):
        raise BenchError("uvloop is not installed")


def _check_writable(options: Options) -> None:
    """Better now than after all has been measured."""
    for file in (options.json_file, options.plot_file, options.table_file):
        if file is not None:
            file.open("a").close()


def why_not(row: Row, scale: Scale, elapsed: float) -> str | None:
    """What stands against measuring a row, if anything does."""
    if obstacle := row.obstacle():
        return obstacle
    if scale.quick and row.long:
        return "a quick run leaves it out"
    if scale.quick and elapsed > LAST_START:
        return "no time is left in a quick run"
    if row.memory > environment.free_memory():
        return f"it needs {row.memory / 1e9:.0f} GB of memory"
    return None


class _Benchmark:
    """One run over the rows that were chosen."""

    def __init__(self, rows: list[Row], options: Options) -> None:
        self._rows = rows
        self._options = options
        self._results: list[RowResult] = []
        self._skipped: dict[str, str] = {}
        self.failed = False
        # Taken at the start: the load that the run itself makes is none of it.
        self._environment = environment.describe()
        # The plain bar: it can be wiped out while a row of the table is printed.
        self._progress: Progress = SilentProgress()
        if is_terminal(sys.stderr):
            self._progress = PlainProgress(len(rows), "rows", sys.stderr)

    def measure(self) -> None:
        """Print the table, row by row."""
        started = time.monotonic()
        if note := environment.busy_note(os.getloadavg()[0], os.cpu_count() or 1):
            tell(f"{note}\n")
        try:
            show(report.HEADER)
            for number, row in enumerate(self._rows):
                elapsed = time.monotonic() - started
                self._measure_row(number, row, elapsed)
        finally:
            self._progress.close()
        for reason in self._absent():
            show(f"not compared with: {reason}")
        show(f"\n{self._summary()}, in {time.monotonic() - started:.0f} s")

    def _measure_row(self, number: int, row: Row, elapsed: float) -> None:
        scale = self._options.scale
        if reason := why_not(row, scale, elapsed):
            self._skip(row, reason)
            return
        result = run_row(
            row,
            self._options.setting,
            scale.fitted(elapsed, len(self._rows) - number),
            lambda step: self._progress.update(number, step),
        )
        self._progress.close()
        if failure := result.failures.get(row.ours.name):
            self.failed = True
            self._skip(row, f"{row.ours.name} failed: {failure}")
            return
        self._results.append(result)
        show("\n".join(report.table_lines(result)))

    def _absent(self) -> list[str]:
        """Who was not there, with the reason."""
        others = [each for row in self._rows for each in row.contenders[1:]]
        found = {
            f"{each.name}: {each.obstacle()}" for each in others if each.obstacle()
        }
        return sorted(found)

    def _skip(self, row: Row, reason: str) -> None:
        self._skipped[row.name] = reason
        show(f"{row.title}: not measured, {reason}")

    def _summary(self) -> str:
        verdicts = [
            result.meets(mark) for result in self._results for mark in result.decided()
        ]
        return f"{sum(verdicts)} of {len(verdicts)} marks met"

    def write_files(self) -> None:
        """Write what was asked for."""
        options = self._options
        if options.json_file is not None:
            facts = {
                **self._environment,
                "quick": options.quick,
                "loop": options.loop,
                "rounds_each": options.scale.rounds,
                "absent": self._absent(),
            }
            text = report.as_json(self._results, self._skipped, facts)
            options.json_file.write_text(text + "\n", encoding="utf-8")
        if options.plot_file is not None:
            picture = plot.draw(self._results, environment.one_line())
            options.plot_file.write_text(picture, encoding="utf-8")
        if options.table_file is not None:
            note = environment.one_line(environment.PACKAGES)
            table = report.as_markdown(self._results, self._skipped, note)
            options.table_file.write_text(table + "\n", encoding="utf-8")
