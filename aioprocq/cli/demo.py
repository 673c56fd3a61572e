"""`python -m aioprocq demo`: real work on real input, with workers that may die."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from aioprocq.cli.console import complain, show
from aioprocq.cli.counting_app import CountingApp, Outcome, Plan
from aioprocq.cli.demo_report import as_json, as_text
from aioprocq.cli.progress import new_progress
from aioprocq.cli.reasons import reason_of
from aioprocq.cli.source_files import count_file, find_sources, standard_library
from aioprocq.cli.totals import describe_difference
from aioprocq.errors import WorkerError

__all__ = ["Options", "run"]

FAILURE = 1
MISUSE = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the demo was asked for. No folder means the standard library."""

    folder: Path | None = None
    workers: int = 2
    kills: int = 0
    seed: int | None = None
    check: bool = False
    as_json: bool = False


def run(options: Options) -> int:
    """Count, print what was found, and return the exit code."""
    folder, leave_out = _where(options.folder)
    if not folder.is_dir():
        return complain(f"{folder} is not a folder", MISUSE)
    files = find_sources(folder, leave_out)
    plan = Plan(str(folder), files, options.workers, options.kills, options.seed)
    try:
        outcome = _count(plan)
    except (WorkerError, OSError) as error:
        return complain(reason_of(error), FAILURE)
    difference = _check(plan, outcome) if options.check else None
    report = as_json if options.as_json else as_text
    show(report(outcome, difference))
    return _verdict(outcome, difference)


def _where(folder: Path | None) -> tuple[Path, Collection[str]]:
    return standard_library() if folder is None else (folder, ())


def _count(plan: Plan) -> Outcome:
    progress = new_progress(len(plan.files), "files", sys.stderr)
    # Deaths are what this is about; the report counts them.
    logger = logging.getLogger("aioprocq")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return asyncio.run(CountingApp.run(plan, progress))
    finally:
        logger.setLevel(level)
        progress.close()


def _check(plan: Plan, outcome: Outcome) -> list[str]:
    """Count again, here and one by one; what differs, in lines."""
    serial = {path: count_file(plan.folder, path) for path in plan.files}
    return describe_difference(outcome.counts, serial)


def _verdict(outcome: Outcome, difference: Sequence[str] | None) -> int:
    code = 0
    if outcome.given_up:
        code = complain(f"given up on: {', '.join(outcome.given_up)}", FAILURE)
    if difference:
        text = "\n  ".join(["the serial count differs:", *difference])
        code = complain(text, FAILURE)
    return code
