"""One worker of a group: a slot of the restart machine, and the process in it.

Invariants:

* What happens next is decided by the slot; this starts, tells, kills and waits.
* At most one timer of each kind runs, and none of a process that is gone.
* Every change of state is published once, and the group is told of it.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from typing import Protocol

from ..drivers.hub_station import HubStation
from ..drivers.hub_watch import Traffic
from ..drivers.log import logger
from ..machines.restart import Exit, ExitReason, Slot, Verdict, WorkerState
from .boot import TERMINATED
from .child import NOTHING, Child, Departure, Launch
from .events import WorkerEvent
from .logs import handle_log
from .messages import Failed, Finished, Log, Pong, Ready, Recycle, Setup
from .options import Options
from .remote import text_of

__all__ = ["Keeper", "Worker"]

DUMP_TIME = 0.5
"""Seconds between asking for the stacks of what does not stop, and killing it."""

_LATEST = 1.0
"""Seconds that a timer may be late before it counts as one that was lost."""

_JITTER = 0.1
_RUNNING = (WorkerState.STARTING, WorkerState.READY)
_ENDING = (WorkerState.DRAINING, WorkerState.STOPPING)


class Keeper(Protocol):
    """Who is told what becomes of a worker: its group."""

    @property
    def ending(self) -> bool:
        """Whether nothing is started any more."""

    def publish(self, event: WorkerEvent) -> None:
        """Something has happened."""

    def changed(self) -> None:
        """Look again at what was waited for."""

    def recycle(self, worker: Worker, limit: str) -> None:
        """The worker has reached a limit, and is to be replaced."""

    def ended(self, worker: Worker, verdict: Verdict) -> None:
        """The worker's process is gone, and it is not started again by itself."""


