"""What the library costs before it does anything: a peer that idles, an import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

import aioprocq
from aioprocq.cli.bench.idle_peers import breed
from aioprocq.cli.bench.kinds import OUR_NAME, OurQueue
from aioprocq.cli.bench.model import Contender, Mark, Metric, Row, Sample, Setting
from aioprocq.cli.bench.process_facts import descriptors, lack, resident
from aioprocq.cli.bench.sessions import BlockingSession, LoopSession

__all__ = ["FOOTPRINT_ROWS"]

STANDARD_NAME = "asyncio, multiprocessing"
PROGRAM = """\
import sys
sys.path[:] = {path!r}
from time import perf_counter
start = perf_counter()
{statement}
print(perf_counter() - start)
"""


class Crowd(LoopSession):
    """A session with more peers after each round; none of them leaves."""

    warm_up = 8  # the first few also fill up what is allocated in larger pieces

    async def _open(self) -> None:
        self._queue: OurQueue = aioprocq.Queue()
        self._staff.hire(breed, self._queue)

    async def _round(self, count: int) -> Sample:
        memory, files = resident(), descriptors()
        self._staff.order(count)
        for _ in range(count):
            await self._queue.get()
        await self._staff.spans_async()
        return {
            "memory": (resident() - memory) / 1024 / count,
            "descriptors": (descriptors() - files) / count,
        }

    async def _release(self) -> None:
        await self._queue.aclose()


class Import(BlockingSession):
    """A session in which interpreters are started, to import something.

    They have a cache of bytecode of their own, which the warm-up fills: whether this
    process may write any does not matter, nor who has imported what before.
    """

    def __init__(self, statement: str, setting: Setting) -> None:
        self._program = PROGRAM.format(path=sys.path, statement=statement)
        self._cache = tempfile.TemporaryDirectory(prefix="aioprocq-bench-")
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": self._cache.name}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        super().__init__(setting)

    def _open(self) -> None:
        """There is nothing to do before the warm-up."""

    def _round(self, count: int) -> Sample:
        return {"time": statistics.median(self._once() for _ in range(count)) * 1e3}

    def _once(self) -> float:
        command = [sys.executable, "-c", self._program]
        done = subprocess.run(
            command, capture_output=True, check=True, env=self._environment
        )
        return float(done.stdout)

    def _release(self) -> None:
        self._cache.cleanup()


def _import_of(name: str, statement: str) -> Contender:
    opener: Any = partial(Import, statement)
    return Contender(name, opener, 3, 11)


FOOTPRINT_ROWS = (
    Row(
        "peer",
        "an idle connected peer's cost to the owner",
        (
            Metric("memory", "KiB", higher_is_better=False),
            Metric("descriptors", "", higher_is_better=False),
        ),
        (Contender(OUR_NAME, Crowd, 8, 24, lack=lack),),
        (Mark(None, "memory", 16.0), Mark(None, "descriptors", 5.0)),
    ),
    Row(
        "import",
        "import aioprocq",
        (Metric("time", "ms", higher_is_better=False),),
        (
            _import_of(OUR_NAME, "import aioprocq"),
            _import_of(STANDARD_NAME, "import asyncio, multiprocessing"),
        ),
        (Mark(STANDARD_NAME, "time", 1.6),),
    ),
)
