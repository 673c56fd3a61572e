import asyncio

import pytest

from aioprocq import RemoteError
from aioprocq.pool.map_run import HEAVY, MapRun, Outcome

from .map_targets import double
from .stub_pool import StubPool


def new_run(pool, inputs, *, ordered=True, limit=None, timeout=None) -> MapRun:
    return MapRun(pool, double, inputs, ordered=ordered, limit=limit, timeout=timeout)


def numbers(found: list[Outcome]) -> list[int]:
    return [one.number for one in found]


async def test_results_are_taken_in_order_and_by_their_number():
    pool = StubPool()
    run = new_run(pool, "abcd")
    run.fill()
    pool.answer(1)
    assert run.take() == []
    pool.answer(0)
    assert run.take(1) == [Outcome(0, "a", None)]
    assert run.take() == [Outcome(1, "b", None)]
    assert run.unconsumed == 2


async def test_or_as_they_come():
    pool = StubPool()
    run = new_run(pool, "abcd", ordered=False)
    run.fill()
    pool.answer(2)
    pool.answer(0)
    assert numbers(run.take()) == [2, 0]


async def test_one_that_fails_says_what_it_raised():
    pool = StubPool()
    run = new_run(pool, "ab")
    run.fill()
    failure = ValueError("no")
    tag, _ = pool.jobs.pop(0)
    tag.crash(failure)
    pool.answer()
    assert run.take() == [Outcome(0, None, failure), Outcome(1, "b", None)]
    run.fill()
    assert run.finished


async def test_chunks_that_were_consumed_are_forgotten_beside_one_that_lasts():
    """Unordered, an input may take for ever while millions pass it."""
    pool = StubPool()
    run = new_run(pool, range(10_000), ordered=False)
    run.fill()
    taken = 0
    while not run.exhausted:
        pool.answer(1)
        taken += len(run.take())
        run.fill()
        assert len(run.line) + len(run.pending) <= 4
    while len(pool.jobs) > 1:
        pool.answer(1)
    taken += len(run.take())
    assert taken == 9_999
    pool.answer()
    assert numbers(run.take()) == [0]
    run.fill()
    assert run.finished


async def test_the_parts_of_a_chunk_keep_their_numbers_and_their_order():
    pool = StubPool()
    pool.unpicklable = {"c"}
    run = new_run(pool, "abcdef")
    run.size.size = 4
    run.fill()
    while pool.jobs:
        pool.answer()
    found = run.take()
    assert numbers(found) == list(range(6))
    assert [one.value for one in found] == ["a", "b", None, "d", "e", "f"]
    assert isinstance(found[2].failure, TypeError)


async def test_draining_gives_the_results_of_what_had_started():
    pool = StubPool()
    run = new_run(pool, range(100))
    run.fill()
    jobs = [tag.job for tag, _ in pool.jobs]
    run.drain()
    assert set(pool.recalled) == set(jobs)
    pool.answer()
    for tag, _ in pool.jobs:
        tag.skipped()
    run.fill()
    assert numbers(run.take()) == [0]
    assert (run.finished, run.unconsumed) == (True, 0)


async def test_draining_before_anything_was_read_reads_nothing():
    async def source():
        raise AssertionError
        yield

    run = new_run(StubPool(), source())
    run.drain()
    run.fill()
    assert (run.reader, run.finished) == (None, True)


async def test_draining_wakes_whoever_waits():
    run = new_run(StubPool(), [])
    waiting = asyncio.create_task(run.changed())
    await asyncio.sleep(0)
    run.drain()
    await waiting


async def test_what_the_inputs_raise_is_kept_for_the_end():
    failure = OSError("it broke")

    def inputs():
        yield "a"
        raise failure

    pool = StubPool()
    run = new_run(pool, inputs())
    run.size.size = 4
    run.fill()
    assert [args for _, args in pool.jobs] == [("a",)]
    assert (run.exhausted, run.failure, run.finished) == (True, failure, False)
    pool.answer()
    assert numbers(run.take()) == [0]
    run.fill()
    assert run.take() == []
    assert run.finished


@pytest.mark.parametrize("ordered", [True, False])
async def test_large_results_that_nobody_takes_hold_the_rest_back(ordered):
    pool = StubPool(workers=4)
    run = new_run(pool, range(100), ordered=ordered)
    run.fill()
    sent = pool.count
    for _ in range(3):
        tag, _ = pool.jobs[-1]
        tag.weigh(HEAVY // 2)
        pool.answer(-1)
        run.fill()
    assert pool.count == sent + 1, "two of them are heavy"
    while pool.jobs:
        pool.answer()
    assert run.take()
    assert run.weight == 0
    run.fill()
    assert pool.count > sent + 1


async def test_of_an_asynchronous_source_too():
    async def source():
        for number in range(100):
            yield number

    pool = StubPool(workers=4)
    run = new_run(pool, source())
    run.weight = HEAVY
    run.fill()
    await asyncio.sleep(0)
    run.fill()
    assert pool.count == 0
    run.weight = 0
    run.fill()
    assert pool.count > 0
    run.close()


async def test_a_source_that_is_cancelled_loses_no_results():
    def source():
        yield 1
        raise asyncio.CancelledError

    pool = StubPool()
    run = new_run(pool, source())
    run.fill()
    pool.answer()
    assert numbers(run.take()) == [0]
    assert run.finished
    assert isinstance(run.failure, RemoteError)
