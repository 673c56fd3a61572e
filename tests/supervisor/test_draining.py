"""When an app's work is done: told with workers and queues that say what they like."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aioprocq import ExitReason
from aioprocq.drivers.hub_watch import Traffic
from aioprocq.machines.restart import WorkerState
from aioprocq.supervisor import draining
from aioprocq.supervisor.draining import UNDECIDED, until_idle

from .stand_ins import Clock

S = WorkerState
TIME = 100.0
"""Seconds until the deadline: more than any of these takes."""


class Scene:
    """A clock, queues and workers; while it is waited, what is to happen happens."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workers: list[Any] = []
        self.stations: set[Any] = set()
        self.pauses: list[float] = []
        self.script: list[Callable[[], object]] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.run(seconds)
        if self.script:
            self.script.pop(0)()

    def queue(self, **changes: Any) -> Queue:
        queue = Queue(**changes)
        self.stations.add(queue)
        return queue

    def worker(self, *queues: Queue, **changes: Any) -> StubWorker:
        worker = StubWorker(queues, **changes)
        self.workers.append(worker)
        return worker

    async def run(self, seconds: float = TIME) -> bool:
        """Whether all was done before the deadline."""
        deadline = self.clock.now + seconds
        await until_idle(lambda: list(self.workers), lambda: self.stations, deadline)
        return self.clock.now < deadline


class Queue:
    """As its hub shows it."""

    def __init__(
        self, *, put: int = 0, left: int = 0, consumed: bool = True, here: int = 0
    ) -> None:
        self.put = put
        self.unfinished = left
        self.is_consumed = consumed
        self.here = here

    def consumed(self) -> bool:
        return self.is_consumed

    def put_here(self) -> int:
        return self.here

    def settled_so_far(self) -> int | None:
        return None if self.unfinished else self.put

    def finish(self) -> None:
        self.unfinished = 0


class StubWorker:
    """Does nothing but what its test says; ``told`` is what it was."""

    def __init__(
        self,
        stations: tuple[Queue, ...],
        *,
        group: str = "g",
        state: WorkerState = S.READY,
        gets: bool = False,
        puts: int = 0,
        waits: bool | None = True,
        age: float = 0.0,
    ) -> None:
        self.stations = stations
        self.group = group
        self.slot = SimpleNamespace(state=state)
        self.gets = gets
        self.puts = puts
        self.waits = waits
        self.age = age
        self.alive = True
        self.ends_when_told = True
        self.told: list[ExitReason] = []
        self.pings = 0
        self.looks = 0

    def traffic(self) -> list[Traffic]:
        return [Traffic(0, 0, self.puts, self.gets) for _ in self.stations]

    def drain(self, reason: ExitReason) -> None:
        self.told.append(reason)
        if self.ends_when_told:
            self.end()
        else:
            self.slot.state = S.DRAINING

    def end(self) -> None:
        self.alive = False
        self.slot.state = S.EXITED

    def ping(self) -> None:
        self.pings += 1

    def see_to_its_end(self) -> None:
        self.looks += 1


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene()
    monkeypatch.setattr(draining, "time", scene.clock)
    monkeypatch.setattr(draining, "asyncio", SimpleNamespace(sleep=scene.sleep))
    return scene


async def test_without_workers_all_is_done_at_once(scene):
    scene.queue(put=3, left=3)
    assert await scene.run()
    assert scene.pauses == []


async def test_no_look_is_taken_after_the_deadline(scene):
    worker = scene.worker()
    assert not await scene.run(0.0)
    assert (worker.looks, worker.told) == (0, [])


@pytest.mark.parametrize("state", [S.EXITED, S.BACKING_OFF, S.STOPPING, S.FAILED])
async def test_who_does_not_run_is_not_waited_for(scene, state):
    worker = scene.worker(scene.queue(put=1, left=1), gets=True, state=state)
    assert await scene.run()
    assert (worker.told, scene.pauses) == ([], [])


async def test_who_is_dead_is_not_waited_for(scene):
    worker = scene.worker(scene.queue(), gets=True)
    worker.alive = False
    assert await scene.run()
    assert scene.pauses == []


async def test_the_ends_of_workers_are_looked_for_each_time(scene):
    worker = scene.worker(scene.queue(left=1), gets=True)
    scene.script = [lambda: None, worker.end]
    assert await scene.run()
    assert worker.looks == 3


async def test_who_waits_at_finished_queues_has_nothing_left_to_do(scene):
    workers = [scene.worker(scene.queue(put=5), gets=True) for _ in range(2)]
    assert await scene.run()
    assert [one.pings for one in workers] == [1, 1]
    assert [one.told for one in workers] == [[], []]
    assert len(scene.pauses) == 1


async def test_who_has_not_begun_is_waited_for(scene):
    worker = scene.worker(scene.queue(put=5), gets=True, state=S.STARTING)
    scene.script = [
        lambda: None,
        lambda: setattr(worker.slot, "state", S.READY),
    ]
    assert await scene.run()
    assert len(scene.pauses) == 3
    assert worker.pings == 1


async def test_who_finishes_what_it_has_begun_is_waited_for(scene):
    worker = scene.worker(scene.queue(put=5), gets=True, state=S.DRAINING)
    scene.script = [lambda: None, worker.end]
    assert await scene.run()
    assert len(scene.pauses) == 2


async def test_a_queue_that_is_not_finished_is_waited_for(scene):
    queue = scene.queue(put=5, left=1)
    scene.worker(queue, gets=True)
    scene.script = [lambda: None, lambda: None, queue.finish]
    assert await scene.run()
    assert len(scene.pauses) == 4


