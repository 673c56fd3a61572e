"""A pool without workers: a test answers the jobs itself."""

from typing import Any

from aioprocq.machines.jobs import Job, JobState
from aioprocq.pool.calls import pack_record


class StubPool:
    """Keeps what is sent, in ``jobs``: those that nobody has answered yet."""

    def __init__(self, workers: int = 1, concurrency: int = 1) -> None:
        self.workers = workers
        self.concurrency = concurrency
        self.jobs: list[tuple[Any, Any]] = []
        self.abandoned: list[Job] = []
        self.recalled: list[Job] = []
        self.beginnings: dict[int, float] = {}
        self.unpicklable: set[Any] = set()
        self.count = 0

    def send(self, tag: Any, function: Any, args: Any, kwargs: Any) -> int:
        if self.unpicklable.intersection(args):
            raise TypeError("it does not pickle")
        self.count += 1
        tag.job = Job(self.count, tag)
        tag.job.state = JobState.SENT
        self.jobs.append((tag, args))
        return len(args)

    def abandon(self, job: Job) -> None:
        self.abandoned.append(job)

    def recall(self, job: Job) -> None:
        self.recalled.append(job)

    def began(self, job: Job) -> float | None:
        return self.beginnings.get(job.ident)

    def answer(self, at: int = 0) -> None:
        """Answer a job: each input is its own result."""
        tag, args = self.jobs.pop(at)
        if isinstance(args, tuple):
            tag.succeed(args[0])
        else:
            tag.succeed((0, b"".join(map(pack_record, args)), 1e-9))
