"""How workers learn that they are to finish, and what becomes of those that do not."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, ExitReason
from aioprocq.drivers.process import PIDFD
from aioprocq.supervisor.child import Child
from aioprocq.supervisor.worker import Worker

from . import roles, targets
from .watching import DEADLINE, exists, pids, rest, soon, until

pytestmark = pytest.mark.both_loops

QUICK = Backoff(initial=0)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("target", [roles.stop_when_told, roles.stop_when_told_async])
async def test_stopping_is_a_flag_and_an_event(target, loop):
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(target, out, loop=loop)
        assert await soon(out.get()) == ("up", False, False)
        await soon(group.scale(0))
        assert await soon(out.get()) == ("told", True, True)
    assert group.statistics().exits == {"scaled down": 1}


async def test_a_thread_that_lingers_is_waited_for():
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(roles.return_but_for_a_thread, out)
    assert out.get_nowait() == "it has lingered"
    assert [e.status for e in await rest(events) if e.kind == "exited"] == [
        "exit code 0"
    ]


async def test_no_signal_comes_in_between_when_a_worker_is_about_to_end():
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.tell_of_the_end, out)
        assert await soon(out.get()) is True


async def test_who_is_scaled_down_while_it_is_killed_is_not_restarted():
    out: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(roles.stall, out, backoff=QUICK)
        await soon(out.get())
        group.kill(f"{group.name}-0")  # shows its stacks first
        await soon(group.scale(0))
        assert pids(group) == []
    kinds = [event.kind for event in await rest(events)]
    assert kinds == ["starting", "ready", "stopping", "exited"]


async def test_an_exception_in_the_body_stops_them_at_once():
    out: Any = aioprocq.Queue()
    with pytest.raises(LookupError, match="mine"):
        async with aioprocq.Supervisor() as supervisor:
            events = supervisor.events()
            group = await supervisor.start(roles.stall, out, stop_timeout=0.1)
            await supervisor.start(targets.wait_until_told_async)
            (pid,) = pids(group)
            await soon(out.get())
            raise LookupError("mine")
    assert not exists(pid)
    seen = await rest(events)
    ends = {e.group: (e.reason, e.status) for e in seen if e.kind == "exited"}
    assert ends["stall"] == (ExitReason.SHUTDOWN, "signal SIGKILL")
    assert ends["wait_until_told_async"][0] is ExitReason.SHUTDOWN
    assert "draining" not in {event.kind for event in seen}


async def test_tasks_that_hear_of_the_end_have_not_failed():
    jobs: Any = aioprocq.Queue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.square_in_tasks, jobs, results)
        await jobs.put(3)
        assert (await soon(results.get()))[1] == 9
        await soon(group.scale(0))
    assert group.statistics().exits == {"scaled down": 1}


async def test_the_end_of_a_queue_is_a_failure_while_there_is_work():
    jobs: Any = aioprocq.Queue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(
            targets.square_in_tasks, jobs, results, restart="never"
        )
        jobs.shutdown()
        await soon(group.wait())
    assert group.statistics().exits == {"error": 1}


async def test_queues_live_for_as_long_as_workers_use_them():
    async def wire(supervisor: aioprocq.Supervisor, results: Any) -> None:
        jobs: Any = aioprocq.JoinableQueue()
        await jobs.put_many(range(10))
        await supervisor.start(targets.square, jobs, results)

    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await wire(supervisor, results)
        gc.collect()
        got = [(await soon(results.get()))[1] for _ in range(10)]
    assert got == [n * n for n in range(10)]


async def test_the_error_of_the_body_joins_that_of_the_workers():
    with pytest.raises(ExceptionGroup) as caught:
        async with aioprocq.Supervisor() as supervisor:
            await supervisor.start(targets.fail, max_restarts=0)
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError("mine, too")
    kinds = {type(error) for error in caught.value.exceptions}
    assert kinds == {aioprocq.WorkersExhausted, LookupError}


async def test_the_window_forgets(tmp_path):
    flag = tmp_path / "flag"
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            roles.fail_quickly_twice,
            str(flag),
            max_restarts=1,
            within=0,
            backoff=QUICK,
        )
        for attempt in (2, 3, 4):
            await until(events, "starting", lambda e, n=attempt: e.attempt == n)
        flag.touch()
        await until(events, "ready", lambda e: e.attempt >= 4)
    figures = group.statistics()
    assert figures.restarts >= 3
    assert figures.workers[0].restarts == figures.restarts
    assert figures.exits["error"] == figures.restarts


# A second Ctrl-C raises KeyboardInterrupt wherever the loop is: what it cuts short is
# gone on with when the supervisor ends.


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["stop", "drain"])
async def test_workers_end_that_were_about_to_be_told(monkeypatch, call):
    out: Any = aioprocq.Queue()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ZeroDivisionError):
            async with aioprocq.Supervisor() as supervisor:
                group = await supervisor.start(
                    roles.stall, out, count=2, stop_timeout=0.1, drain_timeout=1000.0
                )
                with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                    patch.setattr(Worker, "_tell", interrupt)
                    group.stop() if call == "stop" else group.drain(time.monotonic())
                raise ZeroDivisionError
    assert pids(group) == []


async def test_workers_end_whose_limit_was_lost(monkeypatch):
    monkeypatch.setattr("aioprocq.supervisor.worker._LATEST", 0.0)
    out: Any = aioprocq.Queue()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ZeroDivisionError):
            async with aioprocq.Supervisor() as supervisor:
                group = await supervisor.start(roles.stall, out, stop_timeout=0.0)
                group.stop()
                (worker,) = group.workers
                worker._timers["stop"].cancel()
                raise ZeroDivisionError
    assert pids(group) == []


async def test_workers_have_ended_whose_exit_was_not_heard_of():
    out: Any = aioprocq.Queue()
    async with asyncio.timeout(DEADLINE):
        async with aioprocq.Supervisor() as supervisor:
            group = await supervisor.start(
                roles.stall, out, restart="never", drain_timeout=1000.0
            )
            (worker,) = group.workers
            worker.child.process.unwatch()
            worker.kill()
    assert group.statistics().exits == {"signal": 1}


@pytest.mark.skipif(not PIDFD, reason="there is nothing to wait with")
@pytest.mark.parametrize("cut", ["_close", "stacks"])
async def test_what_tells_of_an_exit_can_be_done_again(monkeypatch, cut):
    out: Any = aioprocq.Queue()
    async with asyncio.timeout(DEADLINE):
        async with aioprocq.Supervisor() as supervisor:
            group = await supervisor.start(
                roles.stall, out, restart="never", drain_timeout=1000.0
            )
            (worker,) = group.workers
            child, call = worker.child, getattr(Child, cut)
            child.process.unwatch()
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(Child, cut, lambda child: interrupt(call(child)))
                child.look()
    assert group.statistics().exits == {"signal": 1}
