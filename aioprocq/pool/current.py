"""What a job knows of itself: ``current_job()``."""

from __future__ import annotations

from contextvars import ContextVar

from .board import Board

__all__ = ["CurrentJob", "current_job", "running_job"]


class CurrentJob:
    """The job of a WorkerPool that is running.

    Attributes:
        ident: its number, unique in its pool.
    """

    __slots__ = ("_board", "_slot", "ident")

    def __init__(self, ident: int, board: Board, slot: int) -> None:
        self.ident = ident
        self._board = board
        self._slot = slot

    def __repr__(self) -> str:
        return f"<job {self.ident}{' cancelled' if self.cancelled else ''}>"

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more: its time is up, or it was cancelled.

        A plain function that looks at this now and then, and returns, spares its
        worker: when the grace period is over, the worker is killed and replaced.
        An async one is cancelled and need not look.
        """
        return self._board.asked(self._slot)


running_job: ContextVar[CurrentJob | None] = ContextVar("running_job", default=None)


def current_job() -> CurrentJob:
    """The job that is running.

    Raises RuntimeError outside of a job of a WorkerPool.
    """
    job = running_job.get()
    if job is None:
        raise RuntimeError(
            "no job of a WorkerPool is running here; call current_job() in a function "
            "that WorkerPool.run, submit or map was given, or in what it calls"
        )
    return job
