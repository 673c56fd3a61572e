"""Pools of processes: ours, and others'. Each does a job of which nothing is to see."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import aioprocq
from aioprocq.cli.bench.kinds import OUR_NAME
from aioprocq.cli.bench.model import nothing

__all__ = [
    "AIOMULTIPROCESS",
    "ANYIO",
    "EXECUTOR",
    "LOKY",
    "OURS",
    "PEBBLE",
    "PoolKind",
]

Run: TypeAlias = Callable[[], Awaitable[object]]
WORKERS = 2


@dataclass(frozen=True, slots=True)
class PoolKind:
    """A pool. What `open` gives runs the job once, and is awaited.

    One that does not outlive a round ends with the task that the loop runs, and then
    that loop cannot have another.
    """

    name: str
    open: Callable[[], AbstractAsyncContextManager[Run]]
    needs: tuple[str, ...] = ()
    lack: Callable[[], str | None] = nothing
    outlives_round: bool = True


def job() -> None:
    """What is done in a worker."""


async def async_job() -> None:
    """The same, for a pool that only takes coroutine functions."""


def lacks_pool() -> str | None:
    """Whether this version of the library has a pool."""
    if hasattr(aioprocq, "WorkerPool"):
        return None
    return "this version of aioprocq has no WorkerPool"


@asynccontextmanager
async def open_ours() -> AsyncIterator[Run]:
    """`aioprocq.WorkerPool`."""
    pool_class: Any = getattr(aioprocq, "WorkerPool")  # noqa: B009  # may not be there
    async with pool_class(WORKERS) as pool:
        run = pool.run
        yield lambda: run(job)


@asynccontextmanager
async def open_executor() -> AsyncIterator[Run]:
    """`concurrent.futures.ProcessPoolExecutor`."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, context) as executor:
        yield in_executor(executor)


@asynccontextmanager
async def open_loky() -> AsyncIterator[Run]:
    """loky's executor."""
    with importlib.import_module("loky").ProcessPoolExecutor(WORKERS) as executor:
        yield in_executor(executor)


def in_executor(executor: Executor) -> Run:
    """An executor's job as asyncio runs it."""
    run = asyncio.get_running_loop().run_in_executor
    return lambda: run(executor, job)


@asynccontextmanager
async def open_pebble() -> AsyncIterator[Run]:
    """`pebble.ProcessPool`."""
    context = multiprocessing.get_context("spawn")
    pool = importlib.import_module("pebble").ProcessPool(WORKERS, context=context)
    try:
        yield lambda: asyncio.wrap_future(pool.schedule(job))
    finally:
        pool.stop()
        pool.join()


@asynccontextmanager
async def open_aiomultiprocess() -> AsyncIterator[Run]:
    """`aiomultiprocess.Pool`."""
    module = importlib.import_module("aiomultiprocess")
    async with module.Pool(processes=WORKERS) as pool:
        yield lambda: pool.apply(async_job)


@asynccontextmanager
async def open_anyio() -> AsyncIterator[Run]:
    """`anyio.to_process.run_sync`."""
    run = importlib.import_module("anyio.to_process").run_sync
    limiter = importlib.import_module("anyio").CapacityLimiter(WORKERS)
    yield lambda: run(job, limiter=limiter)


OURS = PoolKind(OUR_NAME, open_ours, lack=lacks_pool)
EXECUTOR = PoolKind("ProcessPoolExecutor", open_executor)
LOKY = PoolKind("loky", open_loky, ("loky",))
PEBBLE = PoolKind("pebble", open_pebble, ("pebble",))
AIOMULTIPROCESS = PoolKind(
    "aiomultiprocess", open_aiomultiprocess, ("aiomultiprocess",)
)
ANYIO = PoolKind("anyio.to_process", open_anyio, ("anyio",), outlives_round=False)
