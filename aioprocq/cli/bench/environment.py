"""On what something was measured."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import aioprocq

__all__ = [
    "PACKAGES",
    "busy_note",
    "describe",
    "free_memory",
    "one_line",
    "processor_name",
]

Facts = dict[str, str | float | None]

PACKAGES = (
    "aiomultiprocess",
    "aioprocessing",
    "anyio",
    "culsans",
    "faster-fifo",
    "janus",
    "loky",
    "numpy",
    "pebble",
    "pyzmq",
    "redis",
    "uvloop",
)
BUSY_SHARE = 0.25  # of the cores


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, str | Facts]:
    """Date, machine, Python, and the versions of whatever plays a part."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "python": _python(),
        "versions": _versions(packages),
    }


def one_line(packages: Sequence[str] = ()) -> str:
    """The same for the foot of a picture, or of a table."""
    machine, python, versions = _machine(), _python(), _versions(packages)
    named = ", ".join(f"{name} {v}" for name, v in versions.items() if v)
    return (
        f"{named}, {python['implementation']} "
        f"{python['version']}, {machine['system']} {machine['release']}, "
        f"{machine['cores']} × {machine['processor']}, "
        f"{datetime.now(UTC).date().isoformat()}"
    )


def busy_note(load: float, cores: int) -> str | None:
    """What to say of a machine that is not idle: `load` of others on `cores`."""
    if load < cores * BUSY_SHARE:
        return None
    return (
        f"note: the machine is busy already (load {load:.1f} on {cores} cores); "
        "ratios suffer from that, and not evenly"
    )


def _machine() -> Facts:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": processor_name(Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _python() -> Facts:
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "build": " ".join(sys.version.split()),
    }


def _versions(packages: Sequence[str]) -> Facts:
    versions: Facts = {"aioprocq": aioprocq.__version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def free_memory() -> float:
    """Bytes that can be had; where the machine does not say, any number."""
    try:
        pages = os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return math.inf
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def processor_name(cpuinfo: Path) -> str:
    """What the processor calls itself; where Linux says so, in its words."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