class Worker:
    """One place in a group."""

    def __init__(
        self,
        keeper: Keeper,
        group: str,
        number: int,
        launch: Launch,
        setup: Callable[[str, int, Worker], Setup],
        options: Options,
    ) -> None:
        self.number = number
        self.name = f"{group}-{number}"
        self.slot = Slot(options.rules, random.random)
        self.child: Child | None = None
        self.failure: BaseException | None = None
        self.departure: Departure | None = None
        self.successor: Worker | None = None
        self.waits: bool | None = None
        self._keeper = keeper
        self.group = group
        self._launch = launch
        self._setup = setup
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._dues: dict[str, float] = {}
        self._finished = False
        self._ready_at = 0.0
        self._oom_kills = 0
        self._pinged: float | None = None
        self._suspect = False
        self._settled = 0
        self._job_since: float | None = None
        self._condemned = False
        self._unwanted = False
        self._due_limit: str | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} {self.slot.state.value} pid={self.pid}>"

    @property
    def pid(self) -> int | None:
        """The process that runs in this place now."""
        return None if self.child is None else self.child.pid

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.child is not None

    @property
    def over(self) -> bool:
        """Whether there is no process, and none will be started by itself."""
        return self.slot.state in (WorkerState.EXITED, WorkerState.FAILED)

    @property
    def age(self) -> float:
        """Seconds since its process was ready; 0 before, and without one."""
        if not self._ready_at or self.child is None:
            return 0.0
        return time.monotonic() - self._ready_at

    @property
    def stations(self) -> tuple[HubStation, ...]:
        """The app's queues among its arguments."""
        return self._launch.stations

    # Starting

    def start(self) -> None:
        """Start a process."""
        self._cancel_timers()
        self.slot.start(time.monotonic())
        self.failure = self.departure = None
        self._finished = self._condemned = self._suspect = False
        self._pinged = self.waits = None
        self._ready_at = 0.0
        self._oom_kills = oom_kills()
        self._settled, self._job_since = 0, None
        self._due_limit = None
        try:
            setup = self._setup(self.name, self.slot.attempt, self)
            self.child = Child(self._launch, setup, self)
        except Exception as failure:
            failure.add_note(f"aioprocq: worker {self.name} could not be started")
            self.failure = failure
            self._loop.call_soon(self._not_started)
            return
        self._tell("starting")
        self._after("start", self._options.start_timeout, self._start_timed_out)

    def _not_started(self) -> None:
        if self.slot.state is WorkerState.STARTING:
            self._exited(ExitReason.BOOT_FAILED, None)
        elif not self.over:
            self._exited(ExitReason.CLEAN, None)

    def _start_timed_out(self) -> None:
        if self.slot.state is WorkerState.STARTING:
            self.condemn(ExitReason.START_TIMED_OUT)

    def condemn(self, reason: ExitReason, dump_time: float = DUMP_TIME) -> None:
        """Have it show where it is, and kill it; it counts as a failure."""
        self.slot.stop(reason)
        self._tell("stopping", reason=reason)
        self._dump(dump_time)

    # What the process says

    def heard(self, message: object) -> None:
        """A message of the process."""
        match message:
            case Ready():
                self._ready()
            case Finished():
                self._finished = True
            case Failed(failure):
                self.failure = failure.rebuild(self.name)
            case Recycle(limit):
                if self.slot.state is WorkerState.READY:
                    self._keeper.recycle(self, limit)
                elif self.slot.state is WorkerState.STARTING:
                    self._due_limit = limit  # it tells later that it is ready
            case Pong(waits):
                self._pinged, self._suspect, self.waits = None, False, waits
                self._keeper.changed()
            case Log(record):
                self._log(record)
            case _:
                logger.error("%s sent something unknown: %r", self.name, message)

    def _log(self, record: dict[str, object]) -> None:
        try:
            handle_log(record)
        except Exception:
            logger.exception("a log record of %s could not be handled", self.name)

    def _ready(self) -> None:
        if self.slot.state is not WorkerState.STARTING:
            return
        self._cancel("start")
        self._ready_at = time.monotonic()
        self.slot.ready(self._ready_at)
        self._tell("ready")
        if self._options.max_age is not None:
            age = self._options.max_age * (1 - _JITTER * random.random())
            self._after("age", age, self._aged)
        self._keeper.changed()
        if self._due_limit is not None:
            self._keeper.recycle(self, self._due_limit)

    def _aged(self) -> None:
        if self.slot.state is WorkerState.READY:
            self._keeper.recycle(self, "age")

    # Ending it

    def drain(self, reason: ExitReason, within: float | None = None) -> None:
        """Let it finish what it has begun, then end; by force if it takes too long."""
        if within is None:
            within = self._options.drain_timeout
        self._unwanted = True  # also where it is condemned and takes no plan
        state = self.slot.state
        if state is WorkerState.BACKING_OFF:
            self._cancel_timers()
            self.slot.drain(reason)
            self._keeper.ended(self, Verdict.DONE)
        elif state in (*_RUNNING, WorkerState.DRAINING):
            self.slot.drain(reason)
            if state is not WorkerState.DRAINING:
                self._tell("draining", reason=reason)
                self._after("drain", within, self._overdue)
                if self.child is not None:
                    self.child.drain()

    def _overdue(self) -> None:
        self.stop(self.slot.planned or ExitReason.SHUTDOWN)

    def stop(self, reason: ExitReason) -> None:
        """Interrupt it, then kill it."""
        if self.slot.state is WorkerState.BACKING_OFF:
            self.drain(reason)
            return
        self._unwanted = True
        if self.slot.state not in (*_RUNNING, WorkerState.DRAINING):
            return
        self.slot.stop(reason)
        self._cancel_timers()
        self._tell("stopping", reason=reason)
        if self.child is None:
            return
        if self.child.process.stopped():
            self.kill()  # it would take no notice
            return
        self.child.drain(at_once=True)
        self._after("stop", self._options.stop_timeout, self._dump)

    def _dump(self, dump_time: float = DUMP_TIME) -> None:
        self._cancel_timers()
        self._condemned = True
        if self.child is None:
            return
        self.child.dump()
        self._after("kill", dump_time, self.kill)

    def kill(self) -> None:
        """Kill it and its process group."""
        self._cancel_timers()
        if self.child is not None:
            self._condemned = True
            self.child.kill()

    def release(self) -> None:
        """Let go of the app's queues: it is never started again."""
        self._launch = NOTHING

    def hurry(self) -> None:
        """Whoever waits for its end has lost patience."""
        if self.slot.state is WorkerState.STOPPING:
            self.kill()
        else:
            self.stop(self.slot.planned or ExitReason.SHUTDOWN)

    def see_to_its_end(self) -> None:
        """Go on with its end where that was cut short."""
        if self.child is not None:
            self.child.look()
        if self.slot.state in _ENDING and not self._is_limited():
            self.kill()

    def _is_limited(self) -> bool:
        due = self._loop.time() - _LATEST
        limits = ("drain", "stop", "kill")
        return any(self._dues[kind] > due for kind in limits if kind in self._timers)

    # It is gone

    def gone(self, departure: Departure) -> None:
        """The process has ended."""
        child, self.child = self.child, None
        stacks = "" if child is None else child.last_stacks
        self.departure = departure
        self._exited(self._classify(departure), departure, stacks)

    def _classify(self, departure: Departure) -> ExitReason:
        status, state = departure.status, self.slot.state
        if state is WorkerState.STOPPING and status.code in (0, TERMINATED):
            return ExitReason.CLEAN
        if status.signal == signal.SIGTERM and self.slot.planned is not None:
            return ExitReason.CLEAN  # told to drain when it was about to end anyway
        if status.signal is not None and self._ready_at:
            killed = status.signal == signal.SIGKILL and not self._condemned
            if killed and oom_kills() > self._oom_kills:
                return ExitReason.OUT_OF_MEMORY
            return ExitReason.SIGNAL
        if not self._ready_at:
            return ExitReason.BOOT_FAILED
        if self._finished and status.code in (0, None):
            return ExitReason.CLEAN
        return ExitReason.ERROR

    def _exited(
        self, reason: ExitReason, departure: Departure | None, stacks: str = ""
    ) -> None:
        self._cancel_timers()
        verdict = self.slot.exited(Exit(reason), time.monotonic())
        status = str(departure.status) if departure is not None else "not started"
        held = departure.held if departure is not None else ()
        self._tell("exited", status=status, held=held, detail=stacks)
        self._report(status)
        # It may have been replaced already, or nobody needs it any more.
        replaced = self.successor is not None
        unwanted = replaced or self._unwanted or self._keeper.ending
        if verdict is Verdict.RESTART and unwanted:
            self.slot.drain(ExitReason.SHUTDOWN)
            self._keeper.ended(self, Verdict.DONE)
        elif verdict is Verdict.RESTART:
            self._back_off()
        elif verdict is Verdict.REPLACE and not unwanted:
            self.start()
        else:
            if verdict is Verdict.GIVE_UP:
                self._tell("failed", status=status, held=held)
            self._keeper.ended(self, verdict)
        self._keeper.changed()

    def _report(self, status: str) -> None:
        reason = self.slot.reason
        if reason is None or reason in _QUIET:
            return
        how = status if reason is ExitReason.SIGNAL else f"{reason.value}, {status}"
        if self.failure is not None:
            how += f": {type(self.failure).__name__}: {text_of(self.failure)}"
        logger.warning("worker %s ended: %s", self.name, how)

    def _back_off(self) -> None:
        delay = max(0.0, (self.slot.due or 0.0) - time.monotonic())
        self._tell("backing off", detail=f"for {delay:.2f} s")
        self._after("back off", delay, self.start)

    def again(self) -> None:
        """Start anew after it was given up, with what was counted forgotten."""
        self.slot.cleared()
        self.start()

    # Health

    def traffic(self) -> list[Traffic]:
        """What it has done with the app's queues."""
        pid = self.pid
        if pid is None:
            return []
        return [station.traffic(pid) for station in self._launch.stations]

    @property
    def resident(self) -> int | None:
        """Bytes of memory that its process has resident."""
        return None if self.child is None else self.child.process.resident()

    def ping(self) -> None:
        """Ask whether it is alive, and whether it waits for something to do."""
        self.waits = None
        if self.child is not None:
            self.child.ping()

    def check(self) -> None:
        """From time to time: look whether something is wrong with it."""
        if self.child is None or self.slot.state is not WorkerState.READY:
            return
        self.child.read()  # this loop may have been late, not the worker
        limit = self._options.max_rss
        if limit is not None and (self.resident or 0) > limit:
            self._keeper.recycle(self, "memory")
        elif self.slot.state is WorkerState.READY:
            self._check_job()
            self._check_pulse()

    def _check_job(self) -> None:
        limit = self._options.job_timeout
        if limit is None:
            return
        traffic, now = self.traffic(), time.monotonic()
        handed = sum(t.handed for t in traffic)
        settled = sum(t.settled for t in traffic)
        if handed <= settled:
            self._job_since = None
        elif self._job_since is None or settled != self._settled:
            self._job_since = now  # at the latest
        elif now - self._job_since > limit:
            self.condemn(ExitReason.DEADLINE)
        self._settled = settled

    def _check_pulse(self) -> None:
        limit, now = self._options.heartbeat, time.monotonic()
        if limit is None or self.child is None:
            return
        if self._pinged is None:
            self._pinged = now
            self.child.ping()
        elif not self._suspect and now - self._pinged >= 2 * limit:
            self._suspect = True
            self.child.dump()
            self._after("suspect", DUMP_TIME, self._tell_suspicion)

    def _tell_suspicion(self) -> None:
        if self.child is not None and self._suspect:
            self._tell("suspect", detail=self.child.stacks())

    # Helpers

    def _tell(self, kind: str, **more: object) -> None:
        more.setdefault("reason", self.slot.reason)
        event = WorkerEvent(
            kind,
            self.group,
            self.name,
            self.pid or (self.departure and self.departure.pid) or None,
            self.slot.attempt,
            time.time(),
            failure=self.failure,
            **more,  # type: ignore[arg-type]
        )
        self._keeper.publish(event)

    def _after(self, kind: str, delay: float, call: Callable[[], object]) -> None:
        self._cancel(kind)
        self._timers[kind] = self._loop.call_later(delay, call)
        self._dues[kind] = self._loop.time() + delay

    def _cancel(self, kind: str) -> None:
        timer = self._timers.pop(kind, None)
        if timer is not None:
            timer.cancel()

    def _cancel_timers(self) -> None:
        for kind in list(self._timers):
            self._cancel(kind)


_QUIET = frozenset(
    {
        ExitReason.CLEAN,
        ExitReason.RECYCLED,
        ExitReason.SCALED_DOWN,
        ExitReason.RELOAD,
        ExitReason.SHUTDOWN,
    }
)


def oom_kills() -> int:
    """How many processes the kernel has killed for memory; 0 where nothing tells."""
    try:
        with open("/proc/vmstat", "rb") as figures:
            for line in figures:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
