"""No item waits behind a busy consumer while another one is idle.

How long things take is never looked at: a job that is held stays held until the test
has seen all the others done, and a meeting ends when everybody has come to it. What
lies behind a busy consumer would never be done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import aioprocq

from .jobs import crew

KINDS = ["blocking-peer", "async-peer", "uvloop-peer", "stuck-async-peer"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def new_queue(maxsize: int = 0) -> Any:
    return aioprocq.JoinableQueue[tuple[str, Any]](maxsize)


@every_kind
async def test_short_jobs_go_around_a_long_one(kind: str, tmp_path: Path) -> None:
    async with crew(new_queue(), tmp_path, kind, kind) as workers:
        await workers.queue.put(("hold", None))
        await workers.held()
        await workers.queue.put_many([("short", 0.0005)] * 1000)
        await workers.unfinished(1)
        workers.release()
        figures = [done for done, _ in await workers.leave()]
    busy, other = sorted(figures, key=lambda done: done["short"])
    assert busy == {"hold": 1}
    assert other == {"short": 1000}


@pytest.mark.both_loops
@every_kind
@pytest.mark.parametrize("maxsize", [0, 50])
async def test_what_was_sent_ahead_is_taken_back(
    kind: str, maxsize: int, tmp_path: Path
) -> None:
    """The long job comes in the middle of a burst, in which hundreds are sent ahead."""
    async with crew(new_queue(maxsize), tmp_path, kind, kind) as workers:
        jobs = [("quick", None)] * 600 + [("hold", None)] + [("quick", None)] * 600
        await workers.queue.put_many(jobs)
        await workers.held()
        await workers.unfinished(1)
        workers.release()
        figures = [done for done, _ in await workers.leave()]
    assert sum(done["quick"] for done in figures) == 1200
    assert sum(done["hold"] for done in figures) == 1


@every_kind
async def test_the_owner_takes_what_a_busy_worker_was_sent(
    kind: str, tmp_path: Path
) -> None:
    async with crew(new_queue(), tmp_path, kind) as workers:
        jobs = [("quick", None)] * 300 + [("hold", None)] + [("rest", None)] * 300
        await workers.queue.put_many(jobs)
        await workers.held()
        rest = []
        for _ in range(300):
            rest.append(await workers.queue.get())
            workers.queue.task_done()
        assert workers.queue.statistics().unfinished == 1
        workers.release()
        [(done, _)] = await workers.leave()
    assert rest == [("rest", None)] * 300
    assert done == {"quick": 300, "hold": 1}


@every_kind
async def test_who_comes_later_takes_what_a_busy_worker_was_sent(
    kind: str, tmp_path: Path
) -> None:
    """As long as it was alone it was sent what lasts for long."""
    async with crew(new_queue(), tmp_path, kind) as workers:
        jobs = [("quick", None)] * 600 + [("hold", None)] + [("quick", None)] * 600
        await workers.queue.put_many(jobs)
        await workers.held()
        workers.hire(kind)
        await workers.unfinished(1)
        workers.release()
        figures = [done for done, _ in await workers.leave()]
    assert figures == [{"quick": 600, "hold": 1}, {"quick": 600}]


async def test_a_worker_takes_what_the_owners_threads_leave(tmp_path: Path) -> None:
    """A thread of the owner's process is a consumer like the others."""
    kinds = ("thread", "blocking-peer", "async-peer")
    async with crew(new_queue(), tmp_path, *kinds) as workers:
        for number in range(10):
            await workers.queue.put_many([("quick", None)] * 30)
            await workers.queue.put_many([("short", 0.0001)] * 3)
            await workers.unfinished(0)
            assert workers.queue.statistics().put == 33 * (number + 1)
        figures = [done for done, _ in await workers.leave()]
    assert sum(done["quick"] for done in figures) == 300


@every_kind
async def test_of_eight_nobody_idles_while_something_waits(
    kind: str, tmp_path: Path
) -> None:
    """Eight meet again and again, each time with another burst before it."""
    async with crew(new_queue(), tmp_path, *[kind] * 8) as workers:
        for number in range(20):
            burst = [("quick", None)] * (71 * number % 400)
            await workers.queue.put_many(burst + [("meet", number)] * 8)
            await workers.unfinished(0)
        figures = [done for done, _ in await workers.leave()]
    assert [done["meet"] for done in figures] == [20] * 8


@pytest.mark.both_loops
@pytest.mark.parametrize("maxsize", [0, 8])
async def test_a_mixed_crew_meets_too(maxsize: int, tmp_path: Path) -> None:
    kinds = ["owner", "thread", *KINDS, "blocking-peer", "async-peer"]
    async with crew(new_queue(maxsize), tmp_path, *kinds) as workers:
        for number in range(10):
            await workers.queue.put_many([("quick", None)] * 25)
            await workers.queue.put_many([("meet", number)] * len(kinds))
            await workers.unfinished(0)
        figures = [done for done, _ in await workers.leave()]
    assert [done["meet"] for done in figures] == [10] * len(kinds)
