import asyncio
import os
from multiprocessing import Pipe

import pytest

import aioprocq
from aioprocq.cli.bench import idle_row
from aioprocq.cli.bench.idle_row import IDLE_ROW, Resting
from aioprocq.cli.bench.model import Setting

pytestmark = pytest.mark.skipif(
    IDLE_ROW.obstacle() is not None, reason="there is no /proc"
)


def test_an_app_with_eight_workers_is_watched():
    session = Resting(Setting(patience=20.0))
    try:
        assert len(set(session._pids)) == 1 + 2 * idle_row.OF_EACH
        assert session.play(10)["wake-ups"] >= 0
    finally:
        session.close()


async def test_the_app_says_who_is_there_and_ends_when_told_to():
    ours, theirs = Pipe()
    with ours, theirs:
        task = asyncio.create_task(idle_row.run_app(theirs))
        await idle_row.readable(ours.fileno())
        pids = ours.recv()
        assert pids[0] == os.getpid()
        ours.send(None)
        await task


async def test_a_worker_says_who_it_is_and_waits_for_the_end():
    jobs, results = aioprocq.Queue[int](), aioprocq.Queue[int]()
    task = asyncio.create_task(idle_row.wait_async(jobs, results))
    assert await results.get() == os.getpid()
    jobs.shutdown()
    await task
    await jobs.aclose()
    await results.aclose()
