"""The rows about pools: two workers, and jobs that do nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeAlias

from aioprocq.cli.bench.model import Contender, Mark, Metric, Row, Sample, Setting
from aioprocq.cli.bench.others import pools
from aioprocq.cli.bench.others.pools import PoolKind, Run
from aioprocq.cli.bench.round_trip import summary
from aioprocq.cli.bench.sessions import LoopSession
from aioprocq.cli.loops import new_runner

__all__ = ["POOL_ROWS"]

IN_FLIGHT = 200
WARM_UP = 50  # jobs after which everybody has started, and has had a first one
Measure: TypeAlias = Callable[[Run, int], Awaitable[Sample]]


class PoolSession(LoopSession):
    """A session with a pool; `measure` says what of it."""

    warm_up = WARM_UP

    def __init__(self, kind: PoolKind, measure: Measure, setting: Setting) -> None:
        self._kind = kind
        self._measure = measure
        self._stack = AsyncExitStack()
        super().__init__(setting)

    def play(self, count: int) -> Sample:
        """One round; on a loop of its own where the pool ends with it."""
        if self._kind.outlives_round:
            return super().play(count)
        with new_runner(self._setting.loop) as runner:
            return runner.run(self._play(count))

    async def _open(self) -> None:
        if self._kind.outlives_round:
            self._run = await self._stack.enter_async_context(self._kind.open())

    async def _round(self, count: int) -> Sample:
        if self._kind.outlives_round:
            return await self._measure(self._run, count)
        async with self._kind.open() as run:
            await self._measure(run, WARM_UP)
            return await self._measure(run, count)

    async def _release(self) -> None:
        await self._stack.aclose()


async def many_in_flight(run: Run, count: int) -> Sample:
    """As many jobs a second as it can, with so many of them unfinished."""
    jobs = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in jobs:
            await run()

    start = time.monotonic()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    return {"rate": count / (time.monotonic() - start)}


async def one_in_flight(run: Run, count: int) -> Sample:
    """The time that a job takes when nothing else is going on."""
    clock = time.perf_counter
    times: list[float] = []
    for _ in range(count):
        start = clock()
        await run()
        times.append(clock() - start)
    return summary(times)


def _contender(kind: PoolKind, measure: Measure, quick: int, full: int) -> Contender:
    opener = partial(PoolSession, kind, measure)
    return Contender(kind.name, opener, quick, full, kind.needs, kind.lack)


def _many(kind: PoolKind, quick: int, full: int) -> Contender:
    return _contender(kind, many_in_flight, quick, full)


def _one(kind: PoolKind, quick: int, full: int) -> Contender:
    return _contender(kind, one_in_flight, quick, full)


POOL_ROWS = (
    Row(
        "pool",
        f"pool of 2, no-op job, {IN_FLIGHT} in flight",
        (Metric("rate", "jobs/s", higher_is_better=True),),
        (
            _many(pools.OURS, 10_000, 100_000),
            _many(pools.EXECUTOR, 2_000, 20_000),
            _many(pools.PEBBLE, 2_000, 20_000),
            _many(pools.LOKY, 2_000, 20_000),
            _many(pools.AIOMULTIPROCESS, 1_000, 10_000),
            _many(pools.ANYIO, 2_000, 20_000),
        ),
        (
            Mark(pools.EXECUTOR.name, "rate", 6.0),
            Mark(pools.PEBBLE.name, "rate", 4.0),
        ),
    ),
    Row(
        "pool-one",
        "pool of 2, no-op job, one in flight",
        (Metric("p50", "µs", higher_is_better=False),),
        (
            _one(pools.OURS, 2_000, 20_000),
            _one(pools.EXECUTOR, 500, 5_000),
            _one(pools.ANYIO, 1_000, 10_000),
        ),
        (
            Mark(pools.EXECUTOR.name, "p50", 0.35),
            Mark(pools.ANYIO.name, "p50", 0.6),
        ),
    ),
)
