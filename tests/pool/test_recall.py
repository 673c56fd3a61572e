"""Jobs that are not to be started any more, and when the others began."""

import asyncio
import time

from aioprocq import WorkerPool
from aioprocq.machines.jobs import Jobs, JobState
from aioprocq.pool.board import Board

from .map_targets import tell_and_wait


def test_a_job_that_was_skipped_counts_as_abandoned():
    jobs = Jobs(10)
    job, _ = jobs.submit(1, None)
    assert jobs.skipped(1) is job
    assert (job.state, jobs.abandoned, jobs.done) == (JobState.OVER, 1, 0)
    assert jobs.skipped(1) is None
    jobs.check_invariants()


def test_one_that_was_abandoned_before_counts_once():
    jobs = Jobs(10)
    job, _ = jobs.submit(1, None)
    jobs.abandon(job)
    assert jobs.skipped(1) is None
    assert jobs.abandoned == 1
    jobs.check_invariants()


def test_a_board_knows_when_a_job_began():
    board = Board(None, 3)
    try:
        before = time.monotonic()
        board.begin(1, 7)
        board.begin(2, 8)
        began = board.began(7)
        assert began is not None
        assert before - 1e-6 <= began <= time.monotonic()
        assert (board.began(9), board.running()) == (None, [7, 8])
        board.ask(8)
        assert (board.asked(1), board.asked(2)) == (False, True)
        board.end(1)
        assert (board.began(7), board.runs(8)) == (None, True)
    finally:
        board.close()


async def test_draining_recalls_jobs_that_were_not_even_sent(tmp_path):
    async with WorkerPool(1) as pool:
        pool._jobs.window = 2
        results = pool.map(tell_and_wait, [str(tmp_path)] * 10)
        batch = asyncio.create_task(results.get_many())
        async with asyncio.timeout(20):
            while not list(tmp_path.glob("running-*")):  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.002)
        assert (len(pool._jobs.sent), pool._jobs.waiting) == (2, 2)
        results.drain()
        assert pool._jobs.waiting == 0
        (tmp_path / "go").touch()
        assert [one.number for one in await batch] == [0]
        assert await results.get_many() == []
        pool._jobs.check_invariants()
        figures = pool.statistics()
        assert (figures.done, figures.cancelled) == (1, 3)
