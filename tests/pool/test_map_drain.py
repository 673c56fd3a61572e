"""``get_many``, ``drain`` and ``timeout`` of a map, with real workers."""

import asyncio
import itertools

import pytest

from aioprocq import RemoteError, WorkerError, WorkerPool

from .map_targets import double, double_or_die, doze, doze_and_tell_who, tell_and_wait


async def test_many_results_at_a_time_with_the_numbers_of_their_inputs():
    async with WorkerPool(2) as pool:
        results = pool.map(double, range(5000), ordered=False)
        found = []
        while batch := await results.get_many(100):
            assert len(batch) <= 100
            found += batch
        assert sorted((one.number, one.value) for one in found) == [
            (number, 2 * number) for number in range(5000)
        ]
        with pytest.raises(ValueError, match="most must be 1 or more"):
            await results.get_many(0)


async def test_a_call_that_fails_ends_nothing():
    async with WorkerPool(1) as pool:
        results = pool.map(double_or_die, [1, -1, 2])
        found = []
        while batch := await results.get_many():
            found += batch
    assert [one.value for one in found] == [2, None, 4]
    assert "SIGKILL" in str(found[1].failure)


async def test_draining_finishes_what_runs_and_starts_nothing(tmp_path):
    async with WorkerPool(2) as pool:
        results = pool.map(tell_and_wait, itertools.repeat(str(tmp_path)))
        batch = asyncio.create_task(results.get_many())
        async with asyncio.timeout(20):
            while len(list(tmp_path.glob("running-*"))) < 2:  # noqa: ASYNC110  # files
                await asyncio.sleep(0.002)
        results.drain()
        assert "draining" in repr(results)
        (tmp_path / "go").touch()
        found = await batch
        while more := await results.get_many():
            found += more
        assert sorted(one.number for one in found) == [0, 1]
        assert pool.statistics().done == 2


async def test_the_time_for_a_call_begins_when_it_does():
    # One after the other they take longer than one may.
    async with WorkerPool(1) as pool:
        found = [one async for one in pool.map(doze, [0.1] * 6, timeout=0.4)]
        assert found == [0.1] * 6
        with pytest.raises(TimeoutError):
            await anext(pool.map(doze, [5.0], timeout=0.05))


async def test_a_worker_that_becomes_slow_leaves_the_rest_of_its_chunk_to_others():
    times = [0.0] * 3000 + [0.06] * 20
    async with WorkerPool(2) as pool:
        results = pool.map(doze_and_tell_who, times)
        whose = [pid async for pid in results]
        assert len(whose) == len(times)
        slow = whose[-20:]
        assert min(map(slow.count, set(slow))) >= 5
        assert len(set(slow)) == 2


async def test_a_pool_that_closes_ends_its_map_with_an_error():
    async with WorkerPool(1) as pool:
        results = pool.map(double, itertools.count())
        assert await anext(results) == 0
    with pytest.raises(WorkerError, match="the pool is closed"):
        while await results.get_many():
            pass
    assert await results.get_many() == []


async def test_the_readers_own_cancellation_is_not_the_end_of_the_inputs():
    # Whoever ends the loop cancels all tasks, for instance.
    async def source():
        yield 1
        await asyncio.get_running_loop().create_future()

    async with WorkerPool(1) as pool:
        results = pool.map(double, source())
        assert await anext(results) == 2
        results._run.reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(results)


async def test_nor_is_a_cancellation_that_the_inputs_raise():
    async def source():
        yield 1
        raise asyncio.CancelledError

    async with WorkerPool(1) as pool:
        results = pool.map(double, source())
        assert await anext(results) == 2
        with pytest.raises(RemoteError, match="CancelledError"):
            await anext(results)
