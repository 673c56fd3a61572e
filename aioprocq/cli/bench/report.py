"""What was measured, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from aioprocq.cli.bench.model import Metric, RowResult

__all__ = ["HEADER", "as_json", "format_value", "table_lines"]

COLUMNS = (52, 14, 32, 7, 7, 3)
TITLES = ("row", "ours", "theirs", "ratio", "mark", "met")


def _columns(cells: Iterable[str]) -> str:
    pairs = zip(cells, COLUMNS, strict=True)
    return "  ".join(cell.ljust(width) for cell, width in pairs).rstrip()


HEADER = "\n".join([_columns(TITLES), _columns("-" * width for width in COLUMNS)])


def table_lines(result: RowResult) -> list[str]:
    """One line for each metric and each contender that ours was compared with."""
    lines: list[str] = []
    for metric in result.row.metrics:
        for other in result.others():
            first = other == result.others()[0]
            lines.append(_columns(_cells(result, metric, other, first)))
    return lines


def _cells(
    result: RowResult, metric: Metric, other: str, first: bool
) -> tuple[str, ...]:
    row = result.row
    title = row.title if len(row.metrics) == 1 else f"{row.title}, {metric.name}"
    ours = format_value(result.median(row.ours.name, metric.name), metric.unit)
    theirs = format_value(result.median(other, metric.name), metric.unit)
    mark = row.mark(other, metric.name)
    sign = "≥" if metric.higher_is_better else "≤"
    return (
        title if first else "",
        ours if first else "",
        f"{theirs} {other}",
        f"{result.ratio(other, metric.name):.2f}",
        f"{sign} {mark.ratio:g}" if mark else "",
        ("yes" if result.meets(mark) else "no") if mark else "",
    )


def format_value(value: float, unit: str) -> str:
    """A figure with three digits or so."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M {unit}"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k {unit}"
    if value >= 100:
        return f"{value:.0f} {unit}"
    return f"{value:.3g} {unit}"


def as_json(
    results: Sequence[RowResult],
    skipped: Mapping[str, str],
    environment: Mapping[str, object],
) -> str:
    """Everything, with the rounds as they were measured."""
    report = {
        **environment,
        "rows": [_row_facts(result) for result in results],
        "skipped": dict(skipped),
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


def _row_facts(result: RowResult) -> dict[str, object]:
    row = result.row
    return {
        "name": row.name,
        "title": row.title,
        "ours": row.ours.name,
        "units": {metric.name: metric.unit for metric in row.metrics},
        "rounds": {name: list(samples) for name, samples in result.rounds.items()},
        "medians": {
            name: {m.name: result.median(name, m.name) for m in row.metrics}
            for name in result.rounds
        },
        "ratios": {
            name: {m.name: result.ratio(name, m.name) for m in row.metrics}
            for name in result.others()
        },
        "marks": [
            {
                "against": mark.against,
                "metric": mark.metric,
                "must_reach": mark.ratio,
                "ratio": result.ratio(mark.against, mark.metric),
                "met": result.meets(mark),
            }
            for mark in row.marks
            if mark.against in result.rounds
        ],
    }
