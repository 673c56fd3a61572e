"""Everything at once: each job has one fate, its own, and none hangs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from aioprocq import WorkerCrashed, WorkerPool
from tests.supervisor.watching import kill

from . import jobs

pytestmark = pytest.mark.both_loops

DEADLINE = 100.0
GRACE = 0.05


@dataclass
class Account:
    """What has become of the jobs, by their numbers."""

    fates: dict[int, str] = field(default_factory=dict)

    def end(self, number: int, fate: str) -> None:
        assert number not in self.fates, "a job is over once"
        self.fates[number] = fate

    def count(self, fate: str) -> int:
        return list(self.fates.values()).count(fate)


async def one_job(
    pool: WorkerPool, account: Account, number: int, seed: int, crashes: bool
) -> None:
    """One job of some kind. Its fate has to be one that it can have."""
    chance = random.Random(seed)
    kind = chance.choices(
        ["quick", "slow", "raise", "exit", "cancelled", "late"],
        [60, 10, 10, 3 * crashes, 8, 8],
    )[0]
    function: Any = chance.choice([jobs.storm, jobs.storm_async])
    seconds = {"slow": 0.01, "cancelled": 0.02, "late": 0.02}.get(kind, 0.0)
    if kind in ("cancelled", "late") and chance.random() < 0.2:
        seconds = 3600.0  # its worker has to be killed for it, if it is a plain one
    timeout = 0.03 * chance.random() if kind == "late" else None
    call = asyncio.ensure_future(
        pool.run(function, kind, number, seconds, timeout=timeout)
    )
    if kind == "cancelled":
        asyncio.get_running_loop().call_later(0.03 * chance.random(), call.cancel)
    try:
        result = await call
    except ValueError as failure:
        raised = failure.args
        assert (kind, raised) == ("raise", (number,))
        account.end(number, "raised")
    except WorkerCrashed as failure:
        job = failure.job
        assert crashes
        assert job == function.__name__
        account.end(number, "crashed")
    except TimeoutError:
        assert kind == "late"
        account.end(number, "late")
    except asyncio.CancelledError:
        assert kind == "cancelled"
        account.end(number, "cancelled")
    else:
        assert result == number, "the answer to another call"
        assert kind in ("quick", "slow", "cancelled", "late")
        account.end(number, "done")


async def kill_some(pool: WorkerPool, seed: int) -> None:
    """Kill workers from outside, one now and then, until cancelled."""
    chance = random.Random(seed)
    while True:
        await asyncio.sleep(0.3 * chance.random())
        group = pool._crew.group
        assert group is not None
        # Of one that starts it is told that it does not, if that goes on for long.
        running = [w.pid for w in group.statistics().workers if w.state == "ready"]
        if running:
            with contextlib.suppress(ProcessLookupError):
                kill(chance.choice(running))


async def storm(
    count: int, at_once: int, seed: int, *, kills: bool = True, **options: Any
) -> None:
    account = Account()
    gate = asyncio.Semaphore(at_once)

    async def admitted(number: int) -> None:
        try:
            await one_job(pool, account, number, seed + number, kills)
        finally:
            gate.release()

    async with asyncio.timeout(DEADLINE + count / 50):
        async with WorkerPool(2, grace_period=GRACE, **options) as pool:
            killing = asyncio.create_task(kill_some(pool, seed)) if kills else None
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    await gate.acquire()
                    group.create_task(admitted(number))
            if killing is not None:
                killing.cancel()
                await asyncio.wait([killing])
            assert await pool.run(jobs.double, 1) == 2
    assert sorted(account.fates) == list(range(count))
    figures = pool.statistics()
    assert (figures.queued, figures.running) == (0, 0)
    # Who is cancelled in the very moment of an answer does not get it any more; and
    # who is cancelled before its first step submits nothing.
    given_up = account.count("late") + account.count("cancelled")
    assert figures.cancelled <= given_up
    ended = figures.done + figures.failed + figures.crashed
    assert count + 1 - given_up <= ended <= count + 1 - figures.cancelled
    assert figures.done >= account.count("done") + 1
    assert figures.failed >= account.count("raised")
    assert figures.crashed >= account.count("crashed")
    assert not pool._payloads
    assert not pool._jobs.sent
    pool._jobs.check_invariants()


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("retries", [0, 2])
async def test_jobs_of_all_kinds_while_workers_are_killed(concurrency, retries):
    await storm(150, 50, 1, concurrency=concurrency, retries=retries)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_timeouts_and_cancellations(concurrency):
    await storm(500, 100, 2, kills=False, concurrency=concurrency)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("retries", [0, 2])
async def test_a_long_storm(concurrency, retries, seed):
    options: Any = {"concurrency": concurrency, "retries": retries, "max_tasks": 200}
    await storm(5000, 300, 1000 * seed, **options)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_ten_thousand_timeouts_and_cancellations(concurrency):
    await storm(10_000, 300, 3, kills=False, concurrency=concurrency)
