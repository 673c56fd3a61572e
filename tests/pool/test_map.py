"""WorkerPool.map: order, limits, failures, and that nothing of it runs on."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import aioprocq
from aioprocq import WorkerCrashed, WorkerPool
from aioprocq.pool.map import MapResults
from aioprocq.pool.sizing import ChunkSize
from tests.supervisor.watching import DEADLINE, soon

from . import jobs

CHUNK = 10


class FixedSize(ChunkSize):
    """Chunks of so many inputs from the first on."""

    def __init__(self, most: int = CHUNK) -> None:
        super().__init__()
        self.size = most if most == 1 else CHUNK

    def answered(self, count: int, seconds: float, size: int) -> None:
        pass


@pytest.fixture
def fixed(monkeypatch):
    monkeypatch.setattr("aioprocq.pool.map_run.ChunkSize", FixedSize)


@pytest.fixture
async def pool():
    async with WorkerPool(1, grace_period=0.1) as pool:
        yield pool


@pytest.fixture
async def pair():
    """A pool in which one worker may be held up."""
    async with WorkerPool(2, grace_period=0.1) as pool:
        yield pool


async def calm(pool: WorkerPool) -> None:
    """Until nothing runs any more, wanted or not."""
    await reached(lambda: not pool._jobs.unfinished)


async def reached(state: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not state():  # noqa: ASYNC110  # that of something that tells nobody
            await asyncio.sleep(0.001)


async def collect(results: MapResults[Any]) -> list[Any]:
    async with asyncio.timeout(DEADLINE):
        return [result async for result in results]


class Source:
    """Numbers, with an account of how far they were read and whether it was closed."""

    def __init__(self, end: int | None = None, failing_at: int | None = None) -> None:
        self.read = 0
        self.closed = False
        self._end = end
        self._failing_at = failing_at

    def numbers(self) -> Iterator[int]:
        try:
            for number in itertools.count():
                if number == self._end:
                    return
                if number == self._failing_at:
                    raise LookupError("the source fails")
                self.read += 1
                yield number
        finally:
            self.closed = True

    async def numbers_async(self) -> AsyncIterator[int]:
        try:
            for number in self.numbers():
                await asyncio.sleep(0)
                yield number
        finally:
            self.closed = True


@pytest.mark.both_loops
async def test_results_of_all_kinds_of_inputs():
    expected = [2 * number for number in range(800)]
    async with WorkerPool(2) as pool:
        for ordered, function in itertools.product(
            (True, False), (jobs.double, jobs.double_async)
        ):
            for inputs in (
                range(800),
                list(range(800)),
                Source(800).numbers(),
                Source(800).numbers_async(),
            ):
                given: Any = inputs
                found = await collect(pool.map(function, given, ordered=ordered))
                assert (found if ordered else sorted(found)) == expected
            assert await collect(pool.map(function, [], ordered=ordered)) == []
            nothing = Source(0).numbers_async()
            assert await collect(pool.map(function, nothing, ordered=ordered)) == []


@pytest.mark.both_loops
async def test_a_pool_of_concurrent_workers():
    async with WorkerPool(1, concurrency=4) as pool:
        for ordered, function in itertools.product(
            (True, False), (jobs.double, jobs.double_async)
        ):
            found = await collect(pool.map(function, range(200), ordered=ordered))
            assert sorted(found) == [2 * number for number in range(200)]
            if ordered:
                assert found == sorted(found)


async def test_several_at_once(pool):
    maps = [pool.map(jobs.double, range(n, n + 300)) for n in range(5)]
    found = await soon(asyncio.gather(*(collect(one) for one in maps)))
    for n in range(5):
        assert found[n] == [2 * number for number in range(n, n + 300)]
    assert all(" closed unconsumed=0 <ChunkSize" in repr(one) for one in maps)


async def test_unordered_results_come_as_they_are_there(pair, tmp_path, fixed):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    inputs: Any = [str(gate), *("/dev/zero" for _ in range(3 * CHUNK))]
    count = 0
    async with asyncio.timeout(DEADLINE):
        async for result in pair.map(jobs.pass_gate, inputs, ordered=False):
            assert result is None
            count += 1
            if count == 2 * CHUNK + 1:  # all but those behind the gate
                gate.write_bytes(b"!")
    assert count == 3 * CHUNK + 1


async def test_what_was_consumed_does_not_pile_up(pair, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    paths: Any = itertools.chain([str(gate)], itertools.repeat("/dev/zero", 5000))
    most = 0
    results = pair.map(jobs.pass_gate, paths, ordered=False, limit=20)
    async with asyncio.timeout(DEADLINE):
        for _ in range(5000):
            await anext(results)
            most = max(most, len(results._run.line), len(results._run.pending))
        gate.write_bytes(b"!")
        assert await collect(results) == [None]
    assert most < 250


async def test_only_so_many_inputs_are_read_ahead(pool):
    for limit in (1, 7, 50):
        for kind in ("plain", "async"):
            source = Source(300)
            inputs: Any = (
                source.numbers() if kind == "plain" else source.numbers_async()
            )
            results = pool.map(jobs.double, inputs, limit=limit)
            assert source.read == 0
            consumed = 0
            async with asyncio.timeout(DEADLINE):
                async for _ in results:
                    consumed += 1
                    assert source.read <= consumed + limit
                    if consumed == 20:  # a slow consumer
                        await calm(pool)
                        assert source.read <= consumed + limit
            assert consumed == 300


async def test_so_many_chunks_are_out_at_most(pool, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    told: Any = aioprocq.Queue()
    async with told:
        for kind in ("plain", "async"):
            source = Source()
            inputs: Any = (
                source.numbers() if kind == "plain" else source.numbers_async()
            )
            gates: Any = itertools.repeat(str(gate))
            if kind == "async":

                async def same(numbers: Any = inputs) -> AsyncIterator[str]:
                    async for _ in numbers:
                        yield str(gate)

                gates = same()
            else:
                gates = (str(gate) for _ in inputs)
            async with pool.map(jobs.pass_gate, gates) as results:
                waiting = asyncio.create_task(anext(results))
                await reached(lambda: pool.statistics().running == 1)
                for _ in range(100):
                    await asyncio.sleep(0)
                # Of an asynchronous source the next chunk is there already.
                assert source.read == (4 if kind == "plain" else 5)
                waiting.cancel()
                await asyncio.wait([waiting])
            await calm(pool)


# Leaving


@pytest.mark.both_loops
@pytest.mark.parametrize(("kind", "ordered"), [("plain", True), ("async", False)])
async def test_break_leaves_nothing_behind(pool, ordered, kind):
    source = Source()
    inputs: Any = source.numbers() if kind == "plain" else source.numbers_async()
    async with asyncio.timeout(DEADLINE):
        async for result in pool.map(jobs.double, inputs, ordered=ordered):
            if result >= 100:
                break
        del inputs
        await reached(lambda: source.closed)
        await calm(pool)
    read = source.read
    assert await soon(pool.run(jobs.double, 1)) == 2
    assert source.read == read


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_aclose_lets_go_of_the_source(pool, kind):
    source = Source()
    inputs: Any = source.numbers() if kind == "plain" else source.numbers_async()
    async with pool.map(jobs.double, inputs) as results:
        del inputs
        assert await soon(anext(results)) == 0
    for _ in range(5):
        await asyncio.sleep(0)
    assert source.closed
    await results.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    assert repr(results).startswith("<MapResults closed")


async def test_leaving_ends_what_runs(pool, tmp_path):
    told: Any = aioprocq.Queue()
    async with told:
        results = pool.map(jobs.hold_on_async, itertools.repeat(told))
        waiting = asyncio.create_task(anext(results))
        await soon(told.get())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await results.aclose()
        assert await soon(told.get()) == "cancelled"
    assert await soon(pool.run(jobs.double, 1)) == 2
    assert pool.statistics().restarts == 0


async def test_a_map_that_nobody_iterates_over_costs_nothing(pool):
    source = Source()
    results = pool.map(jobs.double, source.numbers())
    assert source.read == 0
    del results
    gc.collect()
    assert source.read == 0


async def test_cancelling_one_step_loses_no_result(pool, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    results = pool.map(jobs.kind_of, ["a", 1, 2.0])
    first = asyncio.create_task(anext(results))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert await collect(results) == ["str", "int", "float"]


async def test_two_tasks_share_one_iterator(pool):
    results = pool.map(jobs.double, range(500))
    one, two = await soon(asyncio.gather(collect(results), collect(results)))
    assert sorted(one + two) == [2 * n for n in range(500)]


@pytest.mark.both_loops
@pytest.mark.parametrize("return_exceptions", [True, False])
async def test_an_iterator_ends_when_its_pool_is_closed(return_exceptions):
    told: Any = aioprocq.Queue()
    source = Source()
    async with told:
        with pytest.raises(LookupError, match="enough"):
            async with WorkerPool(1) as pool:
                results = pool.map(
                    jobs.hold_on_async,
                    (told for _ in source.numbers()),
                    return_exceptions=return_exceptions,
                )
                reading = asyncio.create_task(collect(results))
                await soon(told.get())
                raise LookupError("enough")
        with pytest.raises(aioprocq.WorkerError, match="the pool was closed"):
            await soon(reading)
    assert source.read < 10


# Failing


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_a_call_raises_ends_the_iteration(pool, ordered):
    source = Source()
    with pytest.raises(ValueError, match="3") as caught:
        await collect(pool.map(jobs.fail_of, source.numbers(), ordered=ordered))
    assert "in fail_of\n" in caught.value.__notes__[-1]
    del caught
    gc.collect()
    assert source.closed


@pytest.mark.parametrize(("ordered", "concurrency"), [(True, 1), (False, 2)])
async def test_what_calls_raise_may_come_in_the_place_of_results(ordered, concurrency):
    async with WorkerPool(1, concurrency=concurrency) as pool:
        for function, kind in (
            (jobs.fail_of, ValueError),
            (jobs.odd_of, aioprocq.RemoteError),
            (jobs.return_unpicklable, TypeError),
        ):
            found = await collect(
                pool.map(function, range(60), ordered=ordered, return_exceptions=True)
            )
            good = [one for one in found if isinstance(one, int)]
            assert sorted(good) == [n for n in range(60) if n % 10 != 3]
            bad = [one for one in found if isinstance(one, kind)]
            assert len(bad) == 6
            if ordered:
                assert [isinstance(one, kind) for one in found[::10]] == [False] * 6
                assert all(isinstance(one, kind) for one in found[3::10])


async def test_stop_async_iteration_does_not_look_like_the_end(pool):
    with pytest.raises(aioprocq.RemoteError, match="StopAsyncIteration"):
        await collect(pool.map(jobs.stop_of, range(10)))


async def test_an_input_that_does_not_pickle_costs_itself_alone(pool, fixed):
    inputs = [1, 2, jobs.Unpicklable(), 4, 5] * 7
    found = await collect(pool.map(jobs.kind_of, inputs, return_exceptions=True))
    assert [one for n, one in enumerate(found) if n % 5 != 2] == ["int"] * 28
    assert all(isinstance(one, TypeError) for one in found[2::5])


async def test_an_input_that_does_not_unpickle_costs_itself_alone(pool, fixed):
    inputs = [1, 2, jobs.BadInWorker(), 4, 5] * 7
    found = await collect(pool.map(jobs.kind_of, inputs, return_exceptions=True))
    assert [one for n, one in enumerate(found) if n % 5 != 2] == ["int"] * 28
    assert all(isinstance(one, ImportError) for one in found[2::5])


async def test_an_input_whose_unpickling_kills_costs_itself_alone(pool, fixed):
    inputs = [*range(13), jobs.BadInWorker("exit"), *range(20)]
    found = await collect(pool.map(jobs.kind_of, inputs, return_exceptions=True))
    assert isinstance(found.pop(13), WorkerCrashed)
    assert found == ["int"] * 33


async def test_results_that_do_not_unpickle_here_cost_themselves_alone(pool, fixed):
    inputs = [(number, os.getpid()) for number in range(40)]
    found = await collect(pool.map(jobs.bad_at_home_of, inputs, return_exceptions=True))
    assert [one for one in found if isinstance(one, int)] == [
        n for n in range(40) if n % 10 != 3
    ]
    assert all(isinstance(one, ImportError) for one in found[3::10])
    assert "could not be unpickled here" in str(found[3].__notes__)


async def test_a_function_that_no_worker_finds(pool):
    with pytest.raises(TypeError, match="cannot be found by a worker"):
        await collect(pool.map(lambda n: n, range(5)))


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_what_the_source_raises_comes_after_the_results(pool, kind):
    source = Source(failing_at=45)
    inputs: Any = source.numbers() if kind == "plain" else source.numbers_async()
    found: list[int] = []
    with pytest.raises(LookupError, match="the source fails"):
        async with asyncio.timeout(DEADLINE):
            async for result in pool.map(jobs.double, inputs):
                found.append(result)
    assert found == [2 * number for number in range(45)]


async def test_a_source_that_is_cancelled_does_not_look_like_its_end(pool):
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    found = []
    # Nobody has cancelled whoever iterates, which a task group would take it for.
    with pytest.raises(aioprocq.RemoteError, match="CancelledError"):
        async for result in pool.map(jobs.double, broken()):
            found.append(result)
    assert found == [2]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_source_that_stops_in_the_wrong_way(pool):
    class Wrong:
        def __iter__(self) -> Iterator[int]:
            return self  # type: ignore[return-value]  # it is one

        def __next__(self) -> int:
            raise StopAsyncIteration

    with pytest.raises(aioprocq.RemoteError):
        await collect(pool.map(jobs.double, Wrong()))


# Crashing


@pytest.mark.both_loops
@pytest.mark.parametrize(("ordered", "at"), [(True, 0), (True, 7), (False, 10)])
async def test_a_crash_in_a_chunk_costs_the_culprit_alone(fixed, ordered, at):
    async with WorkerPool(1) as pool:
        inputs = [(number, at) for number in range(60)]
        found = await collect(
            pool.map(jobs.die_at, inputs, ordered=ordered, return_exceptions=True)
        )
        (error,) = [one for one in found if isinstance(one, WorkerCrashed)]
        assert (error.job, error.attempt, error.status) == ("die_at", 1, "exit code 6")
        if ordered:
            assert found.index(error) == at
        found.remove(error)
        assert sorted(found) == [number for number in range(60) if number != at]


async def test_every_chunk_may_crash(fixed):
    async with WorkerPool(2) as pool:
        inputs = [(n, n if n % 10 in (4, 5) else -1) for n in range(20)]
        found = await collect(pool.map(jobs.die_at, inputs, return_exceptions=True))
        for number, one in enumerate(found):
            if number % 10 in (4, 5):
                assert isinstance(one, WorkerCrashed)
            else:
                assert one == number


async def test_a_crashed_chunk_is_repeated(fixed, tmp_path):
    path = str(tmp_path / "died")
    async with WorkerPool(1, retries=1) as pool:
        found = await collect(pool.map(jobs.die_once, [(n, path) for n in range(60)]))
        assert found == list(range(60))
        assert (pool.statistics().retried, pool.statistics().crashed) == (1, 0)


async def test_what_has_returned_is_not_repeated(fixed, tmp_path):
    async with WorkerPool(1, retries=1) as pool:
        inputs = [(number, number in (3, 7), str(tmp_path)) for number in range(10)]
        assert await collect(pool.map(jobs.note_and_die_once, inputs)) == [*range(10)]
        assert pool.statistics().retried == 2, "each of them once"
    calls = (tmp_path / "calls").read_text().split()
    assert calls == ["0", "1", "2", "3", "3", "4", "5", "6", "7", "7", "8", "9"]


async def test_what_a_call_sets_is_not_for_the_next(fixed):
    async with WorkerPool(1) as pool:
        assert await collect(pool.map(jobs.swap_variable, range(5))) == [None] * 5


async def test_retries_end_for_the_culprit_alone(fixed):
    async with WorkerPool(1, retries=1) as pool:
        inputs = [(number, 13) for number in range(30)]
        found = await collect(pool.map(jobs.die_at, inputs, return_exceptions=True))
        error = found.pop(13)
        assert isinstance(error, WorkerCrashed)
        assert error.attempt == 2
        assert found == [number for number in range(30) if number != 13]


async def test_large_results_of_a_chunk(fixed):
    async with WorkerPool(1) as pool:
        sizes = [1 << 19, 10, 1 << 17, 1 << 17, 1 << 17, 5] * 5
        found = await collect(pool.map(jobs.zeros, sizes))
        assert [len(one) for one in found] == sizes


async def test_parts_of_a_chunk_come_before_its_end(pool, tmp_path, fixed):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    # What is kept is sent when the outbox is full, while the last one waits.
    inputs = [*((1 << 17, "") for _ in range(4)), (1, str(gate))]
    results = pool.map(jobs.zeros_behind, inputs)
    for _ in range(2):
        assert len(await soon(anext(results))) == 1 << 17
    gate.write_bytes(b"!")
    assert len(await collect(results)) == 3


# Timeouts


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_timeout_is_for_each_input(concurrency):
    async with WorkerPool(1, concurrency=concurrency, grace_period=0.05) as pool:
        results = pool.map(
            jobs.sleep_async, [0, 3600, 0], timeout=0.3, return_exceptions=True
        )
        found = await collect(results)
        assert isinstance(found[1], TimeoutError)
        assert "sleep_async had not returned after 0.3 s" in str(found[1])
        # The others may have waited for it, or for a busy machine, for too long.
        assert all(isinstance(one, (TimeoutError, type(None))) for one in found)
        assert await collect(pool.map(jobs.double, range(5), timeout=60)) == [
            0,
            2,
            4,
            6,
            8,
        ]


# Memory


def resident() -> int:
    with open("/proc/self/statm") as figures:
        return int(figures.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _long_map(inputs: int) -> int:
    """How much this process has grown, from a tenth on."""
    async with WorkerPool(2) as pool:
        count, before = 0, 0
        async for result in pool.map(jobs.double, (n for n in range(inputs))):
            assert result == 2 * count
            count += 1
            if count == inputs // 10:
                before = resident()
        assert count == inputs
        assert len(pool._payloads) == 0
        return resident() - before


async def test_memory_stays_constant():
    assert await _long_map(200_000) < 16 << 20


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_memory_stays_constant_for_long():
    assert await _long_map(10_000_000) < 32 << 20


async def test_a_map_that_is_collected_in_the_midst_of_a_put_hangs_nobody(pool):
    told: Any = aioprocq.Queue()
    async with told:
        results = pool.map(jobs.hold_on, itertools.repeat(told))
        first = asyncio.create_task(anext(results))
        await soon(told.get())
        first.cancel()
        await asyncio.wait([first])
        del first
        with pool._station.lock:  # as if a collection began there
            del results
        await calm(pool)
        assert await soon(pool.run(jobs.double, 2)) == 4


async def test_inputs_of_a_chunk_have_nothing_in_common(pool, fixed):
    """What a call does to its argument does not depend on how many travel together."""
    shared: dict[str, int] = {}
    results = pool.map(jobs.count_calls_of, [(shared, n) for n in range(3 * CHUNK)])
    assert await collect(results) == [1] * 3 * CHUNK


async def test_an_input_that_does_not_unpickle_fails_alone(pool, fixed):
    items = [jobs.BadInWorker() if n == 3 else [n] for n in range(CHUNK)]
    results = pool.map(jobs.kind_of, items, return_exceptions=True)
    found = await collect(results)
    failure = found.pop(3)
    assert found == ["list"] * (CHUNK - 1)
    assert "arguments could not be unpickled in its worker" in failure.__notes__[0]


async def test_a_queue_may_be_the_result_of_any_of_them(pool, fixed):
    async with aioprocq.Queue() as queue:
        results = pool.map(
            jobs.give_now_and_then, itertools.product([queue], range(25))
        )
        found = await collect(results)
    assert [type(one) for one in found] == [
        int if n % 3 else aioprocq.Queue for n in range(25)
    ]


@pytest.mark.parametrize("code", [None, 0, 7, "seven"])
@pytest.mark.parametrize("chunk", [1, 3])
async def test_the_child_of_a_job_answers_nothing_and_serves_nobody(
    pool, fixed, code, chunk
):
    worker = await soon(pool.run(jobs.pid))
    status = {None: 0, 0: 0, 7: 7, "seven": 1}[code]
    results = pool.map(jobs.fork_and_wait, [code] * chunk)
    assert await collect(results) == [status] * chunk
    assert {await soon(pool.run(jobs.pid)) for _ in range(10)} == {worker}


@pytest.mark.parametrize("chunk", [1, 3])
async def test_nor_does_one_that_raises(pool, fixed, chunk):
    worker = await soon(pool.run(jobs.pid))
    assert await collect(pool.map(jobs.fork_and_fail, range(chunk))) == [1] * chunk
    assert await soon(pool.run(jobs.pid)) == worker