async def test_a_queue_that_no_worker_gets_from_is_not_waited_for(scene):
    scene.queue(put=5, left=5, consumed=False)
    scene.worker(scene.queue(put=1), gets=True)
    assert await scene.run()
    assert len(scene.pauses) == 1


async def test_who_does_not_wait_is_busy(scene):
    # Its queues are finished: it may be making what it will put.
    worker = scene.worker(scene.queue(put=5), gets=True, waits=None)
    scene.script = [
        lambda: setattr(worker, "waits", False),
        lambda: None,
        lambda: setattr(worker, "waits", True),
    ]
    assert await scene.run()
    assert len(scene.pauses) == 3


async def test_what_was_put_while_they_were_asked_is_waited_for(scene):
    queue = scene.queue(put=5)
    scene.worker(queue, gets=True)
    scene.script = [lambda: setattr(queue, "put", 6)]
    assert await scene.run()
    assert len(scene.pauses) == 2


async def test_what_arrived_while_they_were_asked_is_waited_for(scene):
    queue = scene.queue(put=5)
    scene.worker(queue, gets=True)
    scene.script = [lambda: setattr(queue, "unfinished", 1), lambda: None, queue.finish]
    assert await scene.run()
    assert len(scene.pauses) == 4


async def test_one_who_died_while_it_was_asked_is_not_busy(scene):
    dying = scene.worker(scene.queue(), gets=True, waits=False)
    scene.worker(scene.queue(), gets=True)
    scene.script = [dying.end]
    assert await scene.run()
    assert len(scene.pauses) == 1


async def test_work_without_end_is_given_up_at_the_deadline(scene):
    worker = scene.worker(scene.queue(put=5, left=5), gets=True)
    assert not await scene.run(10.0)
    assert worker.told == []


async def test_the_first_look_is_soon_and_later_ones_are_rarer(scene):
    scene.worker(scene.queue(put=5, left=5), gets=True)
    await scene.run(1.0)
    assert scene.pauses[0] < 0.01
    assert scene.pauses == sorted(scene.pauses)
    assert 0.01 < scene.pauses[-1] <= 0.1


# Workers that get nothing


async def test_who_has_no_queues_is_told_to_finish_at_once(scene):
    worker = scene.worker()
    assert await scene.run()
    assert worker.told == [ExitReason.SHUTDOWN]


async def test_who_only_puts_is_told_to_finish_at_once(scene):
    queue = scene.queue(put=8, left=5, here=3)
    source = scene.worker(queue, puts=5)
    scene.worker(queue, group="other", gets=True)
    assert not await scene.run(1.0)
    assert source.told == [ExitReason.SHUTDOWN]


async def test_a_source_that_has_not_begun_is_left_to_begin(scene):
    source = scene.worker(state=S.STARTING)
    told_before: list[ExitReason] = []

    def begin() -> None:
        told_before.extend(source.told)
        source.slot.state = S.READY

    scene.script = [lambda: None, begin]
    assert await scene.run()
    assert told_before == []
    assert source.told == [ExitReason.SHUTDOWN]


async def test_a_source_is_told_once(scene):
    source = scene.worker(scene.queue(put=1), puts=1)
    source.ends_when_told = False
    scene.script = [lambda: None, lambda: None, source.end]
    assert await scene.run()
    assert source.told == [ExitReason.SHUTDOWN]


async def test_who_gets_and_puts_is_no_source(scene):
    worker = scene.worker(scene.queue(put=5), gets=True, puts=3)
    assert await scene.run()
    assert worker.told == []


@pytest.mark.parametrize("of_the_app", [True, False])
async def test_who_puts_may_get_what_nobody_else_does(scene, of_the_app):
    # It has put something, and has not got yet what the app or another group has put.
    queue = scene.queue(put=1, left=1, consumed=False, here=int(of_the_app))
    worker = scene.worker(queue, puts=1, waits=False)
    if not of_the_app:
        scene.worker(queue, group="other", gets=True, puts=1)
    assert not await scene.run(1.0)
    assert worker.told == []


async def test_what_its_like_has_put_is_no_reason_to_wait_for_a_source(scene):
    queue = scene.queue(put=2, left=2, consumed=False)
    sources = [scene.worker(queue, puts=1) for _ in range(2)]
    assert await scene.run()
    assert [one.told for one in sources] == [[ExitReason.SHUTDOWN]] * 2


# Workers that have done nothing yet


async def test_who_has_done_nothing_for_long_is_told_to_finish(scene):
    worker = scene.worker(scene.queue(), waits=False, age=UNDECIDED + 0.1)
    assert await scene.run()
    assert worker.told == [ExitReason.SHUTDOWN]


async def test_who_has_done_nothing_gets_time_to_begin(scene):
    worker = scene.worker(scene.queue(), waits=False, age=UNDECIDED)
    assert not await scene.run(5.0)
    assert worker.told == []


async def test_who_has_done_nothing_is_told_only_when_the_others_are_idle(scene):
    late = scene.worker(scene.queue(), waits=False, age=UNDECIDED + 0.1)
    busy = scene.worker(scene.queue(), gets=True, waits=False)
    assert not await scene.run(5.0)
    assert late.told == []
    busy.waits = True
    assert await scene.run()
    assert (late.told, busy.told) == ([ExitReason.SHUTDOWN], [])


async def test_who_could_get_what_the_app_has_put_is_left_to_get_it(scene):
    queue = scene.queue(put=1, left=1, consumed=False, here=1)
    worker = scene.worker(queue, waits=False, age=UNDECIDED + 0.1)
    assert not await scene.run(5.0)
    assert worker.told == []
