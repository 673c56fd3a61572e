"""Scaling, reloading and recycling in odd moments."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, WorkerStartError
from tests.drivers.stations import reached

from . import targets
from .watching import rest, soon

QUICK = Backoff(initial=0)


def states(group: Any) -> list[str]:
    return [worker.state for worker in group.statistics().workers]


async def test_who_was_over_when_it_was_scaled_away_leaves_nothing_behind():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.return_if_second, count=2))
        await reached(lambda: "exited" in states(group))
        await soon(group.scale(1))
        assert states(group) == ["ready"]
        await soon(group.reload())
        assert group.statistics().workers[0].attempt == 2


async def test_a_new_one_that_returns_at_once_has_been_reloaded(monkeypatch: Any):
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.wait_until_told))
        new = group._new_worker(0, next(iter(group._places.values())))
        ended = asyncio.Event()

        def start() -> None:  # ready, and gone, within one turn of the loop
            new.slot.start(0.0)
            new.slot.ready(0.0)
            new._exited(aioprocq.ExitReason.CLEAN, None)
            ended.set()

        monkeypatch.setattr(new, "start", start)
        monkeypatch.setattr(group, "_new_worker", lambda *_, **__: new)
        await soon(group.reload())
        assert ended.is_set()
        assert states(group) == ["exited"]


async def test_a_scale_that_is_cancelled_goes_on():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.wait_until_told, count=0))
        change = asyncio.create_task(group.scale(3))
        await reached(lambda: group.statistics().workers)
        change.cancel()
        with pytest.raises(asyncio.CancelledError):
            await change
        await reached(lambda: states(group) == ["ready"] * 3)


async def test_new_ones_that_do_not_start_end_no_app():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(
            supervisor.start(targets.fail_if_second, ready="told", max_restarts=0)
        )
        with pytest.raises(WorkerStartError, match=r"-1 did not start"):
            await soon(group.scale(2))
        assert states(group) == ["ready"]
        assert not group._trials


async def test_restarts_are_counted_beyond_a_reload():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.wait_until_told, backoff=QUICK))
        os.kill(group.statistics().workers[0].pid, 9)
        await reached(lambda: group.statistics().workers[0].attempt == 2)
        await reached(lambda: states(group) == ["ready"])
        await soon(group.reload())
        (worker,) = group.statistics().workers
        assert (worker.attempt, worker.restarts) == (3, 1)


async def test_a_limit_that_is_reached_before_it_is_ready_counts_after_that():
    settings, out = aioprocq.Queue[int](), aioprocq.Queue[int]()
    async with aioprocq.Supervisor() as supervisor:
        await settings.put_many(range(4))
        events = supervisor.events()
        group = await soon(
            supervisor.start(
                targets.read_then_tell, settings, out, ready="told", max_items=1
            )
        )
        await reached(lambda: group.statistics().exits.get("recycled", 0) >= 3)
        assert settings.qsize() <= 1
    assert {e.reason for e in await rest(events) if e.kind == "failed"} == set()


async def test_who_has_put_something_is_waited_for_while_it_has_not_got_anything(
    tmp_path: Path,
):
    go = tmp_path / "go"
    os.mkfifo(go)
    jobs, out = aioprocq.JoinableQueue[int](), aioprocq.Queue[Any]()

    async def let_go(supervisor: Any) -> None:
        await reached(lambda: supervisor.ending)
        await asyncio.to_thread(go.write_bytes, b"x")

    async with aioprocq.Supervisor() as supervisor:
        await soon(supervisor.start(targets.greet_then_take, str(go), jobs, out))
        await jobs.put_many(range(5))
        assert await soon(out.get()) == "hello"
        later = asyncio.create_task(let_go(supervisor))
    await later
    assert jobs.statistics().unfinished == 0


async def test_who_gets_one_after_the_other_and_settles_nothing_is_late():
    jobs = aioprocq.JoinableQueue[int]()
    async with aioprocq.Supervisor() as supervisor:
        await jobs.put_many(range(1000))
        group = await soon(
            supervisor.start(
                targets.hold_more_and_more, jobs, job_timeout=0.5, backoff=QUICK
            )
        )
        await reached(lambda: group.statistics().exits.get("deadline"))
        jobs.shutdown(immediate=True)


async def test_a_child_of_a_worker_ends_by_sigterm_and_the_worker_does_not():
    out = aioprocq.Queue[Any]()
    async with aioprocq.Supervisor() as supervisor:
        await soon(supervisor.start(targets.terminate_a_child, out))
        assert await soon(out.get()) == (-15, False)


async def test_who_only_puts_is_not_waited_for_because_of_what_its_like_has_put():
    out, errors = aioprocq.Queue[int](), aioprocq.Queue[str]()

    async def use() -> None:
        async with aioprocq.Supervisor() as supervisor:
            await supervisor.start(
                targets.put_until_told, out, errors, backoff=QUICK, drain_timeout=600
            )
            await out.get()

    await soon(use())
    assert errors.qsize() == 1


async def test_two_changes_at_once_do_not_take_each_other_for_theirs():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.wait_until_told, count=2))
        changes = [asyncio.create_task(group.scale(1)) for _ in range(2)]
        await asyncio.sleep(0)
        trials = [id(trial) for trial in group._trials]
        await soon(changes[1])  # nobody is left for it to wait for
        # Its trial was equal to that of the first: neither has started anybody.
        assert [id(trial) for trial in group._trials] == trials[:1]
        await soon(asyncio.gather(*changes))
        assert not group._trials
