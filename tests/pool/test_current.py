"""current_job()."""

from __future__ import annotations

import contextvars

import pytest

import aioprocq
from aioprocq import CurrentJob, WorkerPool, current_job
from aioprocq.pool.board import Board
from aioprocq.pool.current import running_job
from tests.supervisor.watching import soon

from . import jobs


def test_outside_of_a_job_there_is_none():
    with pytest.raises(RuntimeError, match="no job of a WorkerPool is running here"):
        current_job()


def test_it_knows_whether_it_was_cancelled():
    board = Board(None, 2)
    job = CurrentJob(7, board, 1)
    board.begin(1, 7)
    assert (job.cancelled, repr(job)) == (False, "<job 7>")
    board.ask(7)
    assert (job.cancelled, repr(job)) == (True, "<job 7 cancelled>")
    context = contextvars.copy_context()
    context.run(running_job.set, job)
    assert context.run(current_job) is job
    board.close()


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_each_job_has_its_own_number(concurrency):
    async with WorkerPool(1, concurrency=concurrency) as pool:
        idents = [await soon(pool.run(jobs.identify, 0)) for _ in range(3)]
        assert idents == [1, 2, 3]
        more = [ident async for ident in pool.map(jobs.identify, range(3))]
        assert more[0] == 4
    assert isinstance(aioprocq.CurrentJob, type)
