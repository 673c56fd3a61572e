"""When a worker is started again, and when it is given up.

It does no I/O and reads no clock: one ``Slot`` is the place of one worker, and its
driver tells it what happened to the process that runs there.

Invariants:

* ``due`` is set while the slot is backing off, and only then.
* ``planned`` is set only while a process is draining or stopping for that reason.
* A planned exit never counts; what counts lies within the window, and a slot that
  has more of it than the limit has failed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "PLANNED",
    "Backoff",
    "Exit",
    "ExitReason",
    "RestartPolicy",
    "Rules",
    "Slot",
    "Verdict",
    "WorkerState",
]


class WorkerState(Enum):
    """Where a worker is between its first start and its end."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    EXITED = "exited"
    BACKING_OFF = "backing off"
    FAILED = "failed"


class ExitReason(Enum):
    """Why a worker process ended."""

    CLEAN = "clean"
    ERROR = "error"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out-of-memory suspected"
    BOOT_FAILED = "boot failed"
    START_TIMED_OUT = "start timed out"
    HUNG = "hung"
    DEADLINE = "deadline"
    RECYCLED = "recycled"
    SCALED_DOWN = "scaled down"
    RELOAD = "reload"
    SHUTDOWN = "shutdown"


# The more final a plan, the further back: it overrides those before it.
_PLANS = (
    ExitReason.RECYCLED,
    ExitReason.RELOAD,
    ExitReason.SCALED_DOWN,
    ExitReason.SHUTDOWN,
)
PLANNED = frozenset(_PLANS)
"""The reasons that are somebody's will; they never count as failures."""

