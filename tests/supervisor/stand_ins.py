"""Workers without processes: a clock that stands, and children that say what they like.

A test moves the clock, and says what the child does; nothing happens by itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from aioprocq.drivers.process import Status
from aioprocq.machines.restart import Verdict
from aioprocq.supervisor import group as group_module
from aioprocq.supervisor import worker as worker_module
from aioprocq.supervisor.child import Departure, Launch
from aioprocq.supervisor.events import HeldItem, WorkerEvent
from aioprocq.supervisor.messages import Ready, Setup
from aioprocq.supervisor.options import Options, check_options
from aioprocq.supervisor.worker import Worker

DEFAULTS: dict[str, Any] = {
    "restart": "on-failure",
    "max_restarts": 5,
    "within": 60.0,
    "backoff": None,
    "on_exhausted": "raise",
    "loop": None,
    "env": None,
    "output": None,
    "max_items": None,
    "max_rss": None,
    "nice": 0,
    "max_age": None,
    "start_timeout": 60.0,
    "drain_timeout": 10.0,
    "stop_timeout": 5.0,
    "job_timeout": None,
    "heartbeat": None,
}

KILLED = Status(signal=9)
TERMINATED = Status(signal=15)
LOST = Status(known=False)
MEMORY = 1 << 20


def options(**changes: Any) -> Options:
    return check_options(**{**DEFAULTS, **changes})


def exit_code(code: int) -> Status:
    return Status(code=code)


class Timer:
    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Stands for ``time``, and for a loop: it goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    monotonic = time

    def call_later(
        self, delay: float, call: Callable[..., object], *args: object
    ) -> Timer:
        timer = Timer(self.now + delay, lambda: call(*args))
        self._timers.append(timer)
        return timer

    def call_soon(self, call: Callable[[], object]) -> Timer:
        return self.call_later(0.0, call)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    @property
    def delays(self) -> list[float]:
        """How long it is until each timer that runs."""
        return sorted(round(t.due - self.now, 3) for t in self._running())

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and each timer go off when it is due."""
        end = self.now + seconds
        while due := [timer for timer in self._running() if timer.due <= end]:
            timer = min(due, key=lambda timer: timer.due)
            self._timers.remove(timer)
            self.now = max(self.now, timer.due)
            timer.call()
        self.now = end

    def _running(self) -> list[Timer]:
        return [timer for timer in self._timers if not timer.cancelled]


class StubProcess:
    def __init__(self) -> None:
        self.is_stopped = False
        self.memory: int | None = MEMORY

    def stopped(self) -> bool:
        return self.is_stopped

    def resident(self) -> int | None:
        return self.memory


class StubChild:
    """A process that does and says what its test wants; ``calls`` is what it was told.

    ``words`` are said when it is read.
    """

    def __init__(self, pid: int, launch: Launch, setup: Setup, listener: Any) -> None:
        self.pid = pid
        self.launch = launch
        self.setup = setup
        self.process = StubProcess()
        self.calls: list[str] = []
        self.words: list[object] = []
        self.shown = ""
        self.last_stacks = ""
        self.unnoticed: Status | None = None
        self._listener = listener

    def drain(self, *, at_once: bool = False) -> None:
        self.calls.append("leave" if at_once else "drain")

    def dump(self) -> None:
        self.calls.append("dump")

    def kill(self) -> None:
        self.calls.append("kill")

    def ping(self) -> None:
        self.calls.append("ping")

    def stacks(self) -> str:
        return self.shown

    def read(self) -> None:
        while self.words:
            self.say(self.words.pop(0))

    def look(self) -> None:
        if self.unnoticed is not None:
            self.exit(self.unnoticed)

    def say(self, message: object) -> None:
        self._listener.heard(message)

    def exit(self, status: Status, *held: HeldItem) -> None:
        self.unnoticed = None
        self._listener.gone(Departure(self.pid, status, held))


class Nursery:
    """Where children are made; each of ``failures`` is raised instead of making one."""

    def __init__(self) -> None:
        self.children: list[StubChild] = []
        self.failures: list[BaseException] = []

    def __call__(self, launch: Launch, setup: Setup, listener: Any) -> StubChild:
        if self.failures:
            raise self.failures.pop(0)
        child = StubChild(7001 + len(self.children), launch, setup, listener)
        self.children.append(child)
        return child

    @property
    def last(self) -> StubChild:
        return self.children[-1]


class StubKeeper:
    """A group that only keeps what it is told."""

    def __init__(self) -> None:
        self.ending = False
        self.events: list[WorkerEvent] = []
        self.changes = 0
        self.recycled: list[str] = []
        self.verdicts: list[Verdict] = []

    def publish(self, event: WorkerEvent) -> None:
        self.events.append(event)

    def changed(self) -> None:
        self.changes += 1

    def recycle(self, worker: Worker, limit: str) -> None:
        self.recycled.append(limit)

    def ended(self, worker: Worker, verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def last(self) -> WorkerEvent:
        return self.events[-1]


class Staging:
    """Clock and nursery, in the place of the real ones."""

    def __init__(self, monkeypatch: Any) -> None:
        self.clock: Any = Clock()
        self.nursery = Nursery()
        self.monkeypatch = monkeypatch
        self.oom_kills = 0
        monkeypatch.setattr(worker_module, "time", self.clock)
        monkeypatch.setattr(worker_module, "Child", self.nursery)
        monkeypatch.setattr(worker_module, "oom_kills", lambda: self.oom_kills)
        monkeypatch.setattr(worker_module.random, "random", lambda: 1.0)
        monkeypatch.setattr(group_module, "time", self.clock)
        monkeypatch.setattr(group_module, "Worker", self._make_worker)

    def _make_worker(self, *args: Any) -> Worker:
        worker = Worker(*args)
        worker._loop = self.clock
        return worker

    def worker(
        self, keeper: StubKeeper, launch: Launch | None = None, **changes: Any
    ) -> Worker:
        def setup(name: str, attempt: int, worker: Worker) -> Any:
            return (name, attempt)

        if launch is None:
            launch = Launch(b"", (), None, None)
        return self._make_worker(keeper, "w", 0, launch, setup, options(**changes))

    def group(self, parent: Any, launch: Any = None, **changes: Any) -> Any:
        if launch is None:
            launch = Launch(b"", (), None, None)
        group: Any = group_module.WorkerGroup(parent, "g", launch, options(**changes))
        group._loop = self.clock
        return group

    def get_ready(self) -> None:
        """All children that have not said so are ready, but for those that are gone."""
        for child in self.nursery.children:
            if child._listener.child is child:
                child.say(Ready())


async def turns(count: int = 12) -> None:
    """Let everybody else have their turns."""
    for _ in range(count):
        await asyncio.sleep(0)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
