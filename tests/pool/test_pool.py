"""WorkerPool: calls, its life, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import operator
import os
import signal
import sys
from fractions import Fraction
from typing import Any

import anyio
import pytest

import aioprocq
from aioprocq import WorkerPool
from aioprocq.drivers import busy_poll
from tests.drivers.awake import Expectations
from tests.programs import output_of
from tests.supervisor.watching import DEADLINE, kill, soon

from . import jobs


def total(pool: WorkerPool) -> int:
    """All jobs that the figures account for."""
    figures = pool.statistics()
    assert min(figures.queued, figures.running, figures.done) >= 0
    return (
        figures.queued
        + figures.running
        + figures.done
        + figures.failed
        + figures.crashed
        + figures.cancelled
    )


@pytest.mark.both_loops
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_it_calls_whatever_can_be_called(concurrency):
    async with WorkerPool(1, concurrency=concurrency) as pool:
        for function, args, expected in (
            (jobs.double, (4,), 8),
            (jobs.double_async, (4,), 8),
            (jobs.returns_a_coroutine, (4,), 8),
            (functools.partial(jobs.double, 5), (), 10),
            (functools.partial(jobs.double_async, 5), (), 10),
            (jobs.Multiplier(3).times, (4,), 12),
            (jobs.Multiplier(3).times_async, (4,), 12),
            (jobs.Multiplier(3), (4,), 12),
            (jobs.AsyncMultiplier(3), (4,), 12),
            (math.factorial, (5,), 120),
            (len, ([1, 2],), 2),
            (int, ("12",), 12),
            (operator.itemgetter(1), ("ab",), "b"),
            (str.upper, ("a",), "A"),
        ):
            found: Any = await soon(pool.run(function, *args))
            assert found == expected, function
        given = pool.run(jobs.gather_arguments, 1, "2", a=3, function=4)
        assert await soon(given) == ((1, "2"), {"a": 3, "function": 4})
        timeout = functools.partial(jobs.gather_arguments, timeout=3)
        assert await soon(pool.run(timeout, timeout=60)) == ((), {"timeout": 3})
        assert await soon(pool.submit(jobs.gather_arguments, timeout=3)) == (
            (),
            {"timeout": 3},
        )
        assert await soon(pool.run(jobs.pid)) != os.getpid()


@pytest.mark.both_loops
async def test_the_loop_stays_awake_for_a_job_that_is_alone(monkeypatch):
    """With others in flight a core may not be free for that."""
    monkeypatch.setattr(busy_poll, "SPIN", 1000.0)
    monkeypatch.setattr(busy_poll, "is_idle", lambda: True)
    async with WorkerPool(2) as pool:
        assert await soon(pool.run(jobs.double, 1)) == 2
        found = pool._answers._station._experience = Expectations()
        assert await soon(pool.run(jobs.double, 2)) == 4
        assert (found.asked, found.good, found.bad) == (1, 1, 0)
        futures = [pool.submit(jobs.double, n) for n in range(5)]
        assert await soon(asyncio.gather(*futures)) == [0, 2, 4, 6, 8]
        assert (found.asked, found.good, found.bad) == (2, 2, 0)


async def test_results_come_each_to_its_own_call():
    async with WorkerPool(2) as pool:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pool.run(jobs.double, n)) for n in range(700)]
        assert [task.result() for task in tasks] == [2 * n for n in range(700)]
        figures = pool.statistics()
        assert (figures.done, figures.queued, figures.running) == (700, 0, 0)
        assert (figures.workers, figures.restarts) == (2, 0)
        assert figures.latency is not None
        assert 0 < figures.latency[0] <= figures.latency[1] <= figures.latency[2]


@pytest.mark.parametrize("loop", [None, "asyncio", "uvloop"])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_async_functions_run_on_the_loop_that_was_asked_for(loop, concurrency):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    async with WorkerPool(1, loop=loop, concurrency=concurrency) as pool:
        found = await soon(pool.run(jobs.loop_name))
    assert found == ("uvloop" if loop == "uvloop" else "asyncio")


async def test_a_large_argument_and_result_arrive_whole():
    size = 16 << 20
    async with WorkerPool(1) as pool:
        assert await soon(pool.run(jobs.size_of, bytes(size))) == size
        assert await soon(pool.run(jobs.zeros, size)) == bytes(size)


async def test_arrays_arrive_to_be_read_only():
    numpy = pytest.importorskip("numpy")
    async with WorkerPool(1) as pool:
        ones = numpy.ones(1 << 20)
        assert await soon(pool.run(jobs.look_at_array, ones)) == (False, 1 << 20)
        made = await soon(pool.run(jobs.make_array, 1 << 20))
        assert not made.flags.writeable
        assert made.sum() == 1 << 20
        del made


# Its life


async def test_it_can_be_used_once_and_only_inside():
    pool = WorkerPool(1, name="mine")
    assert repr(pool) == "<WorkerPool 'mine' new workers=1 unfinished=0>"
    assert pool.statistics().workers == 0
    with pytest.raises(aioprocq.WorkerError, match="the pool is new"):
        pool.submit(jobs.double, 1)
    with pytest.raises(aioprocq.WorkerError, match="has not been entered"):
        _ = pool.executor
    async with pool:
        assert await soon(pool.run(jobs.current_worker_name)) == "mine-0"
        with pytest.raises(aioprocq.WorkerError, match="can be used once"):
            await pool.__aenter__()
        assert await soon(pool.run(jobs.double, 1)) == 2
    assert repr(pool) == "<WorkerPool 'mine' closed workers=1 unfinished=0>"
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
        await pool.run(jobs.double, 1)
    with pytest.raises(aioprocq.WorkerError, match="can be used once"):
        async with pool:
            pass
    assert pool.statistics().done == 2
    with pytest.raises(aioprocq.WorkerError, match="the pool is closed"):
        async for _ in pool.map(jobs.double, range(3)):
            pass


async def test_another_loop_is_told_to_use_the_executor():
    async with WorkerPool(1) as pool:

        async def use() -> None:
            with pytest.raises(aioprocq.WorkerError, match=r"pool\.executor"):
                pool.submit(jobs.double, 1)
            with pytest.raises(aioprocq.WorkerError, match=r"pool\.executor"):
                await pool.run(jobs.double, 1)

        def without_loop() -> None:
            with pytest.raises(aioprocq.WorkerError, match=r"pool\.executor"):
                pool.submit(jobs.double, 1)

        await soon(asyncio.to_thread(asyncio.run, use()))
        await soon(asyncio.to_thread(without_loop))
        assert await soon(pool.run(jobs.double, 1)) == 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"max_workers": "2"}, TypeError, "max_workers"),
        ({"initializer": 3}, TypeError, "initializer must be callable"),
        ({"initializer": jobs.ignore_cancellation}, TypeError, "a plain function"),
        ({"retries": -1}, ValueError, "retries"),
        ({"concurrency": 0}, ValueError, "concurrency"),
        ({"concurrency": 1025}, ValueError, "1024 or less"),
        ({"max_tasks": 0}, ValueError, "max_tasks"),
        ({"max_rss": 0}, ValueError, "max_rss"),
        ({"nice": 20}, ValueError, "nice must be 19 or less"),
        ({"loop": "trio"}, ValueError, "'asyncio' or 'uvloop'"),
        ({"grace_period": -1}, ValueError, "grace_period"),
        ({"grace_period": True}, TypeError, "grace_period must be seconds"),
        ({"start_timeout": math.inf}, ValueError, "start_timeout"),
        ({"start_timeout": math.nan}, ValueError, "start_timeout"),
        ({"start_timeout": 0}, ValueError, "no process is so quick"),
        ({"context": "a:b"}, TypeError, "a list of context variables"),
        ({"name": 3}, TypeError, "name must be a string"),
        ({"env": "A=1"}, TypeError, "env must be a mapping"),
        ({"env": {"A": 1}}, TypeError, "'A'.* must be a string"),
        ({"output": "log"}, TypeError, "output must be callable"),
    ],
)
def test_bad_options_are_refused_at_once(options, error, text):
    with pytest.raises(error, match=text):
        WorkerPool(**options)


async def test_bad_calls_are_refused_and_leave_nothing_behind(tmp_path):
    async with WorkerPool(1) as pool:
        with pytest.raises(TypeError, match="a function is needed, not int"):
            pool.submit(3)  # type: ignore[arg-type]  # on purpose
        given: Any
        for given in ("1", math.nan):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                await pool.run(jobs.append, str(tmp_path / "ran"), timeout=given)
            with pytest.raises((TypeError, ValueError), match="timeout"):
                pool.map(jobs.append, [str(tmp_path / "ran")], timeout=given)
        with pytest.raises(ValueError, match="limit"):
            pool.map(jobs.double, [], limit=0)
        with pytest.raises(TypeError, match="not iterable"):
            pool.map(jobs.double, 3)  # type: ignore[arg-type]  # on purpose
        assert total(pool) == 0
        assert await soon(pool.run(jobs.double, 1)) == 2
    assert not (tmp_path / "ran").exists()


async def test_timeouts_are_taken_as_those_of_queues():
    # A negative one counts as zero, which is what is left of a deadline that is over.
    async with WorkerPool(1) as pool:
        late: Any
        for late in (-1, -0.5, -math.inf, Fraction(-1, 3)):
            with pytest.raises(TimeoutError, match="allow a longer timeout"):
                await soon(pool.run(jobs.sleep_async, 3600, timeout=late))
        for never in (math.inf, 1e300, 10**400):
            assert await soon(pool.run(jobs.double, 1, timeout=never)) == 2
        found = pool.map(jobs.double, [1, 2], timeout=math.inf)
        assert [one async for one in found] == [2, 4]
        fraction: Any = Fraction(DEADLINE)
        assert await pool.run(jobs.double, 2, timeout=fraction) == 4


async def test_the_end_waits_for_the_jobs(tmp_path):
    path = str(tmp_path / "ran")
    async with WorkerPool(2) as pool:
        futures = [pool.submit(jobs.append, path) for _ in range(500)]
        futures.append(pool.submit(jobs.append_async, path))
    assert all(future.done() for future in futures)
    assert os.path.getsize(path) == 501


async def test_an_exception_cancels_what_is_not_done(tmp_path):
    told: Any = aioprocq.Queue()
    path = str(tmp_path / "ran")
    async with told:
        with pytest.raises(LookupError, match="enough"):
            async with WorkerPool(1) as pool:
                running = pool.submit(jobs.hold_on, told)
                waiting = [pool.submit(jobs.append, path) for _ in range(400)]
                await soon(told.get())
                raise LookupError("enough")
    assert running.cancelled()
    assert all(future.cancelled() for future in waiting)
    assert not os.path.exists(path)
    assert total(pool) == 401


@pytest.mark.both_loops
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_cancelling_the_end_cancels_the_jobs(concurrency):
    told: Any = aioprocq.Queue()
    seen: list[Any] = []

    async def use() -> None:
        async with WorkerPool(1, concurrency=concurrency) as pool:
            seen.append(pool.submit(jobs.hold_on, told))

    async with told:
        task = asyncio.create_task(use())
        await soon(told.get())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert seen[0].cancelled()


async def test_cancelling_the_start_leaves_nothing():
    async def use() -> None:
        async with WorkerPool(2):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_jobs_submitted_while_it_starts_are_run():
    pool = WorkerPool(1)
    entering = asyncio.create_task(pool.__aenter__())
    await asyncio.sleep(0)
    assert pool.statistics().workers == 0
    future = pool.submit(jobs.double, 2)
    await soon(entering)
    assert await soon(future) == 4
    await pool.__aexit__(None, None, None)


async def test_jobs_may_not_be_submitted_while_it_drains(tmp_path):
    told: Any = aioprocq.Queue()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with told:
        pool = WorkerPool(1)
        await pool.__aenter__()
        future = pool.submit(jobs.tell_and_wait, told, str(gate))
        await soon(told.get())
        closing = asyncio.create_task(pool.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(aioprocq.WorkerError, match="the pool is draining"):
            pool.submit(jobs.double, 1)
        gate.write_bytes(b"!")
        await soon(closing)
        assert future.result() == "passed"


async def test_many_pools_at_once():
    async with WorkerPool(1) as one, WorkerPool(1) as two:
        found = await soon(
            asyncio.gather(one.run(jobs.pid), two.run(jobs.pid), one.run(jobs.pid))
        )
    assert found[0] == found[2] != found[1]


def test_functions_and_variables_of_a_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio\n"
        "from contextvars import ContextVar\n"
        "import aioprocq\n"
        "user = ContextVar('user')\n"
        "class Custom(Exception):\n"
        "    pass\n"
        "def greet(what):\n"
        "    return f'{what} {user.get()}'\n"
        "def fail():\n"
        "    raise Custom('as itself')\n"
        "async def main():\n"
        "    user.set('world')\n"
        "    async with aioprocq.WorkerPool(1, context=[user]) as pool:\n"
        "        print(await pool.run(greet, 'hello'))\n"
        "        try:\n"
        "            await pool.run(fail)\n"
        "        except Custom as failure:\n"
        "            print(failure)\n"
        "        print([r async for r in pool.map(greet, 'ab')])\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    assert output_of(script) == "hello world\nas itself\n['a world', 'b world']\n"


# What else is around it


async def test_asyncio_timeout_and_wait_for():
    told: Any = aioprocq.Queue()
    async with told, WorkerPool(1, grace_period=0.05) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.run(jobs.hold_on_async, told)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.submit(jobs.hold_on_async, told), 0.05)
        assert await soon(pool.run(jobs.double, 1)) == 2
        assert pool.statistics().cancelled == 2


async def test_anyio_cancel_scopes():
    told: Any = aioprocq.Queue()
    async with told, WorkerPool(1) as pool:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(pool.run, jobs.hold_on_async, told)
                await soon(told.get())
                scope.cancel()
        assert scope.cancelled_caught
        assert await soon(told.get()) == "cancelled"
        with anyio.move_on_after(0):
            await pool.run(jobs.double, 1)
            raise AssertionError("the time was up")


async def test_a_task_group_cancels_the_others():
    told: Any = aioprocq.Queue()
    async with told, WorkerPool(2) as pool:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(pool.run(jobs.hold_on_async, told))
                await soon(told.get())
                group.create_task(pool.run(jobs.fail))
        assert isinstance(caught.value.exceptions[0], ValueError)
        assert await soon(told.get()) == "cancelled"


@pytest.mark.both_loops
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_an_async_job_may_clean_up_when_the_pool_is_left(concurrency, capfd):
    async with aioprocq.Queue() as told:
        options: Any = {"concurrency": concurrency, "grace_period": DEADLINE}
        with pytest.raises(LookupError):
            async with WorkerPool(1, **options) as pool:
                pool.submit(jobs.clean_up_slowly, told)
                assert await soon(told.get()) == "started"
                raise LookupError
        found = [told.get_nowait() for _ in range(2)]
        assert found == ["CancelledError", "cleaned up"]
    assert capfd.readouterr().err == ""


async def test_leaving_does_not_cut_the_cleanup_of_a_job_short(tmp_path):
    gate = tmp_path / "gate"
    async with aioprocq.Queue() as told:
        with pytest.raises(LookupError):
            async with WorkerPool(1, grace_period=DEADLINE) as pool:
                job = pool.submit(jobs.clean_up_until, str(gate), told)
                assert await soon(told.get()) == "started"
                job.cancel()
                assert await soon(told.get()) == "cancelled"
                (board,) = pool._crew.boards.values()

                async def open_the_gate() -> None:
                    # When it has been told to leave, and has had turns of its loop.
                    async for event in pool._crew.supervisor.events():
                        if event.kind == "stopping":
                            break
                    (group,) = pool._crew.supervisor.groups
                    (worker,) = group.workers
                    heard = board.times_heard
                    while board.times_heard == heard:
                        worker.ping()
                        await asyncio.sleep(0.01)
                    gate.touch()

                opening = asyncio.create_task(open_the_gate())
                await asyncio.sleep(0)
                raise LookupError
        await soon(opening)
        assert await soon(told.get()) == "cleaned up"


async def test_an_async_job_whose_loop_is_interrupted_fails_and_ends(capfd):
    # Under uvloop such an exception ends nothing: it is logged.
    async with aioprocq.Queue() as told:
        async with WorkerPool(1) as pool:
            for _ in range(2):
                with pytest.raises(LookupError, match="interrupted"):
                    await soon(pool.run(jobs.interrupt_the_loop, told))
            assert await soon(pool.run(jobs.double_async, 2)) == 4
        found = [await soon(told.get()) for _ in range(2)]
        assert found == ["cleaned up"] * 2
        assert pool.statistics().restarts == 0
    assert capfd.readouterr().err == ""


# Starting


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_an_initializer_runs_first_and_once(concurrency):
    options: Any = {"initializer": jobs.initialize, "initargs": (1, "two")}
    async with WorkerPool(1, concurrency=concurrency, **options) as pool:
        for _ in range(2):
            assert await soon(pool.run(jobs.initialized)) == [(1, "two")]


@pytest.mark.both_loops
async def test_an_initializer_that_raises_is_told_by_the_start():
    pool = WorkerPool(2, initializer=jobs.initialize_badly, initargs=("no model",))
    with pytest.raises(aioprocq.WorkerStartError, match="boot failed") as caught:
        async with pool:
            raise AssertionError("it did not start")
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.__cause__.args == ("no model",)
    assert repr(pool).startswith("<WorkerPool")
    assert "closed" in repr(pool)


@pytest.mark.parametrize(
    ("initializer", "text"),
    [
        (jobs.vanish, "exit code 5"),
        (jobs.segfault, "SIGSEGV"),
        (sys.exit, "boot failed"),
    ],
)
async def test_an_initializer_that_dies_is_told_by_the_start(initializer, text):
    with pytest.raises(aioprocq.WorkerStartError, match=text):
        async with WorkerPool(1, initializer=initializer):
            raise AssertionError("it did not start")


async def test_an_initializer_that_hangs_is_told_by_the_start():
    with pytest.raises(aioprocq.WorkerStartError, match="start timed out"):
        async with WorkerPool(1, initializer=signal.pause, start_timeout=0.5):
            raise AssertionError("it did not start")


async def test_an_initializer_that_does_not_pickle():
    with pytest.raises((TypeError, AttributeError, aioprocq.WorkerStartError)):
        async with WorkerPool(1, initializer=print, initargs=[jobs.Unpicklable()]):
            raise AssertionError("it did not start")


async def test_when_no_worker_starts_any_more_it_says_so_and_heals(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("aioprocq.pool.dispatching._FAILED_STARTS", 2)
    broken = tmp_path / "broken"
    ran = tmp_path / "ran"
    async with WorkerPool(
        1, initializer=jobs.initialize_unless, initargs=(str(broken),)
    ) as pool:
        events = pool._crew.supervisor.events()
        broken.touch()
        with pytest.raises(aioprocq.WorkerCrashed):
            await soon(pool.run(jobs.vanish))
        with pytest.raises(aioprocq.WorkerError, match="no worker") as caught:
            await soon(pool.run(jobs.append, str(ran)))
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(aioprocq.WorkerError, match="goes on trying"):
            pool.submit(jobs.double, 1)
        broken.unlink()
        async with asyncio.timeout(DEADLINE):
            async for event in events:
                if event.kind == "ready":
                    break
        assert await soon(pool.run(jobs.double, 1)) == 2
    assert not ran.exists(), "a job that has failed must not run"


async def test_failed_starts_count_only_while_nobody_is_ready(tmp_path):
    broken = tmp_path / "broken"
    async with WorkerPool(
        2, initializer=jobs.initialize_unless, initargs=(str(broken),)
    ) as pool:
        events = pool._crew.supervisor.events()

        async def failures(count: int) -> None:
            async with asyncio.timeout(DEADLINE):
                async for event in events:
                    count -= event.reason is aioprocq.ExitReason.BOOT_FAILED
                    if count <= 0:
                        return

        broken.touch()
        with pytest.raises(aioprocq.WorkerCrashed):
            await soon(pool.run(jobs.vanish))
        await failures(7)  # more than would be borne without the other one
        assert await soon(pool.run(jobs.double, 1)) == 2
        with pytest.raises(aioprocq.WorkerCrashed):
            await soon(pool.run(jobs.vanish))
        waiting = pool.submit(jobs.double, 2)
        await failures(4)
        assert not waiting.done()
        broken.unlink()
        assert await soon(waiting) == 4


async def test_it_ends_although_no_worker_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("aioprocq.pool.dispatching._FAILED_STARTS", 1)
    broken = tmp_path / "broken"
    async with asyncio.timeout(DEADLINE):
        async with WorkerPool(
            1, initializer=jobs.initialize_unless, initargs=(str(broken),)
        ) as pool:
            broken.touch()
            first = pool.submit(jobs.vanish)
            others = [pool.submit(jobs.double, n) for n in range(300)]
    assert isinstance(first.exception(), aioprocq.WorkerCrashed)
    for other in others:
        assert "no worker" in str(other.exception())
    assert total(pool) == 301


async def test_a_module_that_is_not_in_the_worker(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def job():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with WorkerPool(1) as pool:
        import only_here  # type: ignore[import-not-found]  # made above

        (tmp_path / "only_here.py").write_text("raise ImportError('not here')\n")
        with contextlib.suppress(FileNotFoundError):
            for cached in (tmp_path / "__pycache__").iterdir():
                cached.unlink()
        with pytest.raises(ImportError, match="not here"):
            await soon(pool.run(only_here.job))
        assert await soon(pool.run(jobs.double, 1)) == 2
    monkeypatch.delitem(sys.modules, "only_here")


# Recycling


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_workers_are_replaced_after_so_many_jobs(concurrency):
    async with WorkerPool(1, max_tasks=5, concurrency=concurrency) as pool:
        pids = await soon(asyncio.gather(*(pool.run(jobs.pid) for _ in range(12))))
        assert len(set(pids)) >= 3
        assert max(pids.count(pid) for pid in pids) <= 5
        figures = pool.statistics()
        assert (figures.done, figures.crashed) == (12, 0)


async def test_workers_are_replaced_when_they_are_large():
    async with WorkerPool(1, max_rss=150 << 20) as pool:
        pids = [await soon(pool.run(jobs.grow, 64 << 20)) for _ in range(5)]
    assert len(set(pids)) >= 2


async def test_workers_give_way_to_the_app():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    async with WorkerPool(1, nice=6) as pool:
        got = await soon(pool.run(os.getpriority, os.PRIO_PROCESS, 0))
    assert got == own + 6


# Crossing over


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_context_variables_cross_over(concurrency):
    context: Any = [jobs.request, "tests.pool.jobs:other"]
    async with WorkerPool(1, context=context, concurrency=concurrency) as pool:
        assert await soon(pool.run(jobs.read_context)) == ("unset", 0)
        token = jobs.request.set("r1")
        jobs.other.set(7)
        for function in (jobs.read_context, jobs.read_context_async):
            found: Any = await soon(pool.run(function))
            assert found == ("r1", 7)
        assert await soon(pool.run(jobs.change_context, "changed")) == "r1"
        assert await soon(pool.run(jobs.read_context)) == ("r1", 7)
        jobs.request.reset(token)
        assert await soon(pool.run(jobs.read_context)) == ("unset", 7)
    jobs.other.set(0)


@pytest.mark.parametrize("retries", [0, 1])
async def test_inputs_that_are_sent_again_have_the_context_of_their_map(retries):
    # A chunk that is given back, or whose worker has died, is sent by nobody's task.
    async def use(pool: WorkerPool, name: str) -> set[Any]:
        jobs.request.set(name)
        results = pool.map(jobs.read_context_slowly, range(200), return_exceptions=True)
        found = [one async for one in results]
        assert isinstance(found[150], aioprocq.WorkerCrashed)
        del found[150]
        return {one[1] for one in found}

    async with WorkerPool(2, context=[jobs.request], retries=retries) as pool:
        names = ("first", "second")
        tasks = [asyncio.create_task(use(pool, name)) for name in names]
        assert await soon(asyncio.gather(*tasks)) == [{"first"}, {"second"}]


async def test_without_context_nothing_crosses_over():
    async with WorkerPool(1) as pool:
        token = jobs.request.set("r1")
        assert await soon(pool.run(jobs.read_context)) == ("unset", 0)
        jobs.request.reset(token)


async def test_logging_crosses_over(caplog):
    async with WorkerPool(1) as pool:
        await soon(pool.run(jobs.log_it, "hello"))
    assert "a job says hello" in caplog.text


async def test_environment_and_output():
    lines: list[tuple[str, str, str]] = []

    def hear(worker: str, stream: str, line: str) -> None:
        lines.append((worker, stream, line))

    async with WorkerPool(1, name="w", env={"AIOPROCQ_TEST": "x"}, output=hear) as pool:
        assert await soon(pool.run(os.getenv, "AIOPROCQ_TEST")) == "x"
        await soon(pool.run(print, "printed"))
    assert ("w-0", "stdout", "printed") in lines


# The figures


async def test_the_figures_add_up_at_all_times(tmp_path):
    told: Any = aioprocq.Queue()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with told:
        async with WorkerPool(1, grace_period=0.05) as pool:
            submitted = 0

            def submit(function: Any, *args: Any) -> Any:
                nonlocal submitted
                submitted += 1
                future = pool.submit(function, *args)
                assert total(pool) == submitted
                return future

            one = submit(jobs.tell_and_wait, told, str(gate))
            await soon(told.get())
            others = [submit(jobs.double, n) for n in range(300)]
            figures = pool.statistics()
            assert (figures.running, figures.queued) == (1, 300)
            others[0].cancel()
            others[299].cancel()
            assert total(pool) == submitted
            gate.write_bytes(b"!")
            await soon(one)
            assert total(pool) == submitted
            await soon(asyncio.gather(*others, return_exceptions=True))
            assert total(pool) == submitted
            stuck = submit(jobs.hold_on, told)
            await soon(told.get())
            assert pool.statistics().running == 1
            stuck.cancel()
            assert total(pool) == submitted
            with pytest.raises(ValueError, match="on purpose"):
                await soon(submit(jobs.fail))
            assert total(pool) == submitted
            with pytest.raises(aioprocq.WorkerCrashed):
                await soon(submit(jobs.vanish))
            assert total(pool) == submitted
        figures = pool.statistics()
        assert (figures.done, figures.failed, figures.crashed) == (299, 1, 1)
        assert (figures.cancelled, figures.restarts) == (3, 2)
        assert total(pool) == submitted


async def test_a_worker_killed_from_outside_is_replaced():
    async with WorkerPool(1) as pool:
        before = await soon(pool.run(jobs.pid))
        events = pool._crew.supervisor.events()
        kill(before)
        async with asyncio.timeout(DEADLINE):
            async for event in events:
                if event.kind == "ready":
                    break
        assert await soon(pool.run(jobs.pid)) != before
        assert pool.statistics().restarts == 1


async def test_an_exception_about_an_object_without_a_repr_is_itself():
    """Its text has an address, which is another one here."""
    async with WorkerPool(1) as pool:
        with pytest.raises(KeyError) as caught:
            await soon(pool.run(jobs.raise_key, 3))
    assert caught.value.args[1] == 3