_CRASHES = (ExitReason.ERROR, ExitReason.SIGNAL, ExitReason.OUT_OF_MEMORY)
_CONDEMNED = (ExitReason.START_TIMED_OUT, ExitReason.HUNG, ExitReason.DEADLINE)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a worker that failed is started again.

    A random time between zero and a limit that grows with each failure in a row:
    "full jitter", after "Exponential Backoff And Jitter" (AWS Architecture Blog,
    2015), so that workers that failed together do not come back together.

    Args:
        initial: the limit after the first failure, in seconds.
        maximum: what the limit never exceeds, in seconds.
        factor: by what it grows with each further failure.
        stable_after: a worker that was ready for so many seconds has recovered: the
            next failure counts as the first.
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    stable_after: float = 10.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "factor", "stable_after"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                kind = type(value).__name__
                raise TypeError(f"{name} must be a number, not {kind}")
            if not _finite(value):
                raise ValueError(f"{name} must be finite and fit into a float")
        for name, least in (
            ("initial", 0),
            ("maximum", self.initial),
            ("factor", 1),
            ("stable_after", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be {least:g} or more, not {value:g}")

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row.

        Args:
            chance: a random number between 0 and 1.
        """
        try:
            # Of a whole factor, Python would compute all the digits.
            limit = self.initial * float(self.factor) ** (failures - 1)
        except OverflowError:
            limit = self.maximum if self.initial else 0.0
        return chance * min(self.maximum, limit)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


class RestartPolicy(Enum):
    """After which exits a worker is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a group's workers are restarted by."""

    restart: RestartPolicy
    max_restarts: int
    within: float
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended, as its driver saw it."""

    reason: ExitReason


class Verdict(Enum):
    """What is to be done after an exit."""

    RESTART = "restart"  # at ``due``
    REPLACE = "replace"  # at once; it does not count
    DONE = "done"
    GIVE_UP = "give up"


_S = WorkerState
_NEXT: dict[tuple[WorkerState, str], WorkerState] = {
    (_S.EXITED, "start"): _S.STARTING,
    (_S.BACKING_OFF, "start"): _S.STARTING,
    (_S.STARTING, "ready"): _S.READY,
    (_S.STARTING, "drain"): _S.DRAINING,
    (_S.READY, "drain"): _S.DRAINING,
    (_S.DRAINING, "drain"): _S.DRAINING,
    (_S.BACKING_OFF, "drain"): _S.EXITED,
    (_S.STARTING, "stop"): _S.STOPPING,
    (_S.READY, "stop"): _S.STOPPING,
    (_S.DRAINING, "stop"): _S.STOPPING,
    (_S.BACKING_OFF, "stop"): _S.EXITED,
    (_S.STARTING, "exited"): _S.EXITED,
    (_S.READY, "exited"): _S.EXITED,
    (_S.DRAINING, "exited"): _S.EXITED,
    (_S.STOPPING, "exited"): _S.EXITED,
    (_S.FAILED, "cleared"): _S.EXITED,
    (_S.EXITED, "cleared"): _S.EXITED,
}


class Slot:
    """The place of one worker."""

    __slots__ = (
        "_chance",
        "_condemned",
        "_ready_at",
        "_rules",
        "_window",
        "attempt",
        "due",
        "ever_ready",
        "failures",
        "planned",
        "reason",
        "restarts",
        "state",
    )

    def __init__(self, rules: Rules, chance: Callable[[], float]) -> None:
        self._rules = rules
        self._chance = chance
        self.state = WorkerState.EXITED
        self.attempt = self.failures = self.restarts = 0
        self.reason: ExitReason | None = None
        self.planned: ExitReason | None = None
        self.due: float | None = None
        self.ever_ready = False
        self._condemned: ExitReason | None = None
        self._ready_at: float | None = None
        self._window: deque[float] = deque()

    def __repr__(self) -> str:
        reason = f" ({self.reason.value})" if self.reason else ""
        return (
            f"<Slot {self.state.value}{reason} attempt={self.attempt} "
            f"failures={self.failures}>"
        )

    def succeed(self, old: Slot, *, planned: bool) -> None:
        """Take the place of another one; with ``planned``, its failures still count."""
        self.attempt, self.restarts = old.attempt, old.restarts
        if planned:
            self.failures = old.failures
            self._window = old._window.copy()

    def _go(self, event: str) -> WorkerState:
        before = self.state
        after = _NEXT.get((before, event))
        if after is None:
            raise RuntimeError(f"{event!r} cannot happen to a worker that is {before}")
        self.state = after
        return before

    def start(self, now: float) -> None:
        """A process is started."""
        self._go("start")
        self.attempt += 1
        self.due = self.reason = self._ready_at = None

    def ready(self, now: float) -> None:
        """The process is ready."""
        self._go("ready")
        self.ever_ready = True
        self._ready_at = now

    def drain(self, reason: ExitReason) -> None:
        """The process is to finish what it has begun, and end."""
        if reason not in PLANNED:
            raise RuntimeError(f"nobody drains a worker for {reason}")
        self._go("drain")
        self._plan(reason)

    def stop(self, reason: ExitReason) -> None:
        """The process is to end now."""
        if reason not in PLANNED and reason not in _CONDEMNED:
            raise RuntimeError(f"nobody stops a worker for {reason}")
        if self.state is WorkerState.BACKING_OFF and reason not in PLANNED:
            raise RuntimeError(f"there is no process to stop for {reason}")
        self._go("stop")
        if reason in PLANNED:
            self._plan(reason)
        else:
            self._condemned = self.reason = reason

    def _plan(self, reason: ExitReason) -> None:
        if self.planned is None or _PLANS.index(reason) > _PLANS.index(self.planned):
            self.planned = reason
        self.reason = self.planned
        if self.state is WorkerState.EXITED:  # there was no process
            self.planned = self.due = None

    def exited(self, exit: Exit, now: float) -> Verdict:
        """The process is gone."""
        if exit.reason in PLANNED:
            raise RuntimeError(f"{exit.reason} is a plan, not what a driver sees")
        before = self._go("exited")
        plan, self.planned = self.planned, None
        condemned, self._condemned = self._condemned, None
        reason = condemned or exit.reason
        crashed = condemned is not None or (
            exit.reason in _CRASHES and before is not WorkerState.STOPPING
        )
        self.reason = plan if plan and not crashed else reason
        if plan is not None and (not crashed or plan is not ExitReason.RECYCLED):
            return Verdict.REPLACE if plan is ExitReason.RECYCLED else Verdict.DONE
        policy = self._rules.restart
        if policy is RestartPolicy.NEVER or (
            policy is RestartPolicy.ON_FAILURE and reason is ExitReason.CLEAN
        ):
            return Verdict.DONE
        return self._failed(now)

    def _failed(self, now: float) -> Verdict:
        rules = self._rules
        stable = rules.backoff.stable_after
        if self._ready_at is not None and now - self._ready_at >= stable:
            self.failures = 0
        self.failures += 1
        self._window.append(now)
        while self._window[0] < now - rules.within:
            self._window.popleft()
        if len(self._window) > rules.max_restarts:
            self.state = WorkerState.FAILED
            return Verdict.GIVE_UP
        self.restarts += 1
        self.state = WorkerState.BACKING_OFF
        self.due = now + rules.backoff.delay(self.failures, self._chance())
        return Verdict.RESTART

    def cleared(self) -> None:
        """Everything that was counted is forgiven."""
        self._go("cleared")
        self.failures = 0
        self._window.clear()

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        leaving = (WorkerState.DRAINING, WorkerState.STOPPING)
        assert (self.due is not None) == (self.state is WorkerState.BACKING_OFF)
        assert self.planned is None or self.state in leaving
        assert len(self._window) <= self._rules.max_restarts + 1
        if self.state is WorkerState.FAILED:
            assert len(self._window) > self._rules.max_restarts
