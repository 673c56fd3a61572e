"""What is told of workers: the stream of events, and the figures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aioprocq
from aioprocq import Backoff, ExitReason
from aioprocq.supervisor import events as module

from . import targets
from .watching import kill, pids, rest, soon, until

both_loops = pytest.mark.both_loops


async def test_the_events_of_a_crash_in_their_order():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            targets.wait_until_told, name="w", backoff=Backoff(initial=0)
        )
        (pid,) = pids(group)
        kill(pid)
        await until(events, "ready")
        again = await until(events, "ready")
        await soon(group.scale(0))
        seen = await soon(group.wait()) or []
    assert again.attempt == 2
    assert seen == []
    assert group.statistics().exits == {"signal": 1, "scaled down": 1}


@both_loops
async def test_every_event_names_its_worker_process_and_attempt():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(
            targets.fail,
            name="w",
            max_restarts=1,
            backoff=Backoff(initial=0),
            on_exhausted="degrade",
        )
        await soon(group.wait())
    seen = await rest(events)
    assert [(e.kind, e.attempt) for e in seen] == [
        ("starting", 1),
        ("ready", 1),
        ("exited", 1),
        ("backing off", 1),
        ("starting", 2),
        ("ready", 2),
        ("exited", 2),
        ("failed", 2),
    ]
    assert {(e.group, e.worker) for e in seen} == {("w", "w-0")}
    assert len({e.pid for e in seen}) == 2
    assert None not in {e.pid for e in seen}
    assert [e.time for e in seen] == sorted(e.time for e in seen)
    for event in seen:
        after = event.kind in ("exited", "backing off", "failed")
        assert event.reason is (ExitReason.ERROR if after else None)
        assert isinstance(event.failure, ValueError) is after
    assert seen[3].detail.startswith("for 0.0")


async def test_every_reader_gets_everything_from_its_start_on():
    async with aioprocq.Supervisor() as supervisor:
        early = supervisor.events()
        group = await supervisor.start(targets.wait_until_told)
        late = supervisor.events()
        await soon(group.scale(0))
    whole, part = await rest(early), await rest(late)
    assert [e.kind for e in whole] == ["starting", "ready", "draining", "exited"]
    assert part == whole[2:]


@both_loops
async def test_a_cancelled_reader_loses_nothing():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        reading = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await supervisor.start(targets.wait_until_told)
    assert len(await rest(events)) == 4


async def test_a_reader_that_is_far_behind_misses_the_oldest(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        await supervisor.start(targets.wait_until_told)
    assert [e.kind for e in await rest(events)] == ["ready", "draining", "exited"]
    assert events.missed == 1


async def test_the_figures_of_a_group():
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(
            targets.square, jobs, results, count=2, name="g", backoff=Backoff(initial=0)
        )
        await jobs.put_many(range(10))
        await soon(jobs.join())
        figures = group.statistics()
        assert (figures.name, figures.count, figures.ready) == ("g", 2, 2)
        assert (figures.restarts, figures.exits) == (0, {})
        assert sum(worker.items for worker in figures.workers) == 10
        for number, worker in enumerate(figures.workers):
            assert worker.name == f"g-{number}"
            assert (worker.state, worker.attempt, worker.restarts) == ("ready", 1, 0)
            assert 0 < worker.age < 60
            assert 1 << 20 < (worker.rss or 0) < 1 << 30
        events = supervisor.events()
        kill(figures.workers[1].pid)
        await until(events, "ready")
        figures = group.statistics()
        assert (figures.restarts, figures.exits) == (1, {"signal": 1})
        assert [worker.attempt for worker in figures.workers] == [1, 2]
        assert [worker.restarts for worker in figures.workers] == [0, 1]
        assert figures.workers[1].items == 0
    figures = group.statistics()
    assert {(w.pid, w.state, w.rss) for w in figures.workers} == {
        (None, "exited", None)
    }
    assert figures.exits == {"signal": 1, "shutdown": 2}


async def test_a_group_of_none_is_there_and_can_grow():
    async with aioprocq.Supervisor() as supervisor:
        group = await soon(supervisor.start(targets.wait_until_told, count=0))
        await soon(group.wait())
        await soon(group.reload())
        await soon(group.scale(2))
        assert repr(group) == "<WorkerGroup 'wait_until_told' ready=2/2>"


@both_loops
async def test_changes_that_overlap():
    jobs: Any = aioprocq.JoinableQueue()
    results: Any = aioprocq.Queue()
    async with aioprocq.Supervisor() as supervisor:
        group = await supervisor.start(targets.square, jobs, results, count=2)
        await jobs.put_many(range(200))
        changes = [group.scale(4), group.reload(), group.scale(1), group.reload()]
        for done in await soon(asyncio.gather(*changes, return_exceptions=True)):
            assert done is None
        await soon(jobs.join())
        assert (len(pids(group)), group.statistics().ready) == (1, 1)
    assert results.qsize() == 200


@both_loops
async def test_a_worker_that_dies_while_it_is_replaced():
    async with aioprocq.Supervisor() as supervisor:
        events = supervisor.events()
        group = await supervisor.start(targets.wait_until_told, count=2)
        first = pids(group)
        reloading = asyncio.create_task(group.reload())
        await until(events, "starting", lambda e: e.attempt == 2)
        kill(first[0])
        await soon(reloading)
        assert not set(first) & set(pids(group))
        assert (len(pids(group)), group.statistics().ready) == (2, 2)
