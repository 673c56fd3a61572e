"""A group of workers whose children say what they like, and a clock that stands."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioprocq import Backoff, WorkerError, WorkersExhausted, WorkerStartError
from aioprocq.supervisor.messages import Finished, Ready

from .stand_ins import KILLED, Staging, StubKeeper, exit_code, turns
from .watching import soon

SECOND = Backoff(initial=1.0, maximum=1.0)


class StubParent(StubKeeper):
    """A supervisor that only keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[WorkerError] = []
        self.forgotten: list[Any] = []

    def escalate(self, failure: WorkerError) -> None:
        self.failures.append(failure)

    def forget(self, group: Any) -> None:
        self.forgotten.append(group)


class Stage(Staging):
    """A group, its supervisor, and its children."""

    def __init__(self, monkeypatch: Any) -> None:
        super().__init__(monkeypatch)
        self.parent = StubParent()

    async def make(self, count: int, **changes: Any) -> Any:
        """A group of so many workers that are ready."""
        made = self.group(self.parent, **{"backoff": SECOND, **changes})
        await self.finish(made.begin(count))
        return made

    async def finish(self, change: Any) -> Any:
        """What a change comes to, if every new child gets ready."""
        task = asyncio.ensure_future(change)
        await turns()
        self.get_ready()
        await turns()
        return await soon(task)

    def calls(self) -> list[list[str]]:
        return [child.calls for child in self.nursery.children]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def numbers(group: Any) -> list[int]:
    return [worker.number for worker in group.workers]


# Starting


async def test_a_group_is_there_when_all_are_ready(stage):
    group = stage.group(stage.parent)
    begun = asyncio.ensure_future(group.begin(2))
    await turns()
    first, second = stage.nursery.children
    first.say(Ready())
    await turns()
    assert not begun.done()
    assert repr(group) == "<WorkerGroup 'g' ready=1/2>"
    second.say(Ready())
    await soon(begun)
    assert (first.setup.name, second.setup.name) == ("g-0", "g-1")
    assert repr(group) == "<WorkerGroup 'g' ready=2/2>"


async def test_a_group_of_nobody_is_there_at_once(stage):
    group = await stage.make(0)
    assert (group.workers, stage.nursery.children) == ([], [])


async def test_a_first_process_that_dies_fails_the_start(stage):
    group = stage.group(stage.parent, backoff=SECOND)
    begun = asyncio.ensure_future(group.begin(2))
    await turns()
    first, second = stage.nursery.children
    first.exit(exit_code(3))
    await turns()
    assert second.calls[-1] == "kill"
    second.exit(KILLED)
    with pytest.raises(WorkerStartError, match="worker g-0 did not start") as caught:
        await soon(begun)
    assert "it said nothing" in caught.value.__notes__[0]
    assert stage.parent.forgotten == [group]
    assert group.workers == []


async def test_a_start_that_is_cancelled_leaves_no_process(stage):
    group = stage.group(stage.parent)
    begun = asyncio.ensure_future(group.begin(1))
    await turns()
    begun.cancel()
    await turns()
    assert stage.nursery.last.calls[-1] == "kill"
    assert not begun.done()
    stage.nursery.last.exit(KILLED)
    with pytest.raises(asyncio.CancelledError):
        await soon(begun)
    assert stage.parent.forgotten == [group]


# Scaling


@pytest.mark.parametrize(("count", "error"), [(-1, ValueError), (1.5, TypeError)])
async def test_a_count_that_no_group_can_have_changes_nothing(stage, count, error):
    group = await stage.make(1)
    with pytest.raises(error, match="count"):
        await group.scale(count)
    assert numbers(group) == [0]


async def test_new_workers_take_the_next_numbers(stage):
    group = await stage.make(1)
    await stage.finish(group.scale(3))
    assert numbers(group) == [0, 1, 2]
    assert group.statistics().ready == 3


async def test_superfluous_workers_leave_from_the_end_and_are_waited_for(stage):
    group = await stage.make(3)
    change = asyncio.ensure_future(group.scale(1))
    await turns()
    assert stage.calls() == [[], ["drain"], ["drain"]]
    assert group.statistics().count == 1
    assert numbers(group) == [0, 1, 2]
    assert not change.done()
    for child in stage.nursery.children[1:]:
        child.exit(exit_code(0))
    await soon(change)
    assert numbers(group) == [0]


@pytest.mark.parametrize("max_restarts", [0, 5])
async def test_new_ones_that_do_not_start_are_left_out(stage, max_restarts):
    group = await stage.make(1, max_restarts=max_restarts)
    change = asyncio.ensure_future(group.scale(2))
    await turns()
    stage.nursery.last.exit(exit_code(3))
    with pytest.raises(WorkerStartError, match="g-1 did not start"):
        await soon(change)
    assert numbers(group) == [0]
    assert stage.parent.failures == []


