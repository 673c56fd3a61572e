"""Workers that run several async jobs at once."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import aioprocq
from aioprocq import WorkerPool
from tests.supervisor.watching import DEADLINE, soon, until

from . import jobs


@pytest.mark.both_loops
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_async_jobs_run_at_once(loop):
    async with WorkerPool(1, concurrency=5, loop=loop) as pool:
        pids = await soon(
            asyncio.gather(*(pool.run(jobs.meet, "here", 5) for _ in range(5)))
        )
        assert len(set(pids)) == 1
        assert pool.statistics().done == 5


async def test_no_more_than_so_many_run_at_once():
    async with aioprocq.Queue() as told, WorkerPool(1, concurrency=3) as pool:
        futures = [pool.submit(jobs.hold_on_async, told) for _ in range(6)]
        for _ in range(3):
            await soon(told.get())
        figures = pool.statistics()
        assert (figures.running, figures.queued) == (3, 3)
        futures[0].cancel()
        assert await soon(told.get()) == "cancelled"
        assert isinstance(await soon(told.get()), int)
        for future in futures:
            future.cancel()


async def test_plain_functions_run_in_a_thread_beside(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with aioprocq.Queue() as told, WorkerPool(1, concurrency=4) as pool:
        assert await soon(pool.run(jobs.plain_thread)) == (False, "aioprocq-job")
        plain = pool.submit(jobs.tell_and_wait, told, str(gate))
        worker = await soon(told.get())
        queued = pool.submit(jobs.pid)
        assert await soon(pool.run(jobs.meet, "alone", 1)) == worker
        figures = pool.statistics()
        assert (figures.running, figures.queued) == (1, 1)
        gate.write_bytes(b"!")
        assert await soon(plain) == "passed"
        assert await soon(queued) == worker


async def test_a_job_that_fails_while_its_worker_drains_is_told_so(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    options: Any = {"concurrency": 2, "max_tasks": 2}
    async with aioprocq.Queue() as told, WorkerPool(1, **options) as pool:
        events = pool._crew.supervisor.events()
        failing = pool.submit(jobs.gate_then_fail, told, str(gate))
        await soon(told.get())
        assert await soon(pool.run(jobs.double, 1)) == 2
        await until(events, "draining")
        gate.write_bytes(b"!")
        with pytest.raises(ValueError, match="after the gate"):
            await soon(failing)


@pytest.mark.parametrize("kind", ["exit", "interrupt", "stop", "abrupt"])
async def test_what_a_job_raises_does_not_disturb_the_others(tmp_path, kind):
    async with aioprocq.Queue() as told, WorkerPool(1, concurrency=3) as pool:
        other: Any = pool.submit(jobs.meet, kind, 2)
        for function in (jobs.make_and_raise, jobs.make_and_raise_async):
            with pytest.raises((aioprocq.RemoteError, RuntimeError)):
                await soon(pool.run(function, kind))
        assert await soon(pool.run(jobs.meet, kind, 2)) == await soon(other)
        del told


@pytest.mark.parametrize("function", [jobs.hold_on, jobs.hold_on_async])
async def test_an_exception_in_the_block_does_not_wait_for_the_jobs(
    function, monkeypatch
):
    killed: list[Any] = []
    async with aioprocq.Queue() as told:
        with pytest.raises(LookupError):
            async with WorkerPool(1, concurrency=2) as pool:
                events = pool._crew.supervisor.events()
                future = pool.submit(function, told)
                await soon(told.get())
                raise LookupError
        assert future.cancelled()
        exited = await until(events, "exited")
        killed.append(exited.status)
    assert killed != ["signal SIGKILL"]


async def test_a_job_that_cleans_up_is_cancelled_once(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    options: Any = {"concurrency": 2, "grace_period": DEADLINE}
    async with aioprocq.Queue() as told, WorkerPool(1, **options) as pool:
        cleaning = pool.submit(jobs.clean_up, told, str(gate))
        await soon(told.get())
        other = pool.submit(jobs.hold_on_async, told)
        await soon(told.get())
        cleaning.cancel()
        assert await soon(told.get()) == "cleaning"
        other.cancel()
        assert await soon(told.get()) == "cancelled"
        gate.write_bytes(b"!")
        assert await soon(told.get()) == "clean"


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_class_is_called_though_its_instances_are_async_to_call(concurrency):
    async with WorkerPool(1, concurrency=concurrency) as pool:
        made = await soon(pool.run(jobs.AsyncToCall, 3))
        assert isinstance(made, jobs.AsyncToCall)
        assert await soon(pool.run(made)) == 3


@pytest.mark.parametrize(
    "function", [jobs.fork_and_wait, jobs.fork_and_wait_async], ids=["plain", "async"]
)
@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (7, 7), ("seven", 1)])
async def test_the_child_of_a_job_ends_when_it_comes_back(function, code, status):
    async with WorkerPool(1, concurrency=2) as pool:
        worker = await soon(pool.run(jobs.pid))
        assert await soon(pool.run(function, code)) == status
        assert await soon(pool.run(jobs.pid)) == worker


@pytest.mark.parametrize(
    "function", [jobs.fork_and_fail, jobs.fork_and_fail_async], ids=["plain", "async"]
)
async def test_the_child_of_a_job_ends_when_it_raises(function):
    async with WorkerPool(1, concurrency=2) as pool:
        worker = await soon(pool.run(jobs.pid))
        assert await soon(pool.run(function, None)) == 1
        assert await soon(pool.run(jobs.pid)) == worker


async def test_the_child_of_a_job_makes_no_step_of_another(tmp_path):
    steps, end = tmp_path / "steps", tmp_path / "end"
    async with aioprocq.Queue() as told, WorkerPool(1, concurrency=2) as pool:
        worker = await soon(pool.run(jobs.pid))
        other = pool.submit(jobs.write_steps, str(steps), str(end), told)
        await soon(told.get())
        for _ in range(5):
            assert await soon(pool.run(jobs.fork_and_wait_async, None)) == 0
        end.touch()
        await soon(other)
    found = set(steps.read_text().split())
    assert found == {str(worker)}
