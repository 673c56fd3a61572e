"""The jobs of a pool: which wait, which are out with the workers, which are over.

Invariants:

* A job is WAITING, SENT, ABANDONED or OVER, and is over once.
* At most ``window`` jobs are SENT or ABANDONED: so many lie in the queue, or run.
* Nothing is WAITING while the window has room, after ``next`` was called.
* What an abandoned job answers reaches nobody. It counts until its answer, or its
  worker's death, has come, because until then it may run.
* A job is lost at most ``retries`` times; the next time it is given up. What has
  not started is lost for nothing.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any

__all__ = ["Fate", "Job", "JobState", "Jobs"]


class JobState(Enum):
    """Where a job is."""

    WAITING = "waiting"
    SENT = "sent"
    ABANDONED = "abandoned"
    OVER = "over"


class Fate(Enum):
    """What becomes of a job whose worker has died."""

    RETRIED = "retried"
    CRASHED = "crashed"
    FORGOTTEN = "forgotten"


class Job:
    """One call that somebody waits for.

    ``tag`` is for whoever submitted it, ``attempt`` the number of times that it
    has been sent.
    """

    __slots__ = ("attempt", "ident", "state", "tag")

    def __init__(self, ident: int, tag: Any) -> None:
        self.ident = ident
        self.tag = tag
        self.attempt = 0
        self.state = JobState.WAITING

    def __repr__(self) -> str:
        return f"<Job {self.ident} {self.state.value} attempt={self.attempt}>"


class Jobs:
    """The jobs of one pool."""

    def __init__(self, window: int, retries: int = 0) -> None:
        self.window = window
        self.retries = retries
        self.sent: dict[int, Job] = {}
        self._waiting: deque[Job] = deque()
        self._dropped = 0
        self.done = self.crashed = self.retried = self.abandoned = 0
        self._submitted = 0

    def __repr__(self) -> str:
        return f"<Jobs waiting={self.waiting} sent={len(self.sent)} done={self.done}>"

    @property
    def waiting(self) -> int:
        """Jobs that were not sent yet."""
        return len(self._waiting) - self._dropped

    @property
    def unfinished(self) -> int:
        """Jobs that somebody waits for, or that may still run."""
        return self.waiting + len(self.sent)

    @property
    def wanted(self) -> int:
        """Jobs that somebody waits for."""
        return self._submitted - self.done - self.crashed - self.abandoned

    def submit(self, ident: int, tag: Any) -> tuple[Job, bool]:
        """A new job, and whether it is to be sent now."""
        job = Job(ident, tag)
        self._submitted += 1
        if len(self.sent) < self.window and len(self._waiting) == self._dropped:
            self._send(job)
            return job, True
        self._waiting.append(job)
        return job, False

    def next(self) -> Job | None:
        """The next job to be sent, if there is room for it."""
        while self._waiting and len(self.sent) < self.window:
            job = self._waiting.popleft()
            if job.state is JobState.WAITING:
                self._send(job)
                return job
            self._dropped -= 1
        return None

    def _send(self, job: Job) -> None:
        job.state = JobState.SENT
        job.attempt += 1
        self.sent[job.ident] = job

    def answered(self, ident: int) -> Job | None:
        """A worker has answered: the job, if somebody still waits for it."""
        job = self._over(ident)
        if job is not None:
            self.done += 1
        return job

    def skipped(self, ident: int) -> Job | None:
        """A worker has not started it: the job, if nobody has abandoned it."""
        job = self._over(ident)
        if job is not None:
            self.abandoned += 1
        return job

    def _over(self, ident: int) -> Job | None:
        job = self.sent.pop(ident, None)
        if job is None:
            return None
        wanted = job.state is JobState.SENT
        job.state = JobState.OVER
        return job if wanted else None

    def abandon(self, job: Job) -> bool:
        """Nobody waits for it any more: True if it may be running, or will."""
        if job.state is JobState.SENT:
            job.state = JobState.ABANDONED
            self.abandoned += 1
            return True
        if job.state is JobState.WAITING:
            job.state = JobState.OVER
            self.abandoned += 1
            self._dropped += 1
            self._shrink()
        return False

    def _shrink(self) -> None:
        # What was dropped lies in the line until its turn comes, or until there
        # is more of it than of the others.
        if self._dropped > 64 and 2 * self._dropped > len(self._waiting):
            self._waiting = deque(
                job for job in self._waiting if job.state is JobState.WAITING
            )
            self._dropped = 0

    def lost(self, ident: int, *, started: bool = True) -> tuple[Job | None, Fate]:
        """A worker has died while it had this job; one not started is sent again."""
        job = self.sent.pop(ident, None)
        if job is None or job.state is JobState.ABANDONED:
            if job is not None:
                job.state = JobState.OVER
            return None, Fate.FORGOTTEN
        if started and job.attempt > self.retries:
            job.state = JobState.OVER
            self.crashed += 1
            return job, Fate.CRASHED
        if started:
            self.retried += 1
        else:
            job.attempt -= 1
        job.state = JobState.WAITING
        self._waiting.appendleft(job)
        return job, Fate.RETRIED

    def all_waiting(self) -> list[Job]:
        """The jobs that were not sent, oldest first."""
        return [job for job in self._waiting if job.state is JobState.WAITING]

    def all_wanted(self) -> list[Job]:
        """All jobs that somebody waits for."""
        sent = (job for job in self.sent.values() if job.state is JobState.SENT)
        return [*sent, *self.all_waiting()]

    def check_invariants(self) -> None:
        """Raise AssertionError when something above does not hold."""
        assert len(self.sent) <= self.window
        assert 0 <= self._dropped <= len(self._waiting)
        assert len(self.all_waiting()) == self.waiting
        for ident, job in self.sent.items():
            assert job.ident == ident
            assert job.state in (JobState.SENT, JobState.ABANDONED)
            assert 1 <= job.attempt <= self.retries + 1
        for job in self._waiting:
            assert job.state in (JobState.WAITING, JobState.OVER)
        assert self.wanted == len(self.all_wanted())