async def test_nothing_is_changed_while_its_supervisor_ends(stage):
    group = await stage.make(1)
    stage.parent.ending = True
    for change in (group.scale(2), group.reload()):
        with pytest.raises(WorkerError, match="'g' is being stopped"):
            await change
    assert len(stage.nursery.children) == 1


# Replacing


async def test_a_reload_stops_nobody_before_the_new_one_is_ready(stage):
    group = await stage.make(1)
    old = stage.nursery.last
    change = asyncio.ensure_future(group.reload())
    await turns()
    new = stage.nursery.last
    assert new is not old
    assert old.calls == []
    new.say(Ready())
    await turns()
    assert (old.calls, change.done()) == (["drain"], False)
    old.exit(exit_code(0))
    await soon(change)
    assert [worker.pid for worker in group.workers] == [new.pid]
    assert group.statistics().restarts == 0


async def test_a_reload_that_fails_leaves_the_old_one(stage):
    group = await stage.make(1)
    old = stage.nursery.last
    change = asyncio.ensure_future(group.reload())
    await turns()
    stage.nursery.last.exit(exit_code(3))
    with pytest.raises(WorkerStartError, match="g-0 did not start"):
        await soon(change)
    assert old.calls == []
    assert [worker.pid for worker in group.workers] == [old.pid]


async def test_who_has_reached_a_limit_is_replaced_once(stage):
    group = await stage.make(1)
    (worker,) = group.workers
    for _ in range(2):
        group.recycle(worker, "items")
    assert stage.calls() == [["drain"], []]
    assert numbers(group) == [0, 0]
    stage.nursery.children[0].exit(exit_code(0))
    assert [one.pid for one in group.workers] == [stage.nursery.last.pid]


async def test_nobody_is_replaced_while_its_supervisor_ends(stage):
    group = await stage.make(1)
    stage.parent.ending = True
    group.recycle(group.workers[0], "items")
    assert stage.calls() == [[]]


# Failing


async def test_only_who_runs_here_can_be_killed(stage):
    group = await stage.make(1)
    with pytest.raises(ValueError, match=r"'g-7' is not running .* there is: g-0"):
        group.kill("g-7")
    group.kill("g-0")
    stage.nursery.last.exit(KILLED)
    assert group.statistics().exits == {"hung": 1}
    with pytest.raises(ValueError, match="there is: none"):
        group.kill("g-0")


async def test_who_fails_too_often_is_the_supervisors_concern(stage):
    group = await stage.make(1, max_restarts=0)
    stage.nursery.last.exit(exit_code(3))
    (failure,) = stage.parent.failures
    assert type(failure) is WorkersExhausted
    assert "worker g-0 failed more than 0 times" in str(failure)
    assert group.statistics().exits == {"error": 1}


async def test_degraded_it_tries_again_from_time_to_time(stage):
    group = await stage.make(1, max_restarts=0, on_exhausted="degrade")
    stage.nursery.last.exit(exit_code(3))
    assert stage.parent.failures == []
    stage.clock.run(1.0)
    assert len(stage.nursery.children) == 2
    stage.get_ready()
    assert group.statistics().ready == 1


# Ending


async def test_all_that_wait_hear_of_the_end(stage):
    group = await stage.make(2)
    waits = [asyncio.ensure_future(group.wait()) for _ in range(2)]
    cancelled = asyncio.ensure_future(group.wait())
    await turns()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    for child in stage.nursery.children:
        assert not any(one.done() for one in waits)
        child.say(Finished())
        child.exit(exit_code(0))
        await turns()
    await soon(asyncio.gather(*waits))


async def test_an_end_that_nobody_told_of_is_found(stage):
    group = await stage.make(1)
    gone = asyncio.ensure_future(group.gone())
    await turns()
    stage.nursery.last.say(Finished())
    stage.nursery.last.unnoticed = exit_code(0)
    stage.clock.run(0.5)
    await soon(gone)
    assert stage.clock.delays == []


async def test_nothing_is_looked_for_after_the_end(stage):
    group = await stage.make(1)
    gone = asyncio.ensure_future(group.gone())
    await turns()
    stage.nursery.last.say(Finished())
    stage.nursery.last.exit(exit_code(0))
    await soon(gone)
    assert stage.clock.delays == []


async def test_who_waits_for_a_restart_is_not_restarted_at_the_end(stage):
    group = await stage.make(1)
    stage.nursery.last.exit(exit_code(3))
    assert group.statistics().restarts == 1
    group.stop_restarts()
    stage.clock.run(10.0)
    assert len(stage.nursery.children) == 1
    await soon(group.wait())


async def test_draining_takes_the_time_that_is_left(stage):
    group = await stage.make(1, drain_timeout=10.0)
    group.drain(stage.clock.now - 4.0)
    assert stage.calls() == [["drain"]]
    assert stage.clock.delays == [6.0]
