"""A death, a stop or a deaf ear in each state that a worker can be in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioprocq import (
    Backoff,
    ExitReason,
    JoinableQueue,
    WorkerError,
    WorkersExhausted,
    WorkerStartError,
)
from tests.contract.harness import eventually, within
from tests.death.processes import is_stopped

from . import targets
from .observed import Observed, pids_of, undaunted
from .targets import Slow, who_is_here

pytestmark = pytest.mark.both_loops

Numbers = JoinableQueue[int]
LONG = 60.0
ASKED_TO_END = ["starting", "ready", "draining", "exited"]


def here(place: Path, kind: str, count: int = 1) -> Callable[[], bool]:
    return lambda: len(who_is_here(place, kind)) >= count


# SIGKILL


async def test_killed_while_starting(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        starting = asyncio.ensure_future(
            supervisor.start(targets.take_slowly, Slow(tmp_path), count=8)
        )
        await eventually(here(tmp_path, "starting", 8))
        victim = supervisor.told("starting")[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        # None was ever ready: it is no crash to recover from, for anybody.
        with pytest.raises(WorkerStartError, match=f"{victim.worker} did not start"):
            await within(starting)
        assert supervisor.groups == ()
        first = supervisor.told("exited")[0]
        assert (first.worker, first.reason) == (victim.worker, ExitReason.BOOT_FAILED)
        assert "ready" not in supervisor.kinds()


async def test_killed_while_starting_again(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.take_slowly, Slow(tmp_path), count=2, **undaunted()
        )
        (tmp_path / "go").unlink()
        os.kill(pids_of(group)[0], signal.SIGKILL)
        for attempt in range(3, 6):
            await eventually(here(tmp_path, "starting", attempt))
            [pid] = pids_of(group, "starting")
            os.kill(pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        await supervisor.until("ready", 3)
        assert group.statistics().exits == {"signal": 1, "boot failed": 3}


async def test_killed_while_ready(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=2, **undaunted())
        os.kill(pids_of(group)[0], signal.SIGKILL)
        await supervisor.until("ready", 3)
        assert group.statistics().restarts == 1


async def test_killed_while_draining(tmp_path: Path) -> None:
    async with Numbers() as queue:
        async with Observed() as supervisor:
            group = await supervisor.start(targets.hold_on, queue, tmp_path, count=2)
            await queue.put(1)
            await queue.put(2)
            await eventually(here(tmp_path, "holding", 2))
            scaling = asyncio.ensure_future(group.scale(0))
            await eventually(here(tmp_path, "told", 2))
            for pid in who_is_here(tmp_path, "told"):
                os.kill(pid, signal.SIGKILL)
            await within(scaling)
            for event in supervisor.told("exited"):
                assert event.status == "signal SIGKILL"
                assert [held.attempts for held in event.held] == [1]
            statistics = queue.statistics()
            assert (statistics.put, statistics.qsize, statistics.held) == (2, 2, 0)
        queue.shutdown(immediate=True)


async def test_killed_while_the_app_drains(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        await supervisor.start(targets.refuse_to_drain, tmp_path, count=3)
        killing = asyncio.ensure_future(kill_those(tmp_path, "draining", 3))
    await killing
    assert {e.status for e in supervisor.told("exited")} == {"signal SIGKILL"}
    assert "backing off" not in supervisor.kinds()


async def kill_those(place: Path, kind: str, count: int) -> None:
    await eventually(here(place, kind, count))
    for pid in who_is_here(place, kind):
        os.kill(pid, signal.SIGKILL)


async def test_killed_while_stopping(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Observed() as supervisor:
            await supervisor.start(
                targets.swallow_the_exception, tmp_path, count=3, stop_timeout=100
            )
            await eventually(here(tmp_path, "deaf", 3))
            killing = asyncio.ensure_future(kill_when_stopping(supervisor, tmp_path))
            raise ZeroDivisionError
    await killing
    assert "backing off" not in supervisor.kinds()


async def kill_when_stopping(supervisor: Observed, place: Path) -> None:
    await supervisor.until("stopping", 3)
    await kill_those(place, "deaf", 3)


async def test_the_app_leaves_while_they_back_off(tmp_path: Path) -> None:
    later = Backoff(initial=1000, maximum=1000)
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=3, backoff=later)
        for pid in pids_of(group):
            os.kill(pid, signal.SIGKILL)
        await supervisor.until("backing off", 3)
    assert supervisor.kinds().count("starting") == 3
    assert group.statistics().exits == {"signal": 3}


@pytest.mark.parametrize("count", [1, 8])
async def test_the_app_leaves_while_another_task_starts(
    count: int, tmp_path: Path
) -> None:
    async with Observed() as supervisor:
        starting = asyncio.ensure_future(
            supervisor.start(
                targets.take_slowly, Slow(tmp_path), count=count, drain_timeout=0.3
            )
        )
        await supervisor.until("starting")
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 20
    with pytest.raises(WorkerStartError):
        await within(starting)


async def test_the_app_leaves_while_another_task_reloads(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=4)
        reloading = asyncio.ensure_future(group.reload())
        await supervisor.until("ready", 5)
    with contextlib.suppress(WorkerError):  # unless it was through already
        await within(reloading)
    assert not any(worker.alive for worker in group.workers)


async def test_the_app_leaves_while_another_task_scales_up(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, count=1)
        scaling = asyncio.ensure_future(group.scale(12))
        await supervisor.until("starting", 3)
    with contextlib.suppress(WorkerError):
        await within(scaling)
    assert not any(worker.alive for worker in group.workers)


# Deaf ears


@pytest.mark.parametrize(
    "target",
    [
        targets.ignore_the_signal,
        targets.swallow_the_exception,
        targets.swallow_the_cancellation,
    ],
)
async def test_who_does_not_end_is_killed(
    target: Callable[..., Any], tmp_path: Path
) -> None:
    async with Observed() as supervisor:
        await supervisor.start(
            target, tmp_path, count=2, drain_timeout=0.1, stop_timeout=0.1
        )
        await eventually(here(tmp_path, "deaf", 2))
    for event in supervisor.told("exited"):
        assert (event.reason, event.status) == (
            ExitReason.SHUTDOWN,
            "signal SIGKILL",
        )
        assert target.__name__ in event.detail or "asyncio" in event.detail


async def test_descendants_go_with_their_worker(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.with_grandchild,
            tmp_path,
            drain_timeout=0.1,
            stop_timeout=0.1,
            **undaunted(),
        )
        for attempt in range(1, 4):
            await eventually(here(tmp_path, "grandchild", attempt))
            os.kill(pids_of(group)[0], signal.SIGKILL)
            await supervisor.until("ready", attempt + 1)
        await group.scale(0)


# Stopped


async def test_stopped_before_the_handshake(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        starting = asyncio.ensure_future(
            supervisor.start(targets.idle, count=2, start_timeout=1.0)
        )
        stopped = await supervisor.until("starting")
        assert stopped.pid is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        group = await within(starting)
        await supervisor.until("exited")
        assert supervisor.told("exited")[0].reason is ExitReason.START_TIMED_OUT
        await supervisor.until("ready", 2)
        assert group.statistics().ready == 2


async def test_all_stopped_before_the_handshake(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        starting = asyncio.ensure_future(
            supervisor.start(targets.idle, start_timeout=0.3)
        )
        stopped = await supervisor.until("starting")
        assert stopped.pid is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        with pytest.raises(WorkerStartError, match="timed out"):
            await within(starting)


async def test_stopped_and_continued_before_the_handshake(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        starting = asyncio.ensure_future(supervisor.start(targets.idle))
        stopped = await supervisor.until("starting")
        pid = stopped.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: is_stopped(pid))
        os.kill(pid, signal.SIGCONT)
        await within(starting)
        assert supervisor.kinds() == ["starting", "ready"]


async def test_stopped_at_dispatch(tmp_path: Path) -> None:
    async with Numbers() as queue, Observed() as supervisor:
        group = await supervisor.start(targets.consume, queue, tmp_path, count=2)
        [stopped, _] = pids_of(group)
        os.kill(stopped, signal.SIGSTOP)
        await eventually(lambda: is_stopped(stopped))
        for number in range(50):
            await queue.put(number)
        await eventually(lambda: queue.statistics().qsize < 50)  # the other works
        os.kill(stopped, signal.SIGCONT)
        await within(queue.join())
        statistics = queue.statistics()
        assert (statistics.put, statistics.redelivered) == (50, 0)
        assert group.statistics().exits == {}


async def test_stopped_at_dispatch_and_killed(tmp_path: Path) -> None:
    async with Numbers() as queue, Observed() as supervisor:
        group = await supervisor.start(targets.consume, queue, tmp_path, count=2)
        [stopped, _] = pids_of(group)
        os.kill(stopped, signal.SIGSTOP)
        await eventually(lambda: is_stopped(stopped))
        for number in range(50):
            await queue.put(number)
        os.kill(stopped, signal.SIGKILL)
        await within(queue.join())
        statistics = queue.statistics()
        assert (statistics.put, statistics.unfinished) == (50, 0)
        assert statistics.dead_letters == 0


async def test_stopped_while_draining(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.refuse_to_drain, tmp_path, drain_timeout=0.3, stop_timeout=100
        )
        await eventually(here(tmp_path, "ready"))
        scaling = asyncio.ensure_future(group.scale(0))
        await eventually(here(tmp_path, "draining"))
        os.kill(who_is_here(tmp_path, "draining")[0], signal.SIGSTOP)
        await within(scaling)  # and not after stop_timeout
        assert supervisor.told("exited")[0].status == "signal SIGKILL"


async def test_stopped_when_the_app_leaves(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Observed() as supervisor:
            group = await supervisor.start(targets.idle, count=2, stop_timeout=100)
            for pid in pids_of(group):
                os.kill(pid, signal.SIGSTOP)
            await eventually(lambda: all(map(is_stopped, pids_of(group))))
            raise ZeroDivisionError
    assert {e.status for e in supervisor.told("exited")} == {"signal SIGKILL"}


async def test_told_to_leave_while_its_loop_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Observed() as supervisor:
            await supervisor.start(
                targets.idle_late,
                targets.ToldTooEarly(tmp_path),
                stop_timeout=LONG,
            )
            await eventually(here(tmp_path, "half_made"))
            raise ZeroDivisionError
    assert caplog.messages == []  # no coroutine that nobody awaits
    assert capfd.readouterr().err == ""  # no loop half made that complains


async def test_one_group_gives_up_and_the_others_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with Observed() as supervisor:
            await supervisor.start(targets.with_grandchild, tmp_path, stop_timeout=0.1)
            await supervisor.start(targets.idle_async, count=2)
            group = await supervisor.start(targets.idle, count=4, max_restarts=0)
            await eventually(here(tmp_path, "grandchild"))
            for pid in pids_of(group):
                os.kill(pid, signal.SIGKILL)
            await asyncio.Event().wait()
    assert all(isinstance(e, WorkersExhausted) for e in caught.value.exceptions)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_nobody_is_told_twice_that_all_is_over(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        await supervisor.start(targets.idle, count=3)
    for number in range(3):
        assert supervisor.kinds(f"idle-{number}") == ASKED_TO_END
