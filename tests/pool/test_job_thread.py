"""The thread in which a concurrent worker runs plain functions."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aioprocq.pool.job_thread import JobThread, Raised
from tests.supervisor.watching import soon

# Its thread lasts as long as its process: a worker has one.
pytestmark = pytest.mark.may_leak("threads")


async def test_functions_run_one_after_the_other_in_one_thread():
    thread = JobThread("jobs")
    order: list[int] = []

    def note(number: int) -> str:
        order.append(number)
        return threading.current_thread().name

    names = await soon(
        asyncio.gather(*(thread.run(lambda n=n: note(n)) for n in range(20)))
    )
    assert (set(names), order) == ({"jobs"}, list(range(20)))
    assert thread._thread is not None
    assert thread._thread.daemon


async def test_what_is_raised_comes_back_whatever_it_is():
    thread = JobThread("jobs")
    for failure in (ValueError(), StopIteration(1), SystemExit(2), KeyboardInterrupt()):

        def fail(failure: BaseException = failure) -> None:
            raise failure

        assert await soon(thread.run(fail)) == Raised(failure)
    assert await soon(thread.run(lambda: 3)) == 3


async def test_who_is_cancelled_does_not_get_the_result_and_it_goes_on():
    thread = JobThread("jobs")
    began, gate = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        gate.wait()

    waiting = asyncio.create_task(thread.run(wait))
    await soon(asyncio.to_thread(began.wait))
    waiting.cancel()
    await asyncio.wait([waiting])
    gate.set()
    assert await soon(thread.run(lambda: 3)) == 3
