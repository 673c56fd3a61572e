"""From start to exit: states, reasons, restarts, limits."""

from __future__ import annotations

import asyncio
import functools
import signal
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, ExitReason

from . import targets
from .watching import DEADLINE, exists, kill, pids, rest, soon, until

pytestmark = pytest.mark.both_loops

QUICK = Backoff(initial=0)


@pytest.mark.parametrize("target", [targets.square, targets.square_async])
async def test_workers_work_and_end_with_the_block(target):
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await soon(supervisor.start(target, jobs, results, count=2))
        assert repr(group) == f"<WorkerGroup {target.__name__!r} ready=2/2>"
        workers = pids(group)
        await jobs.put_many(range(100))
        got = [await soon(results.get()) for _ in range(100)]
    assert sorted(number for _, number in got) == [n * n for n in range(100)]
    assert {pid for pid, _ in got} <= set(workers)
    assert not any(map(exists, workers))
    seen = await rest(events)
    for name in (f"{group.name}-0", f"{group.name}-1"):
        kinds = [event.kind for event in seen if event.worker == name]
        assert kinds == ["starting", "ready", "draining", "exited"]
    assert {e.reason for e in seen if e.kind == "exited"} == {ExitReason.SHUTDOWN}
    assert jobs.statistics().unfinished == 0


@pytest.mark.parametrize("target", [targets.square, targets.square_async])
async def test_a_clean_end_finishes_what_the_queues_hold(target):
    jobs: Any = aioprocq.JoinableQueue()
    middle: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        # Downstream first, so that the order of the starts cannot help.
        await supervisor.start(targets.take_arguments, middle, results)
        await supervisor.start(target, jobs, middle, count=2)
        await jobs.put_many(range(200))
    assert (jobs.statistics().unfinished, middle.statistics().unfinished) == (0, 0)
    assert results.qsize() == 200


ENDS: Any = [
    (targets.return_at_once, (), ExitReason.CLEAN, "exit code 0"),
    (targets.leave, (0,), ExitReason.CLEAN, "exit code 0"),
    (targets.fail, (), ExitReason.ERROR, "exit code 1"),
    (targets.leave, (3,), ExitReason.ERROR, "exit code 3"),
    (targets.vanish, (0,), ExitReason.ERROR, "exit code 0"),
    (targets.vanish, (4,), ExitReason.ERROR, "exit code 4"),
    (targets.die, (signal.SIGKILL,), ExitReason.SIGNAL, "signal SIGKILL"),
    (targets.segfault, (), ExitReason.SIGNAL, "signal SIGSEGV"),
]


@pytest.mark.parametrize(("target", "args", "reason", "status"), ENDS)
@pytest.mark.parametrize("restart", ["always", "on-failure", "never"])
async def test_every_end_by_every_policy(restart, target, args, reason, status):
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await soon(
            supervisor.start(target, *args, restart=restart, backoff=QUICK)
        )
        exited = await until(events, "exited")
        assert exited.reason is reason
        assert exited.status.startswith(status)
        again = restart == "always" or (
            restart == "on-failure" and reason is not ExitReason.CLEAN
        )
        if again:
            started = await until(events, "starting")
            assert started.attempt == 2
        else:
            await soon(group.wait())
            assert group.statistics().workers[0].state == "exited"


async def test_a_slow_starter_is_waited_for(monkeypatch):
    monkeypatch.setattr("aioprocq.supervisor.draining.UNDECIDED", 0.0)
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.load_and_square, jobs, results)
        await jobs.put_many(range(5))
    assert (jobs.statistics().unfinished, results.qsize()) == (0, 5)


async def test_what_is_left_undone_is_said(caplog):
    jobs: Any = aioprocq.JoinableQueue(name="jobs")
    held: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.hold_one, jobs, held, restart="never")
        await jobs.put_many(range(3))
        pid, _, _ = await soon(held.get())
        kill(pid)
    assert "3 items of queue 'jobs' are unfinished" in caplog.text


async def test_a_closed_queue_elsewhere_is_of_no_concern():
    other: Any = aioprocq.Queue()
    await other.aclose()
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.square, jobs, results)
        await jobs.put(2)
    assert results.qsize() == 1
    assert group.statistics().workers[0].age == 0
    await jobs.aclose()
    await results.aclose()


