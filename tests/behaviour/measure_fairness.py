"""How far from ideal the sharing out of work is; prints, and decides nothing.

Run from the repository's root: ``python -m tests.behaviour.measure_fairness``
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aioprocq

from .jobs import Crew, Job, crew

SAMPLE = 0.002


async def measure(title: str, kinds: list[str], jobs: list[Job]) -> None:
    """Have a crew do the jobs, and print how long it took of what is possible.

    Possible is the time that was spent inside of jobs, shared out evenly, or the
    longest job if that is longer.
    """
    queue = aioprocq.JoinableQueue[Any]()
    with tempfile.TemporaryDirectory() as directory:
        async with crew(queue, Path(directory), *kinds) as workers:
            began = time.monotonic()
            await queue.put_many(jobs)
            idle, samples = await sample_until_done(workers)
            elapsed = time.monotonic() - began
            figures = await workers.leave()
    busy = sum(seconds for _, seconds in figures)
    longest = max((argument for _, argument in jobs), default=0.0)
    ideal = max(busy / len(kinds), longest)
    shares = sorted(sum(done.values()) for done, _ in figures)
    print(
        f"{title:44} {elapsed:6.3f} s, {elapsed / ideal:5.3f} of ideal; "
        f"idle while something waited in {idle} of {samples} looks; shares {shares}"
    )


async def sample_until_done(workers: Crew) -> tuple[int, int]:
    """Look at the hub until all is done: how often somebody idled for nothing."""
    looks: Counter[bool] = Counter()
    while True:
        figures = workers.queue.statistics()
        if not figures.unfinished:
            return looks[True], looks.total()
        looks[figures.getters_waiting > 0 and figures.qsize > 0] += 1
        await asyncio.sleep(SAMPLE)


async def main() -> None:
    long_one = [("short", 1.0)] + [("short", 0.001)] * 1000
    even = [("short", 0.01)] * 800
    uneven = [("short", 0.001 * (1 + n % 20)) for n in range(800)]
    burst = [("quick", 0.0)] * 2000 + [("short", 0.01)] * 400
    for kind in ("blocking-peer", "async-peer", "uvloop-peer"):
        await measure(f"2 {kind}s, 1 s and 1000 x 1 ms", [kind] * 2, long_one)
        await measure(f"8 {kind}s, 800 x 10 ms", [kind] * 8, even)
        await measure(f"8 {kind}s, 800 x 1 to 20 ms", [kind] * 8, uneven)
        await measure(f"8 {kind}s, 2000 x 0 and 400 x 10 ms", [kind] * 8, burst)


if __name__ == "__main__":
    asyncio.run(main())
