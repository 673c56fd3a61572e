"""A pool as a concurrent.futures.Executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import threading
from typing import Any

import pytest

import aioprocq
from aioprocq import WorkerPool
from aioprocq.pool.executor import HandOver, PoolExecutor
from tests.supervisor.watching import DEADLINE, soon

from . import jobs

pytestmark = pytest.mark.both_loops


@pytest.fixture
async def pool():
    async with WorkerPool(1, grace_period=0.05) as pool:
        yield pool


async def in_thread(function: Any, *args: Any) -> Any:
    return await soon(asyncio.to_thread(function, *args))


async def test_in_the_thread_of_the_loop(pool):
    loop = asyncio.get_running_loop()
    executor = pool.executor
    assert await soon(loop.run_in_executor(executor, jobs.double, 4)) == 8
    future = executor.submit(jobs.gather_arguments, 1, a=2)
    with pytest.raises(aioprocq.WorkerError, match=r"asyncio\.wrap_future"):
        future.result()
    with pytest.raises(aioprocq.WorkerError, match=r"asyncio\.wrap_future"):
        future.exception(1)
    assert await soon(asyncio.wrap_future(future)) == ((1,), {"a": 2})
    assert future.result() == ((1,), {"a": 2})
    assert future.exception() is None
    with pytest.raises(ValueError, match="on purpose"):
        await soon(loop.run_in_executor(executor, jobs.fail))
    with pytest.raises(TypeError, match="not this one"):
        executor.submit(jobs.double, jobs.Unpicklable())


async def test_in_another_thread(pool):
    def use() -> Any:
        executor = pool.executor  # found here, too
        with pytest.raises(ValueError, match="on purpose"):
            executor.submit(jobs.fail).result(DEADLINE)
        failure = executor.submit(jobs.double, jobs.Unpicklable()).exception(DEADLINE)
        assert isinstance(failure, TypeError)
        return list(executor.map(jobs.double, range(5)))

    assert await in_thread(use) == [0, 2, 4, 6, 8]


async def test_cancelling(pool):
    loop = asyncio.get_running_loop()
    async with aioprocq.Queue() as told:

        def use() -> None:
            executor = pool.executor
            running = executor.submit(jobs.hold_on, told)
            waiting = executor.submit(jobs.double, 1)
            told.sync.get(timeout=DEADLINE)
            # By now the loop has submitted both: what it is given comes in order.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(DEADLINE)
            assert waiting.cancel()
            assert running.cancel()
            done = concurrent.futures.wait([running, waiting], DEADLINE)
            assert not done.not_done
            with pytest.raises(concurrent.futures.CancelledError):
                running.result()
            # Its worker was killed for it, and replaced.
            assert executor.submit(jobs.double, 2).result(DEADLINE) == 4

        await in_thread(use)
    assert pool.statistics().cancelled == 2


async def test_cancelling_before_it_is_submitted(pool, tmp_path):
    path = str(tmp_path / "ran")
    cancelled = threading.Event()

    def use() -> Any:
        future = pool.executor.submit(jobs.append, path)
        future.cancel()
        cancelled.set()
        done = concurrent.futures.wait([future], DEADLINE)
        return future in done.done

    task = asyncio.create_task(in_thread(use))
    await asyncio.sleep(0)
    cancelled.wait(DEADLINE)  # the loop cannot see it before
    assert await task is True
    assert not os.path.exists(path)


async def test_shutdown_refuses_and_waits(pool, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with aioprocq.Queue() as told:
        executor = pool.executor
        future = executor.submit(jobs.tell_and_wait, told, str(gate))
        with pytest.raises(TypeError):
            executor.submit(jobs.double, jobs.Unpicklable())
        await soon(told.get())
        closing = asyncio.create_task(in_thread(executor.shutdown))
        await asyncio.sleep(0)
        gate.write_bytes(b"!")
        await soon(closing)
        assert future.result() == "passed"
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(jobs.double, 1)
    executor.shutdown()
    assert await soon(pool.run(jobs.double, 1)) == 2
    assert await soon(asyncio.wrap_future(pool.executor.submit(jobs.double, 1))) == 2


async def test_shutdown_may_cancel(pool):
    async with aioprocq.Queue() as told:
        executor = pool.executor
        future = executor.submit(jobs.hold_on_async, told)
        await soon(told.get())
        cancel = functools.partial(executor.shutdown, cancel_futures=True)
        await in_thread(cancel)
        assert future.cancelled()
        assert await soon(told.get()) == "cancelled"


async def test_the_end_of_the_pool_cancels():
    async with aioprocq.Queue() as told:
        with pytest.raises(LookupError):
            async with WorkerPool(1) as pool:
                executor = pool.executor
                future = executor.submit(jobs.hold_on_async, told)
                await soon(told.get())
                raise LookupError
        await asyncio.sleep(0)
        assert future.cancelled()
        with pytest.raises(aioprocq.WorkerError, match="closed"):
            executor.submit(jobs.double, 1)

        def use() -> None:
            with pytest.raises(aioprocq.WorkerError, match="closed"):
                executor.submit(jobs.double, 1).result(DEADLINE)

        await in_thread(use)


# What another thread has handed over, and the loop has not come to


class StalledLoop:
    """A loop that takes callbacks, and has no turn any more."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon_threadsafe(self, call: Any) -> None:
        self.calls.append(call)