async def test_a_target_that_does_not_start_is_named_when_scaling(tmp_path):
    flag = tmp_path / "broken"
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(
            functools.partial(targets.return_at_once), env={"AIOPROCQ_BREAK": str(flag)}
        )
        flag.touch()
        with pytest.raises(aioprocq.WorkerStartError, match="boot failed"):
            await soon(group.scale(3))
        assert group.statistics().count == 1


async def test_nothing_is_restarted_at_the_end():
    async with aioprocq.Supervisor() as supervisor:
        await supervisor.start(targets.die, 9, max_restarts=10**6, backoff=QUICK)
    assert supervisor.groups[0].statistics().workers[0].state == "exited"


async def test_a_failure_brings_its_traceback():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.fail, restart="never")
        exited = await until(events, "exited")
    assert isinstance(exited.failure, ValueError)
    assert exited.failure.args == ("it fails on purpose",)
    assert "in fail\n" in exited.failure.__notes__[-1]


async def test_too_many_failures_leave_like_those_of_a_task_group():
    with pytest.raises(ExceptionGroup) as caught:
        async with aioprocq.Supervisor() as supervisor:
            await supervisor.start(targets.fail, max_restarts=2, backoff=QUICK)
            await asyncio.sleep(DEADLINE)
            raise AssertionError("the body was not cancelled")
    (error,) = caught.value.exceptions
    assert isinstance(error, aioprocq.WorkersExhausted)
    assert "fail-0 failed more than 2 times" in str(error)
    assert "exit code 1" in str(error)
    assert isinstance(error.__cause__, ValueError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_gave_up_says_what_it_held():
    jobs: Any = aioprocq.JoinableQueue(name="jobs", max_deliveries=10)
    held: Any = aioprocq.Queue()
    await jobs.put("precious")
    with pytest.raises(ExceptionGroup) as caught:
        async with aioprocq.Supervisor() as supervisor:
            await supervisor.start(targets.hold_one, jobs, held, max_restarts=0)
            pid, item, attempt = await soon(held.get())
            assert (item, attempt) == ("precious", 1)
            kill(pid)
            await asyncio.sleep(DEADLINE)
    assert "signal SIGKILL; it held 1 of 'jobs'" in str(caught.value.exceptions[0])
    assert jobs.qsize() == 1


async def test_degraded_it_keeps_the_others_and_heals():
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    backoff = Backoff(initial=0, maximum=0.01, stable_after=0.01)
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            targets.square,
            jobs,
            results,
            count=2,
            max_restarts=0,
            backoff=backoff,
            on_exhausted="degrade",
        )
        victim = pids(group)[0]
        kill(victim)
        await until(events, "failed")
        await jobs.put(3)
        assert (await soon(results.get()))[1] == 9
        again = await until(events, "ready", lambda e: e.attempt == 2)
        assert again.pid != victim
        await jobs.join()


async def test_what_a_dead_worker_held_is_named_and_delivered_again():
    jobs: Any = aioprocq.JoinableQueue(name="jobs")
    held: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.hold_one, jobs, held, backoff=QUICK)
        await jobs.put({"id": 1})
        pid, _, _ = await soon(held.get())
        kill(pid)
        exited = await until(events, "exited")
        assert (exited.pid, exited.status) == (pid, "signal SIGKILL")
        (one,) = exited.held
        assert (one.queue, one.item, one.attempts) == ("jobs", {"id": 1}, 1)
        _, item, attempt = await soon(held.get())
        assert (item, attempt) == ({"id": 1}, 2)
        supervisor.groups[0].stop()


@pytest.mark.parametrize("count", [1, 3])
async def test_max_items_is_exact(count):
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.square, jobs, results, count=count, max_items=5)
        await jobs.put_many(range(20 * count))
        got = [await soon(results.get()) for _ in range(20 * count)]
    by_pid = [sum(pid == other for other, _ in got) for pid in {pid for pid, _ in got}]
    assert max(by_pid) <= 5
    recycled = [e for e in await rest(events) if e.reason is ExitReason.RECYCLED]
    assert len([e for e in recycled if e.kind == "exited"]) >= 3 * count


async def test_max_age_and_max_rss_recycle():
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.wait_until_told, max_age=0.05, name="old")
        exited = await until(events, "exited", lambda e: e.group == "old")
        assert exited.reason is ExitReason.RECYCLED
        await supervisor.start(
            targets.recycle_by_memory,
            jobs,
            results,
            64 << 20,
            max_rss=150 << 20,
            name="fat",
        )
        await jobs.put_many(range(6))
        got = [await soon(results.get()) for _ in range(6)]
        assert len({pid for pid, _ in got}) >= 2
        exited = await until(events, "exited", lambda e: e.group == "fat")
        assert exited.reason is ExitReason.RECYCLED


