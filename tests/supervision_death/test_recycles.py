"""Workers that are replaced, again and again: the app is the same as before."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from aioprocq import JoinableQueue
from aioprocq.supervisor.boot import resident_bytes
from tests.contract.harness import eventually, within

from . import targets
from .observed import Observed

pytestmark = pytest.mark.both_loops

Numbers = JoinableQueue[int]
WARM_UP = 10
MOST = 8 << 20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def recycle(count: int, place: Path) -> str:
    async with Numbers(name="numbers") as queue, Observed() as supervisor:
        group = await supervisor.start(
            targets.consume, queue, place, count=2, max_items=1
        )

        async def work_off(first: int, end: int) -> tuple[int, int]:
            for number in range(first, end):
                await queue.put(number)
            await within(queue.join(), 600)
            await eventually(lambda: settled(supervisor, end))
            await eventually(lambda: queue.statistics().peers == 2)
            gc.collect()
            return descriptors(), resident_bytes()

        before = await work_off(0, WARM_UP)
        after = await work_off(WARM_UP, WARM_UP + count)
        assert after[0] == before[0]
        assert after[1] - before[1] < MOST
        statistics = queue.statistics()
        assert (statistics.put, statistics.unfinished) == (WARM_UP + count, 0)
        assert (statistics.redelivered, statistics.dead_letters) == (0, 0)
        assert group.statistics().exits == {"recycled": WARM_UP + count}
        assert group.statistics().restarts == 0
    grown = (after[1] - before[1]) / 1024
    return f"{count} recycles: {grown:.0f} KiB more, {after[0]} descriptors"


def settled(supervisor: Observed, count: int) -> bool:
    """Whether so many are gone, and their two successors ready."""
    gone, ready = len(supervisor.told("exited")), len(supervisor.told("ready"))
    return gone == count and ready == count + 2


async def test_recycles(tmp_path: Path) -> None:
    await recycle(30, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_thousand_recycles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = await recycle(1000, tmp_path)
    with capsys.disabled():
        print(f"\n{report}")
