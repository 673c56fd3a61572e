"""A group of workers that run the same target.

Invariants:

* ``_places`` has one worker for each number below ``count``; ``_leaving`` has those
  that were replaced or are superfluous and whose processes are not gone yet.
* Everybody who waits for something looks again after each change.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from ..errors import WorkerError, WorkersExhausted, WorkerStartError
from ..machines.restart import ExitReason, Verdict, WorkerState
from .child import NOTHING, Launch
from .events import WorkerEvent
from .logs import levels_here
from .main_module import find_main
from .messages import Setup
from .options import Options, check_number
from .statistics import GroupStatistics, figures
from .worker import Worker

__all__ = ["WorkerGroup"]

_LOOK = 0.5
"""Seconds between two looks at workers whose end is waited for."""


class Parent(Protocol):
    """The supervisor, as a group sees it."""

    @property
    def ending(self) -> bool:
        """Whether nothing is to be started any more."""

    def publish(self, event: WorkerEvent) -> None:
        """Something has happened."""

    def escalate(self, failure: WorkerError) -> None:
        """A group has given up."""

    def forget(self, group: WorkerGroup) -> None:
        """A group did not come to be."""


class WorkerGroup:
    """Worker processes that run one target; made by ``Supervisor.start``."""

    def __init__(
        self, parent: Parent, name: str, launch: Launch, options: Options
    ) -> None:
        self.name = name
        self.options = options
        self._parent = parent
        self._launch = launch
        self._places: dict[int, Worker] = {}
        self._leaving: list[Worker] = []
        self._exits: Counter[str] = Counter()
        self._restarts = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = 0
        self._starting = True
        self._start_failure: WorkerStartError | None = None
        self._reloading = asyncio.Lock()
        self._probing = False
        self._adding: set[asyncio.Future[list[Worker]]] = set()
        self._trials: list[set[Worker]] = []  # those that each ``scale`` waits for

    def __repr__(self) -> str:
        return f"<WorkerGroup {self.name!r} ready={self._ready()}/{len(self._places)}>"

    @property
    def workers(self) -> list[Worker]:
        """All workers, those that are about to leave included."""
        return [*self._places.values(), *self._leaving]

    @property
    def launch(self) -> Launch:
        """What its processes are started with."""
        return self._launch

    @property
    def ending(self) -> bool:
        """Whether nothing is started any more."""
        return self._parent.ending or self._start_failure is not None

    def _ready(self) -> int:
        states = (w.slot.state for w in self._places.values())
        return sum(state is WorkerState.READY for state in states)

    # What users do

    async def scale(self, count: int) -> None:
        """Have so many workers from now on.

        Returns when the new ones are ready, or the superfluous ones have finished
        what they had begun and ended. Cancellation: the change goes on.

        Raises WorkerStartError when new ones do not start; they are left out again.
        """
        check_number(count, "count", 0)
        self._check_running()
        self._wanted = count
        extra = [self._places.pop(n) for n in sorted(self._places) if n >= count]
        for worker in extra:
            self._retire(worker, ExitReason.SCALED_DOWN)
        new = [n for n in range(count) if n not in self._places]
        trial: set[Worker] = set()
        self._trials.append(trial)
        adding = asyncio.ensure_future(self._add_all(new, trial))
        self._adding.add(adding)
        adding.add_done_callback(self._adding.discard)
        try:
            workers = await asyncio.shield(adding)
            await self._until(lambda: all(w.over for w in extra) and _tried(workers))
            await self._check_started(workers)
        finally:
            # Not ``remove``: another one may be equal to it.
            self._trials = [one for one in self._trials if one is not trial]

    async def reload(self) -> None:
        """Replace every process by a new one, one after the other.

        Each new one is ready before the old one is told to finish what it has begun,
        so there are never fewer than before. Cancellation: the replacement that is
        being started is stopped, the rest stays as it is.

        Raises WorkerStartError when a new one does not start: the old one goes on.
        """
        self._check_running()
        async with self._reloading:
            for number in sorted(self._places):
                old = self._places.get(number)
                if old is not None and not old.over:
                    await self._reload_one(old)
            await self._until(lambda: not self._leaving)

    async def _reload_one(self, old: Worker) -> None:
        self._check_running()  # since the last one
        new = self._new_worker(old.number, old)
        self._leaving.append(new)  # until it is ready
        new.start()
        try:
            await self._until(lambda: _tried([new]))
            if not new.slot.ever_ready or new.slot.state is WorkerState.FAILED:
                raise self._start_error(new)
        except BaseException:
            new.stop(ExitReason.RELOAD)
            raise
        if new in self._leaving:  # or it has returned already
            self._leaving.remove(new)
        if self._places.get(old.number) is old:
            self._places[old.number] = new
            old.successor = new
            self._retire(old, ExitReason.RELOAD)
        elif old.number in self._places:  # replaced meanwhile
            self._retire(new, ExitReason.RELOAD)
        else:
            self._retire(new, ExitReason.SCALED_DOWN)

    def kill(self, worker: str) -> None:
        """Kill a worker that hangs; for whoever reads "suspect" events.

        It shows its stacks first, in the "exited" event. What it held is delivered
        again, and the exit counts as a failure, with the reason "hung".

        Raises ValueError if no process of that name is running.
        """
        running = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)
        for one in self.workers:
            if one.name == worker and one.slot.state in running:
                return one.condemn(ExitReason.HUNG)
        names = ", ".join(one.name for one in self.workers if one.alive) or "none"
        raise ValueError(f"{worker!r} is not running in this group; there is: {names}")

    async def wait(self) -> None:
        """Wait until every worker has returned, and none is to be started again.

        Nor are those waited for that were given up (``on_exhausted="degrade"``), though
        one of them is tried again from time to time. Cancellation changes nothing.
        """
        await self._until(lambda: all(worker.over for worker in self.workers))

    def statistics(self) -> GroupStatistics:
        """The figures of this moment."""
        return GroupStatistics(
            name=self.name,
            count=len(self._places),
            ready=self._ready(),
            restarts=self._restarts,
            exits=dict(self._exits),
            workers=tuple(figures(worker) for worker in self.workers),
        )

    def _check_running(self) -> None:
        if self._parent.ending:
            raise WorkerError(
                f"group {self.name!r} is being stopped with its supervisor; change it "
                "inside of the `async with`"
            )

    # Starting

    async def begin(self, count: int) -> None:
        """Start the first generation; return when it is ready."""
        self._wanted = count
        try:
            workers = await self._add_all(range(count))
            if not self._parent.ending:
                self._look_later()
            await self._until(lambda: self._start_failure or _settled(workers))
        except BaseException:
            await self._give_up_start()
            raise
        self._starting = False
        none_ready = workers and not any(w.slot.ever_ready for w in workers)
        if none_ready and not self._parent.ending:  # with restart="never", too
            self._start_failure = self._start_failure or self._start_error(workers[0])
        if self._start_failure is not None:
            await self._give_up_start()
            raise self._start_failure
        if self._parent.ending and not any(w.slot.ever_ready for w in workers):
            raise WorkerStartError(
                f"group {self.name!r} was stopped while it started; its supervisor ends"
            )

    async def _give_up_start(self) -> None:
        self._starting = False
        for worker in self.workers:
            worker.stop(ExitReason.SHUTDOWN)
            worker.kill()
        self._stop_looking()
        self._leaving = [worker for worker in self.workers if not worker.over]
        self._places.clear()
        gone = asyncio.ensure_future(self._until(lambda: not self._leaving))
        try:
            await asyncio.shield(gone)
        finally:
            self._forget_me()
            if not gone.done():
                gone.add_done_callback(self._forget_me)

    def _forget_me(self, *_: object) -> None:
        if not self._leaving:  # or the supervisor waits for them when it ends
            self._parent.forget(self)

    async def _add_all(
        self, numbers: Iterable[int], trial: set[Worker] | None = None
    ) -> list[Worker]:
        workers = []
        for number in numbers:
            if self._parent.ending:  # since the last turn of the others
                break
            if number in self._places or number >= self._wanted:  # scaled meanwhile
                continue
            workers.append(self._add(number))
            if trial is not None:
                trial.add(workers[-1])
            await asyncio.sleep(0)  # others have their turn between two starts
        return workers

    def _add(self, number: int) -> Worker:
        worker = self._places[number] = self._new_worker(number, None)
        worker.start()
        return worker

    def _new_worker(
        self, number: int, old: Worker | None, *, planned: bool = False
    ) -> Worker:
        worker = Worker(
            self, self.name, number, self._launch, self._setup, self.options
        )
        if old is not None:
            worker.slot.succeed(old.slot, planned=planned)
        return worker

    def _setup(self, name: str, attempt: int, worker: Worker) -> Setup:
        options = self.options
        return Setup(
            name=name,
            group=self.name,
            attempt=attempt,
            path=list(sys.path),
            argv=list(sys.argv),
            main=find_main(),
            levels=levels_here(),
            loop=options.loop,
            line_buffered=options.output is not None,
            max_items=_with_jitter(options.max_items, worker.number),
            max_rss=options.max_rss,
            tells_ready=options.tells_ready,
        )

    async def _check_started(self, workers: list[Worker]) -> None:
        # Those that another change has taken away meanwhile have not failed.
        places = self._places
        workers = [w for w in workers if places.get(w.number) is w]
        failed = [w for w in workers if not w.slot.ever_ready]
        if not failed or self._parent.ending:
            return
        error = self._start_error(failed[0])  # before the reason becomes another
        for worker in failed:
            if self._places.get(worker.number) is worker:
                del self._places[worker.number]
            self._leaving.append(worker)
            worker.stop(ExitReason.SCALED_DOWN)
        self._leaving = [worker for worker in self._leaving if not worker.over]
        raise error

    def _start_error(self, worker: Worker) -> WorkerStartError:
        why = worker.slot.reason.value if worker.slot.reason else "no reason known"
        departure = worker.departure
        status = f", {departure.status}" if departure is not None else ""
        text = f"worker {worker.name} did not start: {why}{status}"
        error = WorkerStartError(text)
        error.__cause__ = worker.failure
        for note in getattr(worker.failure, "__notes__", ()):
            error.add_note(note)
        if worker.failure is None:
            error.add_note(
                "aioprocq: it said nothing; see its standard error, or run its module "
                "by itself"
            )
        return error

    # What workers tell

    def publish(self, event: WorkerEvent) -> None:
        """Something has happened to a worker."""
        if event.kind == "exited" and event.reason is not None:
            self._exits[event.reason.value] += 1
            self._check_first(event)
        if event.kind == "backing off":
            self._restarts += 1
        self._parent.publish(event)

    def _check_first(self, event: WorkerEvent) -> None:
        # A target that cannot even be imported is no crash to recover from. The error
        # is made now, before the worker could be started again.
        if not self._starting or self._start_failure is not None:
            return
        if not any(worker.slot.ever_ready for worker in self.workers):
            for worker in self.workers:
                backs_off = worker.slot.state is WorkerState.BACKING_OFF
                if worker.name == event.worker and backs_off:
                    self._start_failure = self._start_error(worker)

    def changed(self) -> None:
        """Have everybody who waits look again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def recycle(self, worker: Worker, limit: str) -> None:
        """Replace a worker that has reached a limit."""
        if self._parent.ending or self._places.get(worker.number) is not worker:
            return
        new = self._new_worker(worker.number, worker, planned=True)
        self._places[worker.number] = worker.successor = new
        self._retire(worker, ExitReason.RECYCLED)
        new.start()

    def _retire(self, worker: Worker, reason: ExitReason) -> None:
        if not worker.over:
            self._leaving.append(worker)
            worker.drain(reason)

    def ended(self, worker: Worker, verdict: Verdict) -> None:
        """A worker's process is gone for good."""
        if worker in self._leaving:
            self._leaving.remove(worker)
        elif verdict is Verdict.GIVE_UP:
            self._exhausted(worker)
        self.changed()

    def _exhausted(self, worker: Worker) -> None:
        if self._starting and not any(w.slot.ever_ready for w in self.workers):
            self._start_failure = self._start_failure or self._start_error(worker)
            return
        on_trial = any(worker in trial for trial in self._trials)
        if on_trial and not worker.slot.ever_ready:
            return  # ``scale`` says so, and leaves it out again
        if not self.options.degrade:
            self._parent.escalate(self._exhaustion(worker))
        elif not self._probing:
            self._probing = True
            self._loop.call_later(self.options.rules.backoff.maximum, self._probe)

    def _exhaustion(self, worker: Worker) -> WorkersExhausted:
        departure = worker.departure
        status = "was not started" if departure is None else str(departure.status)
        held = ""
        if departure is not None and departure.held:
            names = Counter(item.queue for item in departure.held)
            held = "; it held " + ", ".join(f"{n} of {q!r}" for q, n in names.items())
        rules = self.options.rules
        error = WorkersExhausted(
            f"worker {worker.name} failed more than {rules.max_restarts} times within "
            f"{rules.within:g} s; the last time: {status}{held}"
        )
        error.__cause__ = worker.failure
        return error

    # Degraded: one probe for all that were given up

    def _probe(self) -> None:
        self._probing = False
        failed = [
            worker
            for worker in self._places.values()
            if worker.slot.state is WorkerState.FAILED
        ]
        if not failed or self._parent.ending:
            return
        self._probing = True
        failed[0].again()
        stable = self.options.rules.backoff.stable_after
        self._loop.call_later(stable, self._probed, failed[0])

    def _probed(self, worker: Worker) -> None:
        self._probing = False
        if self._parent.ending:
            return
        if worker.slot.state is WorkerState.READY:
            for other in self._places.values():
                if other.slot.state is WorkerState.FAILED:
                    other.again()
        else:
            self._probing = True
            self._loop.call_later(self.options.rules.backoff.maximum, self._probe)

    # Health

    def _look_later(self) -> None:
        interval = self.options.interval
        if interval is not None:
            self._timer = self._loop.call_later(max(0.01, interval), self._look)

    def _look(self) -> None:
        for worker in list(self._places.values()):
            worker.check()
        self._look_later()

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Ending

    def stop_restarts(self) -> None:
        """Nothing is started any more, also of what waits for a restart."""
        self._stop_looking()
        for worker in self.workers:
            if worker.slot.state is WorkerState.BACKING_OFF:
                worker.drain(ExitReason.SHUTDOWN)

    def drain(self, since: float) -> None:
        """Let all workers finish what they have begun, in the time that is left."""
        left = self.options.drain_timeout - (time.monotonic() - since)
        for worker in self.workers:
            worker.drain(ExitReason.SHUTDOWN, max(0.0, left))

    def release(self) -> None:
        """Nothing is started from here any more: let go of the queues."""
        self._launch = NOTHING
        for worker in self.workers:
            worker.release()

    def stop(self) -> None:
        """Interrupt all workers."""
        self._stop_looking()
        for worker in self.workers:
            worker.stop(ExitReason.SHUTDOWN)

    def hurry(self) -> None:
        """Whoever waits for the end has lost patience."""
        for worker in self.workers:
            worker.hurry()

    async def gone(self) -> None:
        """Wait until no process is left.

        A second Ctrl-C is raised wherever the loop is. It may have cut short what
        was to stop a worker, or to tell of its end, so this looks for itself, too.
        """
        while self._see_to_ends():
            look = self._loop.call_later(_LOOK, self.changed)
            try:
                await self._change()
            finally:
                look.cancel()

    def _see_to_ends(self) -> bool:
        for worker in self.workers:
            worker.see_to_its_end()
        return any(worker.alive for worker in self.workers)

    async def _until(self, reached: Callable[[], object]) -> None:
        while not reached():
            await self._change()

    async def _change(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)


def _tried(workers: list[Worker]) -> bool:
    backing_off = WorkerState.BACKING_OFF
    return all(_settled([w]) or w.slot.state is backing_off for w in workers)


def _settled(workers: list[Worker]) -> bool:
    return all(w.slot.ever_ready or w.over for w in workers)


def _with_jitter(limit: int | None, number: int) -> int | None:
    # So that workers that began together are not replaced together.
    return None if limit is None else max(1, limit - (number % 8) * (limit // 80))