async def test_a_job_that_takes_too_long_costs_its_worker_alone():
    jobs: Any = aioprocq.JoinableQueue()
    held: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(
            targets.hold_one, jobs, held, job_timeout=0.2, backoff=QUICK
        )
        await jobs.put("slow")
        exited = await until(events, "exited")
        assert exited.reason is ExitReason.DEADLINE
        assert "in hold_one" in exited.detail
        assert [one.item for one in exited.held] == ["slow"]
        supervisor.groups[0].stop()


async def test_who_hangs_can_be_killed_by_name():
    jobs: Any = aioprocq.JoinableQueue()
    held: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            targets.hold_one, jobs, held, name="w", backoff=QUICK
        )
        with pytest.raises(ValueError, match=r"'w-9' is not running.*there is: w-0"):
            group.kill("w-9")
        await jobs.put("job")
        await soon(held.get())
        group.kill("w-0")
        exited = await until(events, "exited")
        assert exited.reason is ExitReason.HUNG
        assert "in hold_one" in exited.detail
        assert [one.item for one in exited.held] == ["job"]
        assert (await until(events, "starting")).attempt == 2
        group.stop()


async def test_scale_and_reload_while_it_works():
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(targets.square, jobs, results, count=2)
        before = set(pids(group))
        await jobs.put_many(range(500))
        await soon(group.reload())
        after = set(pids(group))
        assert len(after) == 2
        assert not before & after
        await soon(group.scale(4))
        assert (group.statistics().ready, len(pids(group))) == (4, 4)
        await soon(group.scale(1))
        assert len(pids(group)) == 1
        await soon(group.scale(0))
        assert pids(group) == []
        await soon(group.scale(1))
        await soon(jobs.join())
    assert results.qsize() == 500
    exits = group.statistics().exits
    assert (exits["reload"], exits["scaled down"]) == (2, 4)
    # Never fewer than before: each new one is ready before an old one drains.
    ready = 0
    for event in await rest(events):
        ready += (event.kind == "ready") - (event.kind == "draining")
        if event.kind == "draining" and event.reason is ExitReason.RELOAD:
            assert ready >= 2


async def test_a_reload_lets_the_old_worker_finish_its_job(tmp_path):
    import os

    gate = tmp_path / "gate"
    os.mkfifo(gate)
    jobs: Any = aioprocq.JoinableQueue()
    held: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(targets.hold_then_finish, jobs, held, str(gate))
        await jobs.put("a job")
        assert await soon(held.get()) == "a job"
        reloading = asyncio.create_task(group.reload())
        await until(events, "draining")
        gate.write_bytes(b"!")
        assert await soon(held.get()) == ("finished", "a job")
        await soon(reloading)
        await soon(jobs.join())
    assert [e.reason for e in await rest(events) if e.kind == "exited"] == [
        ExitReason.RELOAD,
        ExitReason.SHUTDOWN,
    ]


@pytest.mark.parametrize(
    "target", [targets.ignore_everything, targets.ignore_cancellation]
)
async def test_who_ignores_all_words_is_killed_and_shows_where_it_was(target):
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(target, drain_timeout=0.05, stop_timeout=0.05)
    *_, stopping, exited = await rest(events)
    assert stopping.kind == "stopping"
    assert (exited.reason, exited.status) == (ExitReason.SHUTDOWN, "signal SIGKILL")
    assert target.__name__ in exited.detail or "select" in exited.detail


async def test_a_worker_that_backs_off_does_not_hold_up_the_end():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(
            targets.fail, backoff=Backoff(initial=1000, maximum=1000)
        )
        await until(events, "backing off")
    assert supervisor.groups[0].statistics().workers[0].state == "exited"


async def test_wait_ends_when_all_have_returned():
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.return_at_once, count=3)
        await soon(group.wait())
        assert group.statistics().exits == {"clean": 3}


async def test_events_end_with_their_supervisor_and_later_ones_are_empty():
    async with aioprocq.Supervisor() as supervisor:
        reading = asyncio.create_task(rest(supervisor.events()))
        await supervisor.start(targets.wait_until_told_async)
    assert [event.kind for event in await reading][-1] == "exited"
    assert await rest(supervisor.events()) == []
