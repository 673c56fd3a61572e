"""``WorkerPool.map`` over asynchronous sources: in chunks that nothing waits for."""

import asyncio

import pytest

from aioprocq import WorkerPool
from aioprocq.pool.map import MapResults

from .map_targets import double
from .stub_pool import StubPool


class Source:
    """An endless count that says how far it was read; it waits where it is told to."""

    def __init__(self, *waits_before: int, end: int | None = None) -> None:
        self.waits_before = set(waits_before)
        self.end = end
        self.count = 0
        self.go_on = asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self) -> int:
        if self.count in self.waits_before:
            await self.go_on.wait()
            self.go_on.clear()
        if self.count == self.end:
            raise StopAsyncIteration
        self.count += 1
        return self.count - 1


def results_of(pool, source, limit=None) -> MapResults[int]:
    return MapResults(
        pool,
        double,
        source,
        ordered=True,
        limit=limit,
        timeout=None,
        progress=False,
        return_exceptions=False,
    )


async def turn() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def consume(results: MapResults[int], count: int) -> list[int]:
    return [await anext(results) for _ in range(count)]


@pytest.mark.both_loops
async def test_a_source_that_makes_nobody_wait_travels_in_chunks():
    async with WorkerPool(1) as pool:
        found = [one async for one in pool.map(double, Source(end=20_000))]
        assert found == list(range(0, 40_000, 2))
        assert pool.statistics().done < 1000


@pytest.mark.both_loops
async def test_each_input_is_sent_while_the_source_makes_wait_for_the_next():
    # It would wait for ever if an input lay somewhere until a chunk is full.
    source = Source(*range(1, 50), end=50)
    async with WorkerPool(2) as pool:
        found = []
        async for one in pool.map(double, source):
            found.append(one)
            source.go_on.set()
    assert found == list(range(0, 100, 2))


async def test_what_comes_at_once_is_sent_at_once():
    pool, source = StubPool(), Source(3, 5)
    results = results_of(pool, source)
    first = asyncio.create_task(consume(results, 5))
    await turn()
    assert [args for _, args in pool.jobs] == [(0,), (1,), (2,)]
    while pool.jobs:
        pool.answer()
    results._run.size.size = 8
    source.go_on.set()
    await turn()
    assert [args for _, args in pool.jobs] == [[3, 4]]
    pool.answer()
    assert await first == [0, 1, 2, 3, 4]
    await results.aclose()


async def test_no_more_is_read_than_the_next_chunk_needs():
    pool, source = StubPool(), Source()
    results = results_of(pool, source)
    first = asyncio.create_task(anext(results))
    await turn()
    assert [args for _, args in pool.jobs] == [(0,), (1,), (2,), (3,)]
    assert source.count == 5
    pool.answer()
    assert await first == 0
    await results.aclose()


async def test_no_more_is_read_than_the_limit():
    pool, source = StubPool(), Source()
    results = results_of(pool, source, limit=2)
    first = asyncio.create_task(consume(results, 2))
    await turn()
    assert (source.count, len(pool.jobs)) == (2, 2)
    pool.answer(1)  # which is not its turn
    await turn()
    assert source.count == 2
    pool.answer()
    assert await first == [0, 1]
    assert source.count <= 4
    await results.aclose()


async def test_inputs_that_wait_for_a_worker_make_up_a_chunk():
    pool = StubPool()
    source = Source(*range(4, 12), end=12)
    results = results_of(pool, source)
    first = asyncio.create_task(consume(results, 12))
    await turn()
    run = results._run
    run.size.size = 8
    for _ in range(8):  # while all workers have enough to do
        source.go_on.set()
        await turn()
    assert (len(pool.jobs), list(run.read)) == (4, list(range(4, 12)))
    pool.answer()
    run.size.size = 8  # whatever that took
    await turn()
    assert pool.jobs[-1][1] == list(range(4, 12))
    source.go_on.set()
    while pool.jobs:
        pool.answer()
    assert await first == list(range(12))
    await results.aclose()


async def test_what_the_source_raises_comes_after_the_results():
    async def source():
        yield 1
        yield 2
        raise OSError("it broke")

    found = []
    async with WorkerPool(1) as pool:
        with pytest.raises(OSError, match="it broke"):
            async for one in pool.map(double, source()):
                found.append(one)
    assert found == [2, 4]


async def test_closing_ends_the_reading():
    source = Source(1)
    results = results_of(StubPool(), source)
    first = asyncio.create_task(anext(results))
    await turn()
    reader = results._run.reader
    assert reader is not None
    await results.aclose()
    with pytest.raises(StopAsyncIteration):
        await first
    assert reader.done()
    assert not results._run.read
