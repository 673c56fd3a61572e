"""What the demo prints."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aioprocq.cli.counting_app import Outcome
from aioprocq.cli.source_count import FileCount
from aioprocq.cli.totals import Totals, add_up, longest_functions

__all__ = ["as_json", "as_text"]

LONGEST = 10
PROBLEMS = 20


def as_json(outcome: Outcome, difference: Sequence[str] | None) -> str:
    """One JSON object. `check` is null when nothing was checked."""
    totals = add_up(outcome.counts.values())
    report = {
        "files": totals.files,
        "lines": totals.lines,
        "functions": totals.functions,
        "classes": totals.classes,
        "unparsable": totals.unparsable,
        "digest": totals.digest,
        "workers": outcome.workers,
        "killed": outcome.killed,
        "crashed": outcome.crashed,
        "redelivered": outcome.redelivered,
        "dead_letters": list(outcome.given_up),
        "seconds": round(outcome.seconds, 6),
        "files_per_second": round(_rate(totals, outcome), 3),
        "max_loop_lag_ms": round(outcome.max_loop_lag * 1000, 3),
        "check": None if difference is None else not difference,
    }
    return json.dumps(report)


def as_text(outcome: Outcome, difference: Sequence[str] | None) -> str:
    """The same for people."""
    counts = outcome.counts.values()
    totals = add_up(counts)
    sections = [
        _totals(totals),
        _problems([count for count in counts if count.problem is not None]),
        _longest(longest_functions(counts, LONGEST)),
        _workers(totals, outcome, difference),
    ]
    return _printable("\n\n".join("\n".join(lines) for lines in sections if lines))


def _totals(totals: Totals) -> list[str]:
    return [
        f"{totals.files:,} files, {totals.lines:,} lines, "
        f"{totals.functions:,} functions, {totals.classes:,} classes"
    ]


def _problems(files: list[FileCount]) -> list[str]:
    if not files:
        return []
    files.sort(key=lambda count: count.path)
    lines = [f"  {count.path}: {count.problem}" for count in files[:PROBLEMS]]
    if len(files) > PROBLEMS:
        lines.append(f"  and {len(files) - PROBLEMS:,} more")
    return [f"{len(files):,} of them could not be parsed:", *lines]


def _longest(files: list[FileCount]) -> list[str]:
    if not files:
        return []
    lines = ["The longest functions, of each file the longest:"]
    for count in files:
        assert count.longest is not None
        where = f"{count.path}:{count.longest.line}"
        lines.append(f"  {count.longest.lines:6,} lines  {count.longest.name}  {where}")
    return lines


def _workers(
    totals: Totals, outcome: Outcome, difference: Sequence[str] | None
) -> list[str]:
    lines = [
        f"{outcome.seconds:.2f} s with {outcome.workers} workers, "
        f"{_rate(totals, outcome):,.0f} files a second; "
        f"the event loop was never later than {outcome.max_loop_lag * 1000:.1f} ms",
        f"workers killed: {outcome.killed}, jobs delivered again: "
        f"{outcome.redelivered}, given up on: {len(outcome.given_up)}",
    ]
    if outcome.crashed:
        lines.append(f"workers that died of themselves: {outcome.crashed}")
    lines.append(f"digest of all results: {totals.digest}")
    if difference is not None:
        verdict = "differs" if difference else "is the same"
        lines.append(f"check: the count without workers {verdict}")
    return lines


def _rate(totals: Totals, outcome: Outcome) -> float:
    return totals.files / outcome.seconds if outcome.seconds else 0.0


def _printable(text: str) -> str:
    """File names may hold bytes that are no text; no terminal takes those."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
