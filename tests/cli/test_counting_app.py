import asyncio
import os

import pytest

from aioprocq.cli import counting_app
from aioprocq.cli.counting_app import CountingApp, Plan
from aioprocq.cli.counting_worker import Counted
from aioprocq.cli.progress import SilentProgress
from aioprocq.cli.source_count import FileCount
from aioprocq.errors import WorkersExhausted

POISON = "poison.py"


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.py").write_text(f"def f{number}(): pass\n")
    return tmp_path


def plan_for(folder, workers=2, **more) -> Plan:
    return Plan(str(folder), sorted(os.listdir(folder)), workers, **more)


def die_of_poison(jobs, results, folder):
    """A worker that a certain file kills."""
    for delivery in jobs.sync.deliveries():
        with delivery as path:
            if path == POISON:
                os._exit(9)
            results.sync.put(Counted(os.getpid(), delivery.attempt, FileCount(path)))


def die_at_once(jobs, results, folder):
    os._exit(9)


class LastUpdate(SilentProgress):
    done = 0

    def update(self, done: int, remark: str = "") -> None:
        self.done, self.remark = done, remark


async def test_counts_every_file_once(folder):
    progress = LastUpdate()
    outcome = await CountingApp.run(plan_for(folder), progress)
    assert sorted(outcome.counts) == sorted(os.listdir(folder))
    assert all(count.functions == 1 for count in outcome.counts.values())
    assert (outcome.killed, outcome.crashed, outcome.redelivered) == (0, 0, 0)
    assert outcome.given_up == ()
    assert outcome.seconds > 0
    assert (progress.done, progress.remark) == (20, "")


async def test_nothing_to_count_is_no_work(tmp_path):
    outcome = await CountingApp.run(plan_for(tmp_path, kills=3), SilentProgress())
    assert (outcome.counts, outcome.killed) == ({}, 0)


async def test_kills_as_many_as_planned_even_with_less_jobs_than_kills(tmp_path):
    (tmp_path / "a.py").write_text("def f(): pass\n")
    progress = LastUpdate()
    plan = plan_for(tmp_path, kills=3, seed=1)
    outcome = await CountingApp.run(plan, progress)
    assert outcome.killed == 3
    assert outcome.counts["a.py"].functions == 1
    assert outcome.given_up == ()


async def test_a_file_that_kills_its_workers_is_given_up_on(folder):
    (folder / POISON).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting_app, "count_sources", die_of_poison)
        outcome = await CountingApp.run(plan_for(folder), SilentProgress())
    assert outcome.given_up == (POISON,)
    assert outcome.crashed == counting_app.SPARE_DELIVERIES
    assert outcome.redelivered == counting_app.SPARE_DELIVERIES - 1
    assert len(outcome.counts) == 20


async def test_workers_that_all_die_at_once_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(counting_app, "count_sources", die_at_once)
    with pytest.raises(WorkersExhausted, match="exit code 9"):
        await CountingApp.run(plan_for(folder), SilentProgress())


async def test_leaves_nothing_behind_when_cancelled(folder):
    first_result = asyncio.Event()

    class Watch(SilentProgress):
        def update(self, done: int, remark: str = "") -> None:
            first_result.set()

    # More kills than can happen before the cancellation.
    plan = plan_for(folder, kills=1000)
    run = asyncio.create_task(CountingApp.run(plan, Watch()))
    await first_result.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
