"""What comes back: results, exceptions, and what cannot be read."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import aioprocq
from aioprocq import RemoteError, WorkerPool
from tests.supervisor.watching import soon

from . import jobs


@pytest.fixture(params=[1, 2], ids=["plain", "concurrent"])
async def pool(request):
    async with WorkerPool(1, concurrency=request.param) as pool:
        yield pool
        # Whatever has happened, it goes on, with the same worker.
        assert await soon(pool.run(jobs.double, 1)) == 2
        assert pool.statistics().restarts == 0


@pytest.mark.both_loops
async def test_an_exception_comes_as_itself_with_its_traceback(pool):
    for function in (jobs.fail, jobs.fail_async):
        with pytest.raises(ValueError, match="why not") as caught:
            await soon(pool.run(function, "why not"))
        assert f"in {function.__name__}\n" in caught.value.__notes__[-1]
    assert pool.statistics().failed == 2


async def test_an_exception_that_does_not_travel_is_described(pool):
    for function, kind, message in (
        (jobs.raise_odd, "OddError", "1 and 2"),
        (jobs.raise_local, "LocalError", "local"),
    ):
        with pytest.raises(RemoteError) as caught:
            await soon(pool.run(function))
        assert caught.value.type_name.endswith(kind)
        assert caught.value.message == message
        assert f"in {function.__name__}\n" in caught.value.__notes__[-1]


@pytest.mark.both_loops
async def test_what_would_disturb_the_caller_comes_as_remote_error(pool):
    for kind, name in {
        "exit": "SystemExit",
        "interrupt": "KeyboardInterrupt",
        "stop": "StopIteration",
        "async stop": "StopAsyncIteration",
        "cancelled": "CancelledError",
        "generator exit": "GeneratorExit",
        "abrupt": "AbruptError",
    }.items():
        with pytest.raises(RemoteError) as caught:
            await soon(pool.run(jobs.make_and_raise, kind))
        assert caught.value.type_name.endswith(name)
        # A coroutine turns a StopIteration into a RuntimeError by itself.
        error = RuntimeError if kind == "stop" else RemoteError
        with pytest.raises(error, match=name):
            await soon(pool.run(jobs.make_and_raise_async, kind))


async def test_odd_exceptions_are_told_all_the_same(pool):
    for kind, error in (("noted", RemoteError), ("false", jobs.FalseError)):
        with pytest.raises(error):
            await soon(pool.run(jobs.make_and_raise, kind))


async def test_what_does_not_pickle_costs_its_own_call_alone(pool):
    with pytest.raises(TypeError, match="not this one") as caught:
        await pool.run(jobs.double, jobs.Unpicklable())
    assert "cannot be pickled" in str(caught.value.__notes__)
    with pytest.raises(TypeError, match="cannot be found by a worker"):
        await pool.run(lambda: 1)

    def local() -> None: ...

    with pytest.raises(TypeError, match="cannot be found by a worker"):
        pool.submit(local)
    with pytest.raises(TypeError, match="not this one"):
        await pool.run(jobs.Multiplier(jobs.Unpicklable()).times, 1)  # type: ignore[arg-type]
    assert pool.statistics().done == 0


async def test_a_result_that_does_not_pickle(pool):
    with pytest.raises(TypeError, match="not this one") as caught:
        await soon(pool.run(jobs.return_unpicklable, 3))
    notes = str(caught.value.__notes__)
    assert "return_unpicklable has returned, and its result could not be sent" in notes


async def test_arguments_that_do_not_unpickle_in_the_worker(pool):
    for how, error in (("raise", ImportError), ("leave", RemoteError)):
        with pytest.raises(error) as caught:
            await soon(pool.run(jobs.double, jobs.BadInWorker(how)))
        assert "could not be unpickled in its worker" in str(caught.value.__notes__)


async def test_large_arguments_that_do_not_unpickle_in_the_worker(pool):
    with pytest.raises(ImportError, match="not in a worker"):
        await soon(pool.run(len, [jobs.BadInWorker(), bytes(1 << 20)]))


@pytest.mark.both_loops
async def test_results_that_do_not_unpickle_here(pool):
    with pytest.raises(ImportError, match="not at home") as caught:
        await soon(pool.run(jobs.bad_at_home, os.getpid()))
    assert "its result could not be unpickled here" in str(caught.value.__notes__)
    for how in ("leave", "cancelled"):
        with pytest.raises(RemoteError):
            await soon(pool.run(jobs.bad_at_home, os.getpid(), how))
    assert pool.statistics().failed == 3


async def test_exceptions_that_do_not_unpickle_here(pool):
    with pytest.raises(RemoteError, match="BadAtHomeError"):
        await soon(pool.run(jobs.raise_bad_at_home, os.getpid()))


async def test_queues_among_arguments_and_results(pool):
    async with aioprocq.Queue() as queue:
        again = await soon(pool.run(jobs.return_queue, queue))
        await again.put(1)
        assert await soon(queue.get()) == 1
        del again


async def test_a_result_that_cannot_travel_costs_its_own_call_alone(pool):
    with pytest.raises(aioprocq.CannotTravel, match="it stays"):
        await soon(pool.run(jobs.return_what_stays))


async def test_answers_are_read_in_turns(pool):
    futures = [pool.submit(jobs.double, n) for n in range(300)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    found: Any = await soon(asyncio.gather(*futures))
    counting.cancel()
    assert found == [2 * n for n in range(300)]
    assert turns > 1
