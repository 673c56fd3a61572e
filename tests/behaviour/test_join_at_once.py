"""An app throws everything away, and then only waits for its processes to end."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import bare_main

ROUNDS = 6
IN_FLIGHT = 100
CALLS = 600
DEADLINE = 20.0

context = multiprocessing.get_context("forkserver")


def echo(jobs: Any, results: Any) -> None:
    for item in jobs.sync:
        results.sync.put(item)


@pytest.mark.both_loops
@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_end_though_the_loop_is_blocked(workers: int) -> None:
    for _ in range(ROUNDS):
        jobs, results = aioprocq.Queue[int](), aioprocq.Queue[int]()
        processes = [
            context.Process(target=echo, args=(jobs, results)) for _ in range(workers)
        ]
        for process in processes:
            with bare_main():
                process.start()
        for number in range(IN_FLIGHT):
            await jobs.put(number)
        for _ in range(CALLS):
            await jobs.put(await results.get())
        jobs.shutdown(immediate=True)
        for process in processes:
            process.join(DEADLINE)  # and so nobody turns the loop
            assert process.exitcode == 0
            process.close()
        await jobs.aclose()
        await results.aclose()
