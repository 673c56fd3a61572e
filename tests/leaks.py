"""What a process holds that a test could leave behind.

A snapshot is taken before and after each test (see `conftest.py`). It looks at the
process from outside, in /proc, so that it sees what Python has forgotten about.
"""

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

KINDS = frozenset({"descriptors", "children", "threads", "tasks"})


@dataclass(frozen=True)
class Snapshot:
    """The open descriptors by number, the children, and the threads of this process."""

    descriptors: dict[int, str]
    children: frozenset[int]
    threads: frozenset[threading.Thread]

    @classmethod
    def take(cls) -> "Snapshot":
        return cls(
            descriptors=_open_descriptors(),
            children=_child_processes(),
            threads=frozenset(threading.enumerate()),
        )

    def differs(self, before: "Snapshot") -> bool:
        return (
            self.descriptors != before.descriptors
            or not self.children <= before.children
            or not self.threads <= before.threads
        )


def _open_descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor that listdir itself had open is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _child_processes() -> frozenset[int]:
    """The children, zombies included: one that nobody reaped is a leak as well."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end between the listing and the reading.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pids.update(map(int, (task / "children").read_text().split()))
    return frozenset(pids)


def leaked_descriptors(before: Snapshot, after: Snapshot) -> list[str]:
    """Opened and left open; or closed although it was open before the test."""
    lines = []
    for number in sorted(before.descriptors.keys() | after.descriptors.keys()):
        old, new = before.descriptors.get(number), after.descriptors.get(number)
        if old == new:
            continue
        if old is not None:
            lines.append(f"descriptor {number} -> {old} was closed, and is not its own")
        if new is not None:
            lines.append(f"descriptor {number} -> {new} was left open")
    return lines


def leaked_children(before: Snapshot, after: Snapshot) -> list[str]:
    return [
        f"child process {pid} was left: {_describe(pid)}"
        for pid in sorted(after.children - before.children)
    ]


def leaked_threads(before: Snapshot, after: Snapshot) -> list[str]:
    return [f"thread was left: {t}" for t in after.threads - before.threads]


def _describe(pid: int) -> str:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone by now"
    return "a zombie, never reaped" if state == "Z" else f"{command} (state {state})"


def kill_children(before: Snapshot, after: Snapshot) -> None:
    """End what a failed test left, so that the session neither hangs nor piles up."""
    for pid in after.children - before.children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
