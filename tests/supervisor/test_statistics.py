"""The figures of workers, and of their group."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from aioprocq import Backoff
from aioprocq.drivers.hub_watch import Traffic
from aioprocq.supervisor.child import Launch
from aioprocq.supervisor.messages import Ready
from aioprocq.supervisor.statistics import (
    GroupStatistics,
    WorkerStatistics,
    figures,
)

from .stand_ins import MEMORY, Staging, StubKeeper, exit_code


class StubStation:
    """A queue that has handed so many items to each process."""

    def __init__(self, handed: int) -> None:
        self.handed = handed

    def traffic(self, pid: int) -> Traffic:
        return Traffic(self.handed, 0, 0, True)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Staging:
    return Staging(monkeypatch)


def make(stage: Staging, *stations: Any) -> Any:
    launch = Launch(b"", stations, None, None)
    second = Backoff(initial=1.0, maximum=1.0)
    return stage.worker(StubKeeper(), launch, backoff=second)


async def test_a_worker_that_was_never_started_has_done_nothing(stage):
    assert figures(make(stage, StubStation(3))) == WorkerStatistics(
        name="w-0",
        pid=None,
        state="exited",
        attempt=0,
        restarts=0,
        age=0.0,
        items=0,
        rss=None,
    )


async def test_a_worker_at_work(stage):
    worker = make(stage, StubStation(3), StubStation(4))
    worker.start()
    stage.nursery.last.say(Ready())
    stage.clock.run(2.5)
    assert figures(worker) == WorkerStatistics(
        name="w-0",
        pid=7001,
        state="ready",
        attempt=1,
        restarts=0,
        age=2.5,
        items=7,
        rss=MEMORY,
    )


async def test_where_nothing_tells_its_memory_there_is_no_figure_of_it(stage):
    worker = make(stage)
    worker.start()
    stage.nursery.last.process.memory = None
    assert figures(worker).rss is None


async def test_a_worker_that_failed_and_was_started_again(stage):
    worker = make(stage)
    worker.start()
    stage.nursery.last.say(Ready())
    stage.nursery.last.exit(exit_code(3))
    assert (figures(worker).state, figures(worker).pid) == ("backing off", None)
    stage.clock.run(1.0)
    found = figures(worker)
    assert (found.state, found.pid) == ("starting", 7002)
    assert (found.attempt, found.restarts, found.age) == (2, 1, 0.0)


async def test_figures_are_of_one_moment(stage):
    worker = make(stage)
    before = figures(worker)
    worker.start()
    assert before.state == "exited"
    group = GroupStatistics("g", 1, 0, 0, {}, (before,))
    for frozen in (before, group):
        with pytest.raises(dataclasses.FrozenInstanceError):
            frozen.name = "another"  # type: ignore[misc]
