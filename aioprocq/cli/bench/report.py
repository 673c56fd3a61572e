"""What was measured, as a table, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from aioprocq.cli.bench.model import Metric, RowResult

__all__ = ["HEADER", "as_json", "as_markdown", "format_value", "table_lines"]

COLUMNS = (62, 14, 32, 7, 12, 3)
TITLES = ("row", "ours", "theirs", "ratio", "mark", "met")


def _columns(cells: Iterable[str]) -> str:
    pairs = zip(cells, COLUMNS, strict=True)
    return "  ".join(cell.ljust(width) for cell, width in pairs).rstrip()


HEADER = "\n".join([_columns(TITLES), _columns("-" * width for width in COLUMNS)])


Cells = tuple[str, str, str, str, str, str]


def table_lines(result: RowResult) -> list[str]:
    """A line for each metric and each contender that ours was compared with."""
    return [_columns(cells) for cells in cells_of(result)]


def cells_of(result: RowResult) -> list[Cells]:
    """The cells of those lines, in the order of `TITLES`."""
    lines = [cells for m in result.row.metrics for cells in _metric_cells(result, m)]
    for name, reason in result.failures.items():
        lines.append(("", "", f"{name}: {reason}", "", "", ""))
    return lines


def _metric_cells(result: RowResult, metric: Metric) -> list[Cells]:
    row = result.row
    title = row.title if len(row.metrics) == 1 else f"{row.title}, {metric.name}"
    ours = format_value(result.median(row.ours.name, metric.name), metric.unit)
    absolute = row.mark(None, metric.name)
    lines: list[Cells] = []
    if absolute is not None or not result.others():
        lines.append((title, ours, "", "", *_verdict(result, metric, None)))
    for other in result.others():
        first = (title, ours) if not lines else ("", "")
        theirs = format_value(result.median(other, metric.name), metric.unit)
        ratio = f"{result.ratio(other, metric.name):.2f}"
        verdict = _verdict(result, metric, other)
        lines.append((*first, f"{theirs} {other}", ratio, *verdict))
    return lines


def _verdict(result: RowResult, metric: Metric, other: str | None) -> tuple[str, str]:
    mark = result.row.mark(other, metric.name)
    if mark is None:
        return "", ""
    sign = "≥" if metric.higher_is_better else "≤"
    unit = f" {metric.unit}" if other is None else ""
    met = "yes" if result.meets(mark) else "no"
    return f"{sign} {mark.ratio:g}{unit}".rstrip(), met


def as_markdown(
    results: Sequence[RowResult], skipped: Mapping[str, str], note: str
) -> str:
    """The table as it stands in the documentation, with `note` below it."""
    lines = ["| " + " | ".join(TITLES) + " |", "|" + "---|" * len(TITLES)]
    for result in results:
        for cells in cells_of(result):
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", note]
    if skipped:
        lines += ["", "Not measured:", ""]
        lines += [f"- `{name}`: {why}" for name, why in skipped.items()]
    return "\n".join(lines)


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
            for mark in result.decided()
        ],
        "failures": dict(result.failures),
    }
