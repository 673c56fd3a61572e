"""What Linux says about a process."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["descriptors", "lack", "resident", "wake_ups"]

PROC = Path("/proc")


def lack() -> str | None:
    """Whether there is a /proc to look at."""
    return None if (PROC / "self" / "status").exists() else "there is no /proc here"


def wake_ups(pid: int) -> int:
    """How often it has gone to sleep so far, and so how often it woke up."""
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["voluntary_ctxt_switches"])


def resident() -> int:
    """Bytes of this process's memory that are in use."""
    pages = (PROC / "self" / "statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir(PROC / "self" / "fd"))
