"""The demo's worker: an ordinary blocking function in a process of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass

import aioprocq
from aioprocq.cli.source_count import FileCount
from aioprocq.cli.source_files import count_file

__all__ = ["Counted", "count_sources"]


@dataclass(frozen=True, slots=True)
class Counted:
    """A worker has counted a file that it was handed for the `attempt`-th time."""

    pid: int
    attempt: int
    count: FileCount


def count_sources(
    jobs: aioprocq.JoinableQueue[str], results: aioprocq.Queue[Counted], folder: str
) -> None:
    """Count the files that `jobs` names until it is shut down.

    The result is put before its job is settled. A worker that is killed in
    between leaves a second result for that file, never none.
    """
    pid = os.getpid()
    try:
        for delivery in jobs.sync.deliveries():
            with delivery as path:
                count = count_file(folder, path)
                results.sync.put(Counted(pid, delivery.attempt, count))
    except aioprocq.OwnerLost:
        return  # The app is gone: there is nobody left to count for.
