"""Cancelled and late jobs, and workers that die: who is killed, and who is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

import aioprocq
from aioprocq import WorkerCrashed, WorkerPool
from aioprocq.pool import crew
from tests.supervisor.watching import DEADLINE, exists, kill, soon, until

from . import jobs


async def calm(pool: WorkerPool) -> None:
    """Until nothing runs any more, wanted or not."""
    async with asyncio.timeout(DEADLINE):
        while pool._jobs.unfinished:  # noqa: ASYNC110  # which tells nobody
            await asyncio.sleep(0.001)


async def reached(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not state():  # noqa: ASYNC110  # what else says so
            await asyncio.sleep(0.001)


def make_gate(tmp_path: Any) -> Any:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    return gate


# Cancelling


@pytest.mark.both_loops
@pytest.mark.parametrize(("concurrency", "loop"), [(1, "uvloop"), (2, None)])
async def test_an_async_job_is_cancelled_in_its_worker(concurrency, loop):
    told: Any = aioprocq.Queue()
    async with WorkerPool(1, concurrency=concurrency, loop=loop) as pool:
        for function in (jobs.hold_on_async, jobs.return_when_cancelled):
            future: Any = pool.submit(function, told)
            worker = await soon(told.get())
            future.cancel()
            assert await soon(told.get()) == "cancelled"
            with pytest.raises(asyncio.CancelledError):
                await future
            with pytest.raises(TimeoutError, match=f"{function.__name__} had not ret"):
                await soon(pool.run(function, told, timeout=0.01))
            assert await soon(pool.run(jobs.pid)) == worker
            await calm(pool)
            while told.qsize():
                await told.get()
        assert pool.statistics().cancelled == 4
        assert pool.statistics().restarts == 0


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_plain_job_that_looks_spares_its_worker(concurrency):
    told: Any = aioprocq.Queue()
    async with WorkerPool(1, grace_period=DEADLINE, concurrency=concurrency) as pool:
        future = pool.submit(jobs.hold_on_unless_cancelled, told)
        worker = await soon(told.get())
        future.cancel()
        assert await soon(told.get()) == "cancelled>"
        assert await soon(pool.run(jobs.pid)) == worker


@pytest.mark.usefixtures("broken_handler")
async def test_a_logging_handler_that_fails_spares_nobody():
    told: Any = aioprocq.Queue()
    async with WorkerPool(1, grace_period=0) as pool:
        stuck = pool.submit(jobs.hold_on, told)
        victim = await soon(told.get())
        stuck.cancel()
        assert await soon(pool.run(jobs.pid)) != victim


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize(
    "function",
    [jobs.hold_on, jobs.compute_in_c, jobs.ignore_cancellation, jobs.block_the_loop],
)
async def test_who_does_not_end_is_killed_and_replaced(tmp_path, concurrency, function):
    told: Any = aioprocq.Queue()
    gate = make_gate(tmp_path)
    async with WorkerPool(2, grace_period=0.05, concurrency=concurrency) as pool:
        other: Any = pool.submit(jobs.tell_and_wait, told, str(gate))
        bystander = await soon(told.get())
        stuck: Any = pool.submit(function, told)
        while (victim := await soon(told.get())) == bystander:
            # Both in one worker: that is no test of bystanders.
            stuck.cancel()
            stuck = pool.submit(function, told)
        events = pool._crew.supervisor.events()
        stuck.cancel()
        exited = await until(events, "exited")
        assert (exited.pid, exited.status) == (victim, "signal SIGKILL")
        assert exited.reason is aioprocq.ExitReason.DEADLINE
        await until(events, "ready")
        assert not exists(victim)
        gate.write_bytes(b"!")
        assert await soon(other) == "passed"
        assert pool.statistics().crashed == 0
        pids = await soon(asyncio.gather(*(pool.run(jobs.pid) for _ in range(50))))
        assert victim not in pids


async def test_what_is_cancelled_before_it_runs_never_does(tmp_path):
    told: Any = aioprocq.Queue()
    gate, path = make_gate(tmp_path), str(tmp_path / "ran")
    async with WorkerPool(1) as pool:
        first = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        futures = [pool.submit(jobs.append, path) for _ in range(600)]
        for future in futures[1::2]:
            future.cancel()
        late = asyncio.gather(
            *(pool.run(jobs.append, path, timeout=0) for _ in range(5)),
            return_exceptions=True,
        )
        assert {type(one) for one in await soon(late)} == {TimeoutError}
        gate.write_bytes(b"!")
        await soon(first)
        await soon(asyncio.gather(*futures[::2]))
        await calm(pool)
        assert pool.statistics().cancelled == 305
    assert os.path.getsize(path) == 300


async def test_what_waits_for_the_thread_can_be_cancelled(tmp_path):
    told: Any = aioprocq.Queue()
    gate, path = make_gate(tmp_path), str(tmp_path / "ran")
    async with WorkerPool(1, concurrency=4) as pool:
        first = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        futures = [pool.submit(jobs.append, path) for _ in range(3)]
        meeting = [pool.submit(jobs.double_async, n) for n in range(3)]
        futures[1].cancel()
        gate.write_bytes(b"!")
        await soon(asyncio.gather(first, futures[0], futures[2], *meeting))
        assert pool.statistics().restarts == 0
    assert os.path.getsize(path) == 2


async def test_a_stuck_thread_does_not_take_others_with_it(tmp_path):
    told: Any = aioprocq.Queue()
    path = str(tmp_path / "ran")
    async with WorkerPool(1, concurrency=8, grace_period=0.05) as pool:
        stuck = pool.submit(jobs.hold_on, told)
        victim = await soon(told.get())
        behind = [pool.submit(jobs.append, path) for _ in range(5)]
        stuck.cancel()
        await soon(asyncio.gather(*behind))
        assert await soon(pool.run(jobs.pid)) != victim
        figures = pool.statistics()
        assert (figures.crashed, figures.retried, figures.restarts) == (0, 0, 1)
    assert os.path.getsize(path) == 5


async def test_async_jobs_beside_a_stuck_one_finish(tmp_path):
    told: Any = aioprocq.Queue()
    gate = make_gate(tmp_path)
    async with WorkerPool(1, concurrency=4, grace_period=0.05) as pool:
        events = pool._crew.supervisor.events()
        stuck = pool.submit(jobs.hold_on, told)
        victim = await soon(told.get())
        beside = pool.submit(jobs.wait_for_gate, told, str(gate))
        assert await soon(told.get()) == victim
        stuck.cancel()
        await until(events, "draining")
        await until(events, "ready")  # its place is taken by another
        assert await soon(pool.run(jobs.double_async, 1)) == 2
        assert exists(victim)
        gate.write_bytes(b"!")
        assert await soon(beside) == "passed"
        assert (await until(events, "exited")).pid == victim
        assert pool.statistics().crashed == 0


async def test_who_is_about_to_be_killed_takes_no_jobs(monkeypatch):
    told: Any = aioprocq.Queue()
    monkeypatch.setattr("aioprocq.pool.crew.DUMP_TIME", 0.5)
    async with WorkerPool(1, concurrency=4, grace_period=0.01) as pool:
        events = pool._crew.supervisor.events()
        stuck = pool.submit(jobs.ignore_cancellation, told)
        victim = await soon(told.get())
        stuck.cancel()
        await until(events, "stopping")
        pids = await soon(asyncio.gather(*(pool.run(jobs.pid) for _ in range(20))))
        assert victim not in pids
        assert pool.statistics().crashed == 0


async def test_a_blocked_loop_takes_its_jobs_with_it(tmp_path, monkeypatch):
    told: Any = aioprocq.Queue()
    monkeypatch.setattr("aioprocq.pool.crew.PATIENCE", 0.1)
    async with WorkerPool(1, concurrency=4, grace_period=0.05) as pool:
        beside = pool.submit(jobs.hold_on_async, told)
        victim = await soon(told.get())
        stuck = pool.submit(jobs.block_the_loop, told)
        assert await soon(told.get()) == victim
        stuck.cancel()
        with pytest.raises(WorkerCrashed, match="SIGKILL"):
            await soon(beside)
        assert await soon(pool.run(jobs.pid)) != victim


async def test_nothing_is_kept_of_a_job_whose_worker_was_killed():
    told: Any = aioprocq.Queue()
    async with WorkerPool(1, grace_period=0.01, retries=1) as pool:
        future = pool.submit(jobs.hold_on, told)
        await soon(told.get())
        future.cancel()
        await calm(pool)
        assert not pool._payloads
        assert pool.statistics().retried == 0


async def test_late_answers_reach_nobody(tmp_path):
    told: Any = aioprocq.Queue()
    gate = make_gate(tmp_path)
    async with WorkerPool(1, grace_period=DEADLINE) as pool:
        late = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        late.cancel()
        others = [pool.submit(jobs.double, n) for n in range(10)]
        gate.write_bytes(b"!")
        assert await soon(asyncio.gather(*others)) == [2 * n for n in range(10)]
        await calm(pool)
        assert late.cancelled()
        figures = pool.statistics()
        assert (figures.done, figures.failed, figures.cancelled) == (10, 0, 1)


async def test_cancelling_while_the_worker_starts():
    told: Any = aioprocq.Queue()
    pool = WorkerPool(2, grace_period=0.05)
    entering = asyncio.create_task(pool.__aenter__())
    await asyncio.sleep(0)
    future = pool.submit(jobs.hold_on, told)
    await soon(told.get())
    future.cancel()
    await soon(entering)
    await soon(pool.__aexit__(None, None, None))
    assert future.cancelled()


async def test_cancelling_while_it_closes():
    told: Any = aioprocq.Queue()
    pool = WorkerPool(1, grace_period=0.05)
    await pool.__aenter__()
    future = pool.submit(jobs.hold_on, told)
    await soon(told.get())
    closing = asyncio.create_task(pool.__aexit__(None, None, None))
    await asyncio.sleep(0)
    future.cancel()
    await soon(closing)
    assert future.cancelled()


async def test_a_plain_function_that_returns_a_coroutine_is_cancelled(tmp_path):
    told: Any = aioprocq.Queue()
    gate = make_gate(tmp_path)
    async with WorkerPool(1, concurrency=2, grace_period=DEADLINE) as pool:
        future = pool.submit(jobs.wait_then_wait_async, told, str(gate))
        worker = await soon(told.get())
        future.cancel()
        gate.write_bytes(b"!")
        await calm(pool)
        assert await soon(pool.run(jobs.pid)) == worker
        assert told.qsize() == 0


# Dying


@pytest.mark.both_loops
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_job_whose_worker_dies_is_told(concurrency):
    async with WorkerPool(1, name="w", concurrency=concurrency) as pool:
        for function, args, status in (
            (jobs.vanish, (3,), "exit code 3"),
            (jobs.vanish_async, (0,), "exit code 0"),
            (jobs.die, (signal.SIGKILL,), "signal SIGKILL"),
            (jobs.segfault, (), "signal SIGSEGV"),
        ):
            with pytest.raises(WorkerCrashed) as caught:
                await soon(pool.run(function, *args))  # type: ignore[arg-type]
            error = caught.value
            assert (error.job, error.attempt) == (function.__name__, 1)
            assert (error.worker, error.status) == ("w-0", status)
        assert await soon(pool.run(jobs.double, 1)) == 2
        figures = pool.statistics()
        assert (figures.crashed, figures.restarts, figures.done) == (4, 4, 1)


async def test_the_jobs_of_others_are_not_affected(tmp_path):
    told: Any = aioprocq.Queue()
    gate = make_gate(tmp_path)
    async with WorkerPool(2) as pool:
        other = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        crashing = pool.submit(jobs.vanish)
        waiting = [pool.submit(jobs.double, n) for n in range(500)]
        with pytest.raises(WorkerCrashed):
            await soon(crashing)
        assert await soon(asyncio.gather(*waiting)) == [2 * n for n in range(500)]
        gate.write_bytes(b"!")
        assert await soon(other) == "passed"


@pytest.mark.parametrize(("size", "concurrency"), [(0, 1), (1 << 20, 1), (1 << 20, 2)])
async def test_a_crashed_job_is_repeated(tmp_path, size, concurrency):
    path, data = str(tmp_path / "ran"), bytes(size)
    async with WorkerPool(1, retries=2, concurrency=concurrency) as pool:
        assert await soon(pool.run(jobs.die_the_first_times, path, 2, data)) == size
        assert os.path.getsize(path) == 3
        assert (pool.statistics().retried, pool.statistics().crashed) == (2, 0)
        os.unlink(path)
        with pytest.raises(WorkerCrashed) as caught:
            await soon(pool.run(jobs.append_and_die, path, data))
        assert caught.value.attempt == 3
        assert os.path.getsize(path) == 3
        assert len(pool._payloads) == 0


async def test_without_retries_a_job_runs_at_most_once(tmp_path):
    path = str(tmp_path / "ran")
    async with WorkerPool(1) as pool:
        with pytest.raises(WorkerCrashed):
            await soon(pool.run(jobs.append_and_die, path, bytes(1 << 20)))
    assert os.path.getsize(path) == 1


async def test_an_argument_that_kills_while_it_is_unpickled():
    async with WorkerPool(1, retries=1) as pool:
        for argument in (
            jobs.BadInWorker("exit"),
            [jobs.BadInWorker("exit"), "x" * 10**6],
        ):
            with pytest.raises(WorkerCrashed, match="exit code 7") as caught:
                await soon(pool.run(jobs.double, argument))
            assert caught.value.attempt == 2


async def test_a_worker_that_is_killed_while_it_waits_costs_no_job():
    async with WorkerPool(1) as pool:
        worker = await soon(pool.run(jobs.pid))
        kill(worker)
        pids = await soon(asyncio.gather(*(pool.run(jobs.pid) for _ in range(20))))
        assert pool.statistics().crashed == 0
        assert worker not in pids or len(set(pids)) == 2


# Leaving, and workers that do not hear


async def test_a_worker_that_stands_still_does_not_keep_the_pool_open(monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 0.05)
    async with asyncio.timeout(DEADLINE):
        async with WorkerPool(1, grace_period=0.01) as pool:
            worker = await pool.run(jobs.pid)
            os.kill(worker, signal.SIGSTOP)
        assert not exists(worker)


async def test_a_worker_that_takes_no_jobs_is_replaced(monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 0.1)
    async with WorkerPool(1, grace_period=0.05) as pool:
        worker = await soon(pool.run(jobs.pid))
        await calm(pool)
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await pool.run(jobs.pid, timeout=0.01)
        assert await soon(pool.run(jobs.pid)) != worker
        assert pool.statistics().restarts == 1


async def test_one_that_waits_behind_others_is_no_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(crew, "PATIENCE", 0.05)
    gate = make_gate(tmp_path)
    async with aioprocq.Queue() as told, WorkerPool(1, grace_period=0.01) as pool:
        busy = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        suspected: list[object] = []
        monkeypatch.setattr(pool._crew, "_acquit", lambda *of: suspected.append(of))
        with pytest.raises(TimeoutError):
            await pool.run(jobs.pid, timeout=0.01)
        again: list[int] = []
        suspect = pool._crew._suspect
        monkeypatch.setattr(
            pool._crew, "_suspect", lambda: (again.append(1), suspect())
        )
        await reached(lambda: bool(again))
        assert not suspected
        assert not pool._crew._suspected
        gate.write_bytes(b"!")
        assert await soon(busy) == "passed"


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_coroutines_that_never_began_are_closed(concurrency):
    lines: list[str] = []
    async with WorkerPool(
        1, concurrency=concurrency, output=lambda *of: lines.append(of[2])
    ) as pool:
        for delay in range(300):
            future = pool.submit(jobs.double_async, 1)
            for _ in range(delay % 20):
                await asyncio.sleep(0)
            future.cancel()
        await calm(pool)
    assert lines == []