def executor_of(pool: Any, loop: Any, hand_over: HandOver) -> PoolExecutor:
    """For whoever is not on the thread of that loop."""
    return PoolExecutor(pool, loop, 0, hand_over)


def test_what_the_loop_has_not_come_to_fails_when_the_pool_is_left():
    loop, hand_over = StalledLoop(), HandOver()
    executor = executor_of(None, loop, hand_over)
    first, second = executor.submit(jobs.double, 1), executor.submit(jobs.double, 2)
    assert second.cancel()
    hand_over.close()
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed; submit"):
        first.result(0)
    assert second.cancelled()
    for call in loop.calls:  # the last turn after all
        call()
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
        executor.submit(jobs.double, 3)
    assert len(loop.calls) == 2
    executor.shutdown()


def test_a_pool_that_is_being_left_takes_no_more_and_starts_what_it_has():
    started: list[Any] = []

    class Pool:
        def submit(self, function: Any, *args: Any) -> Any:
            started.append(args)
            raise LookupError

    loop, hand_over = StalledLoop(), HandOver()
    executor = executor_of(Pool(), loop, hand_over)
    future = executor.submit(jobs.double, 1)
    hand_over.refuse()
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
        executor.submit(jobs.double, 2)
    loop.calls[0]()
    assert started == [(1,)]
    assert isinstance(future.exception(0), LookupError)


def test_who_is_overtaken_by_the_end_of_the_pool_is_told():
    hand_over = HandOver()

    class LastTurn(StalledLoop):
        def call_soon_threadsafe(self, call: Any) -> None:
            super().call_soon_threadsafe(call)
            hand_over.refuse()

    executor = executor_of(None, LastTurn(), hand_over)
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
        executor.submit(jobs.double, 1)
    hand_over.close()


def test_a_loop_that_is_closed_is_told_as_a_pool_that_is():
    loop = asyncio.new_event_loop()
    loop.close()
    executor = executor_of(None, loop, HandOver())
    with pytest.raises(aioprocq.WorkerError, match="submit jobs inside of its"):
        executor.submit(jobs.double, 1)


async def test_no_future_is_left_behind_by_a_pool_that_is_left(pool):
    """Many threads submit until they are told."""
    futures: list[Any] = []

    def hammer(executor: Any) -> None:
        with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
            while True:
                futures.append(executor.submit(jobs.double, 1))

    async with WorkerPool(1) as leaving:
        threads = [asyncio.to_thread(hammer, leaving.executor) for _ in range(3)]
        hammering = asyncio.gather(*threads)
        while len(futures) < 100:
            await leaving.run(jobs.double, 1)
    await soon(hammering)
    assert all(future.done() for future in futures)
