"""Who waits for a job."""

from __future__ import annotations

import asyncio

import pytest

from aioprocq import RemoteError
from aioprocq.machines.jobs import Job
from aioprocq.pool.future import JobFuture, presentable

from . import jobs


class Owner:
    def __init__(self) -> None:
        self.abandoned: list[Job] = []

    def abandon(self, job: Job) -> None:
        self.abandoned.append(job)


@pytest.fixture
def owner():
    return Owner()


async def future_of(owner: Owner) -> JobFuture:
    future = JobFuture(owner, jobs.double, asyncio.get_running_loop())
    future.job = Job(1, future)
    return future


async def test_it_gives_the_result(owner):
    future = await future_of(owner)
    assert future.name == "double"
    future.expire_after(1000)
    future.succeed(8)
    assert await future == 8
    assert future._timer is None
    assert future.cancel() is False
    assert (owner.abandoned, future.job) == ([], None)


async def test_cancelling_abandons_the_job_once(owner):
    future = await future_of(owner)
    job = future.job
    future.expire_after(1000)
    assert future.cancel("why")
    assert not future.cancel()
    assert (owner.abandoned, future._timer) == ([job], None)
    future.succeed(8)  # it was too late
    future.crash(ValueError())
    future.part(None)
    future.worker_died(None)
    with pytest.raises(asyncio.CancelledError, match="why"):
        await future


async def test_its_time_may_be_up(owner):
    future = await future_of(owner)
    job = future.job
    future.expire_after(0)
    with pytest.raises(TimeoutError, match="double had not returned after 0 s"):
        await future
    assert owner.abandoned == [job]
    future.succeed(8)
    future._expire(0)
    assert owner.abandoned == [job]


async def test_a_failure_stops_the_clock(owner):
    future = await future_of(owner)
    future.expire_after(1000)
    future.crash(ValueError("why"))
    assert future._timer is None
    with pytest.raises(ValueError, match="why"):
        await future
    assert owner.abandoned == []


@pytest.mark.parametrize(
    "failure",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        StopIteration(1),
        StopAsyncIteration(1),
        jobs.AbruptError("x"),
    ],
)
def test_what_would_disturb_the_caller_is_wrapped(failure):
    failure.add_note("a note")
    error = presentable(failure)
    assert isinstance(error, RemoteError)
    assert error.type_name == type(failure).__qualname__
    assert error.message == str(failure)
    assert error.__notes__[-1] == "a note"
    assert error.__cause__ is failure


@pytest.mark.parametrize(
    ("notes", "kept"), [("no list", []), (1, []), ([1, "a note"], ["a note"])]
)
def test_notes_may_be_anything(notes, kept):
    failure = jobs.AbruptError("x")
    failure.__notes__ = notes
    error = presentable(failure)
    assert getattr(error, "__notes__", []) == kept


@pytest.mark.parametrize(
    "failure", [ValueError(), TimeoutError(), ExceptionGroup("", [ValueError()])]
)
def test_what_would_not_is_left_as_it_is(failure):
    assert presentable(failure) is failure
