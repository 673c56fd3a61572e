import time

import pytest

from aioprocq.errors import WorkerCrashed
from aioprocq.pool.calls import pack_record
from aioprocq.pool.map_run import MapRun

from .map_targets import double
from .stub_pool import StubPool


class StubBoard:
    def __init__(self, *values: object) -> None:
        self.kept = b"".join(map(pack_record, values))

    def outbox(self, ident: int) -> tuple[int, bytes]:
        return 0, self.kept


def chunk_of(pool, *inputs, timeout=None):
    run = MapRun(pool, double, [], ordered=True, limit=None, timeout=timeout)
    run.size.size = len(inputs)
    run._source = iter(inputs)
    run.fill()
    (chunk,) = run.pending  # a Chunk
    return chunk


async def test_the_inputs_after_the_one_that_killed_the_worker_go_on():
    pool = StubPool()
    chunk = chunk_of(pool, 1, 2, 3)
    failure = WorkerCrashed()
    chunk.worker_died(StubBoard("one"))
    chunk.crash(failure)
    assert chunk.results == [(False, "one"), (True, failure)]
    assert pool.jobs[-1][1] == [3]
    assert repr(chunk).startswith("<Chunk 0 2/3 <Job 2")


async def test_a_worker_that_dies_before_its_answer_fails_nothing_that_is_done():
    pool = StubPool()
    chunk = chunk_of(pool, 1, 2)
    chunk.worker_died(StubBoard("one", "two"))
    chunk.crash(WorkerCrashed())
    assert chunk.results == [(False, "one"), (False, "two")]
    assert len(pool.jobs) == 1


async def test_while_draining_nothing_is_sent_after_a_crash():
    pool = StubPool()
    chunk = chunk_of(pool, 1, 2, 3)
    chunk._host.drain()
    chunk.crash(WorkerCrashed())
    assert (chunk.over, len(chunk.results), len(pool.jobs)) == (True, 1, 1)


def answer_some(chunk, *values: object, seconds: float) -> None:
    chunk.succeed((0, b"".join(map(pack_record, values)), seconds))


async def test_what_a_worker_had_no_time_for_is_sent_again_in_smaller_chunks():
    pool = StubPool()
    chunk = chunk_of(pool, *range(8))
    answer_some(chunk, 0, 1, seconds=0.005)
    assert (chunk.over, len(chunk.results)) == (True, 2)
    assert [args for _, args in pool.jobs[1:]] == [[2, 3], [4, 5], [6, 7]]
    assert [tag.first for tag, _ in pool.jobs[1:]] == [2, 4, 6]
    pool.jobs.pop(0)
    while pool.jobs:
        pool.answer()
    assert [one.value for one in chunk._host.take()] == list(range(8))


async def test_but_not_while_draining():
    pool = StubPool()
    chunk = chunk_of(pool, *range(8))
    chunk._host.drain()
    answer_some(chunk, 0, 1, seconds=0.005)
    assert (chunk.over, len(pool.jobs), chunk._host.unconsumed) == (True, 1, 2)


@pytest.fixture
async def late():
    """A pool, and a chunk whose timer has just run out."""
    pool = StubPool()
    chunk = chunk_of(pool, 1, timeout=60.0)
    yield pool, chunk
    chunk._stop_timer()


async def test_the_time_of_a_call_that_has_not_begun_is_not_up(late):
    _, chunk = late
    chunk._expire()
    assert not chunk.over
    assert chunk._timer is not None


async def test_nor_that_of_one_that_began_later(late):
    pool, chunk = late
    pool.beginnings[chunk.job.ident] = time.monotonic() - 20
    chunk._expire()
    assert not chunk.over
    left = chunk._timer.when() - chunk._timer._loop.time()
    assert 39 < left <= 40


async def test_but_that_of_one_that_began_then(late):
    pool, chunk = late
    job = chunk.job
    pool.beginnings[job.ident] = time.monotonic() - 60
    chunk._expire()
    ((failed, error),) = chunk.results
    assert (failed, str(error)) == (True, "double had not returned after 60 s")
    assert pool.abandoned == [job]
    chunk._expire()  # does nothing: it has no job


async def test_a_chunk_that_fails_as_a_whole_is_tried_one_by_one():
    pool = StubPool()
    chunk = chunk_of(pool, 1, 2, 3)
    chunk.crash(ImportError("it does not unpickle"))
    assert [args for _, args in pool.jobs[1:]] == [(1,), (2,), (3,)]
    pool.jobs.pop(0)
    failure = ImportError("it does not unpickle")
    pool.jobs.pop(1)[0].crash(failure)
    while pool.jobs:
        pool.answer()
    found = chunk._host.take()
    assert [one.number for one in found] == [0, 1, 2]
    assert [one.failure for one in found] == [None, failure, None]


async def test_but_not_while_it_drains():
    pool = StubPool()
    chunk = chunk_of(pool, 1, 2, 3)
    chunk._host.drain()
    chunk.crash(ImportError())
    assert (chunk.over, len(pool.jobs), chunk._host.finished) == (True, 1, False)
    assert chunk._host.take() == []
    assert chunk._host.finished
