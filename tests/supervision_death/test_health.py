"""An app that is late, a worker that is busy, a flood: nobody dies of it."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aioprocq import ExitReason, JoinableQueue
from tests.contract.harness import eventually, within

from . import targets
from .observed import Observed, pids_of, undaunted
from .targets import who_is_here

pytestmark = pytest.mark.both_loops

Numbers = JoinableQueue[int]


# Heartbeats


async def stall(seconds: float, place: Path) -> None:
    async with Numbers() as queue, Observed() as supervisor:
        options: dict[str, Any] = {"heartbeat": 0.1}
        busy = await supervisor.start(targets.consume, queue, place, count=2, **options)
        await supervisor.start(targets.idle_async, count=2, **options)
        await supervisor.start(targets.idle, count=2, loop="uvloop", **options)
        for number in range(300):
            await queue.put(number)
        for _ in range(3):
            await eventually(pinged(supervisor))
            time.sleep(seconds / 3)
        await within(queue.join())
        await eventually(pinged(supervisor))
        assert "suspect" not in supervisor.kinds()
        assert "exited" not in supervisor.kinds()
        assert busy.statistics().restarts == 0


def pinged(supervisor: Observed) -> Callable[[], bool]:
    """Whether somebody was asked just now, and has not answered yet."""
    workers = [worker for group in supervisor.groups for worker in group.workers]
    return lambda: any(worker._pinged is not None for worker in workers)


async def test_a_loop_that_stalls(tmp_path: Path) -> None:
    await stall(1.0, tmp_path)


@pytest.mark.soak
async def test_a_loop_that_stalls_for_long(tmp_path: Path) -> None:
    await stall(30.0, tmp_path)


async def test_a_long_call_into_c_is_suspect_and_lives_on(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.inside_c_for_a_while, tmp_path, 10**8, heartbeat=0.1
        )
        suspect = await supervisor.until("suspect")
        assert "inside_c_for_a_while" in suspect.detail
        await eventually(lambda: bool(who_is_here(tmp_path, "back")))
        assert pids_of(group) == who_is_here(tmp_path, "back")
        assert "exited" not in supervisor.kinds()


async def test_who_is_stopped_is_suspect_and_lives_on() -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, heartbeat=0.05)
        [pid] = pids_of(group)
        for count in (1, 2):
            os.kill(pid, signal.SIGSTOP)
            await supervisor.until("suspect", count)
            os.kill(pid, signal.SIGCONT)
            [worker] = group.workers
            await eventually(lambda: not worker._suspect)  # noqa: B023
        assert supervisor.kinds() == ["starting", "ready", "suspect", "suspect"]


async def test_who_holds_a_job_for_too_long_is_killed(tmp_path: Path) -> None:
    async with Numbers(max_deliveries=2) as queue, Observed() as supervisor:
        await supervisor.start(
            targets.hold_on, queue, tmp_path, job_timeout=0.2, **undaunted()
        )
        await queue.put(1)
        await within(queue.join())
        [letter] = await queue.dead_letters()
        assert (letter.item, letter.attempts) == (1, 2)
        await supervisor.until("exited", 2)
        reasons = [event.reason for event in supervisor.told("exited")]
        assert reasons == [ExitReason.DEADLINE] * 2


# Output


@pytest.mark.parametrize("size", [1 << 20, 1 << 24])
async def test_a_flood_without_a_newline(size: int, tmp_path: Path) -> None:
    received: Counter[int] = Counter()

    def note(worker: str, stream: str, line: str) -> None:
        received[len(line)] += 1

    async with Observed() as supervisor:
        await supervisor.start(targets.flood, size, tmp_path, output=note)
        await eventually(lambda: bool(who_is_here(tmp_path, "flooded")))
    assert sum(length * count for length, count in received.items()) == size
    assert max(received) <= 65536


async def test_a_flood_and_a_kill(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.flood,
            1 << 40,
            tmp_path,
            output=len_of_it,
            drain_timeout=0.1,
            **undaunted(),
        )
        for attempt in range(1, 6):
            os.kill(pids_of(group)[0], signal.SIGKILL)
            await supervisor.until("ready", attempt + 1)
        await group.scale(0)


def len_of_it(worker: str, stream: str, line: str) -> int:
    return len(line)


def refuse(worker: str, stream: str, line: str) -> None:
    raise ZeroDivisionError("this is what the app does with a line")


async def test_an_output_function_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.print_lines, 100, output=refuse)
        await within(group.wait())
    assert group.statistics().exits == {"clean": 1}
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.usefixtures("broken_handler")
async def test_a_logging_handler_that_fails() -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(targets.idle, **undaunted())
        os.kill(pids_of(group)[0], signal.SIGKILL)
        await supervisor.until("ready", 2)


# SIGCHLD


@pytest.fixture
def ignored_sigchld() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ignored_sigchld")
async def test_an_app_that_ignores_sigchld(tmp_path: Path) -> None:
    async with Numbers() as queue, Observed() as supervisor:
        group = await supervisor.start(
            targets.consume, queue, tmp_path, count=2, **undaunted()
        )
        for number in range(50):
            await queue.put(number)
        os.kill(pids_of(group)[0], signal.SIGKILL)
        await supervisor.until("ready", 3)
        await within(queue.join())
        assert supervisor.told("exited")[0].status == "status lost"
        await group.scale(1)
        await group.reload()
    assert queue.statistics().unfinished == 0


@pytest.mark.usefixtures("ignored_sigchld")
async def test_descendants_go_where_sigchld_is_ignored(tmp_path: Path) -> None:
    async with Observed() as supervisor:
        group = await supervisor.start(
            targets.with_grandchild,
            tmp_path,
            drain_timeout=0.1,
            stop_timeout=0.1,
            **undaunted(),
        )
        await eventually(lambda: bool(who_is_here(tmp_path, "grandchild")))
        os.kill(pids_of(group)[0], signal.SIGKILL)
        await supervisor.until("ready", 2)
        await eventually(lambda: len(who_is_here(tmp_path, "grandchild")) == 2)
        for worker in group.workers:
            worker.kill()
        await supervisor.until("exited", 2)
