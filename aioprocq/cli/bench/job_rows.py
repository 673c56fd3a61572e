"""The rows about sharing out work."""

from __future__ import annotations

from aioprocq.cli.bench.jobs import jobs_of
from aioprocq.cli.bench.kinds import OURS
from aioprocq.cli.bench.model import Mark, Metric, Row
from aioprocq.cli.bench.others.standard import STANDARD

__all__ = ["JOB_ROWS"]

KINDS = (OURS, STANDARD)

JOB_ROWS = (
    Row(
        "fair",
        "one 2 s job, then 1000 of 1 ms, on 2 workers: over the ideal",
        (Metric("over", "×", higher_is_better=False),),
        tuple(jobs_of(kind, True, 200, 1000) for kind in KINDS),
        (Mark(None, "over", 1.1),),
    ),
    Row(
        "share",
        "1 ms jobs on 2 workers: share of their time that is work",
        (Metric("share", "", higher_is_better=True),),
        tuple(jobs_of(kind, False, 400, 4000) for kind in KINDS),
        (Mark(None, "share", 0.95),),
    ),
)
