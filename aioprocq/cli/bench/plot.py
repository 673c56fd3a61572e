"""Draw what was measured as SVG: for each row a bar for each contender.

Every row has its own scale: bars are compared within a row, never between rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from aioprocq.cli.bench.model import Metric, RowResult
from aioprocq.cli.bench.report import format_value

__all__ = ["draw"]

WIDTH = 760
MARGIN = 16
LABEL_WIDTH = 180
BAR_WIDTH = 420
BAR_HEIGHT = 16
STEP = 21
TITLE_HEIGHT = 26
GAP = 12
OURS, THEIRS = "#2b6cb0", "#a0aec0"

STYLE = (
    "text{font-family:sans-serif;font-size:12px;fill:#1a202c}"
    ".title{font-weight:bold}.note{fill:#4a5568}"
)


def draw(results: Sequence[RowResult], note: str) -> str:
    """The whole picture, with `note` below it."""
    parts: list[str] = []
    top = MARGIN
    for result in results:
        for metric in result.row.metrics:
            top = _draw_group(parts, result, metric, top)
    parts.append(_text(MARGIN, top + BAR_HEIGHT, note, "note"))
    height = top + BAR_HEIGHT + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{height}" viewBox="0 0 {WIDTH} {height}">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _draw_group(parts: list[str], result: RowResult, metric: Metric, top: int) -> int:
    """Add the bars of one metric of one row; returns where the next begins."""
    row = result.row
    better = "higher is better" if metric.higher_is_better else "lower is better"
    name = row.title if len(row.metrics) == 1 else f"{row.title}, {metric.name}"
    parts.append(_text(MARGIN, top + BAR_HEIGHT, f"{name} ({better})", "title"))
    top += TITLE_HEIGHT
    medians = {name: result.median(name, metric.name) for name in result.rounds}
    longest = max(medians.values()) or 1.0
    for contender, value in medians.items():
        colour = OURS if contender == row.ours.name else THEIRS
        length = max(1, round(BAR_WIDTH * value / longest))
        left = MARGIN + LABEL_WIDTH
        parts.append(_text(MARGIN, top + 13, contender))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{length}" height="{BAR_HEIGHT}" '
            f'fill="{colour}"/>'
        )
        figure = format_value(value, metric.unit)
        parts.append(_text(left + length + 6, top + 13, figure))
        top += STEP
    return top + GAP


def _text(left: int, baseline: int, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{left}" y="{baseline}"{attribute}>{escape(text)}</text>'
