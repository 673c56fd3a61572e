"""Sum up what was counted, so that two ways of counting can be compared.

The digest covers every file's result in the order of the paths: it is the same
however the work was divided, in what order it was done and how often.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from aioprocq.cli.source_count import FileCount

__all__ = ["Totals", "add_up", "describe_difference", "longest_functions"]


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums over all files."""

    files: int
    lines: int
    functions: int
    classes: int
    unparsable: int
    digest: str


def add_up(counts: Iterable[FileCount]) -> Totals:
    """The totals of `counts`, which may come in any order."""
    ordered = sorted(counts, key=lambda count: count.path)
    digest = hashlib.sha256()
    for count in ordered:
        digest.update(json.dumps(astuple(count)).encode("ascii"))
        digest.update(b"\n")
    return Totals(
        files=len(ordered),
        lines=sum(count.lines for count in ordered),
        functions=sum(count.functions for count in ordered),
        classes=sum(count.classes for count in ordered),
        unparsable=sum(count.problem is not None for count in ordered),
        digest=digest.hexdigest(),
    )


def longest_functions(counts: Iterable[FileCount], limit: int) -> list[FileCount]:
    """The files with the longest functions, the longest first."""
    having = [count for count in counts if count.longest is not None]
    return sorted(having, key=_by_length)[:limit]


def _by_length(count: FileCount) -> tuple[int, str]:
    assert count.longest is not None
    return -count.longest.lines, count.path


def describe_difference(
    found: Mapping[str, FileCount], expected: Mapping[str, FileCount], limit: int = 5
) -> list[str]:
    """One line for each of the first paths where the two differ."""
    lines: list[str] = []
    for path in sorted(found.keys() | expected.keys()):
        if found.get(path) != expected.get(path):
            lines.append(f"{path}: {found.get(path)} instead of {expected.get(path)}")
    if len(lines) > limit:
        lines[limit:] = [f"and {len(lines) - limit} more"]
    return lines
