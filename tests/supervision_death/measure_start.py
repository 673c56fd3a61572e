"""What it costs to start a worker: ``python -m tests.supervision_death.measure_start``.

Two figures: for how long the call holds the event loop, in an app of this size with
a gigabyte resident; and how long it takes until a worker is ready, against what it
takes to start an interpreter that imports what every worker of anybody needs.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from typing import Any

import aioprocq
from aioprocq.supervisor import child

from .targets import idle

ROUNDS = 20
LEAST = "import asyncio, multiprocessing"
GIGABYTE = 1 << 30


Child: Any = child.Child


class Clock:
    """Times every call that starts a process."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = Child._start

    def install(self) -> None:
        clock = self

        def timed(one: Any) -> None:
            before = time.perf_counter()
            clock._start(one)
            clock.seconds.append(time.perf_counter() - before)

        Child._start = timed


async def until_ready() -> float:
    async with aioprocq.Supervisor() as supervisor:
        before = time.perf_counter()
        await supervisor.start(idle)
        return time.perf_counter() - before


def interpreter() -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", LEAST], check=True)
    return time.perf_counter() - before


def milliseconds(seconds: list[float]) -> str:
    middle, most = statistics.median(seconds) * 1000, max(seconds) * 1000
    return f"median {middle:.2f} ms, most {most:.2f} ms"


async def measure(kind: str) -> None:
    clock = Clock()
    clock.install()
    ready, least = [], []
    for _ in range(ROUNDS):  # in turns: the machine may be busy in between
        ready.append(await until_ready())
        least.append(interpreter())
    Child._start = clock._start
    ratio = statistics.median(ready) / statistics.median(least)
    print(f"{kind}: a start holds the loop for {milliseconds(clock.seconds)}")
    print(f"{kind}: a worker is ready after {milliseconds(ready)}")
    print(f"{kind}: {LEAST!r} takes {milliseconds(least)}; ratio {ratio:.2f}")


def main() -> None:
    asyncio.run(measure("small app"))
    ballast = bytearray(GIGABYTE)
    ballast[::4096] = b"x" * len(ballast[::4096])
    asyncio.run(measure("1 GiB resident"))


if __name__ == "__main__":
    main()
