"""SIGKILL, again and again, to workers at work: everything is done all the same."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import eventually, within
from tests.death.diary import GOT, SETTLED, Diary, Note
from tests.death.processes import hub_of

from .lag import measured
from .observed import Observed, pids_of, undaunted
from .targets import Numbers, consume, consume_async, hold_one, who_is_here

pytestmark = pytest.mark.both_loops

WORKERS = 8
DELIVERIES = 4
MAXSIZE = 64
LONGEST = 0.05


async def put_all(queue: Numbers, items: int) -> None:
    for number in range(items):
        await queue.put(number)


async def kill_some(group: aioprocq.WorkerGroup, kills: int, chance: Random) -> None:
    killed: set[int] = set()

    def targets() -> list[int]:
        return [pid for pid in pids_of(group) if pid not in killed]

    for _ in range(kills):
        await asyncio.sleep(chance.random() ** 2 * LONGEST)
        await eventually(lambda: bool(targets()))
        pid = chance.choice(targets())
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)


def notes(place: Path, kind: bytes) -> list[Note]:
    return [note for path in place.iterdir() for note in Diary(path).read(kind)]


async def check(queue: Numbers, items: int, place: Path) -> None:
    """Every item was noted as done or is a dead letter, after no more attempts."""
    hub_of(queue).check_invariants()
    statistics = queue.statistics()
    letters = await queue.dead_letters()
    dead = [letter.item for letter in letters]
    done = {note.number for note in notes(place, SETTLED)}
    got = Counter(note.number for note in notes(place, GOT))
    assert statistics.put == items
    assert (statistics.qsize, statistics.unfinished, statistics.held) == (0, 0, 0)
    assert len(dead) == len(set(dead)) == statistics.dead_letters
    assert done | set(dead) == set(range(items))
    assert max(got.values()) <= DELIVERIES
    assert max(note.attempt for note in notes(place, GOT)) <= DELIVERIES
    assert all(letter.attempts == DELIVERIES for letter in letters)


async def rage(
    target: Callable[..., Any], kills: int, items: int, seed: int, place: Path
) -> str:
    queue = Numbers(MAXSIZE, name="numbers", max_deliveries=DELIVERIES)
    async with queue, measured() as lag, Observed() as supervisor:
        group = await supervisor.start(
            target, queue, place, count=WORKERS, **undaunted()
        )
        putting = asyncio.create_task(put_all(queue, items))
        await kill_some(group, kills, Random(seed))
        await within(putting, 300)
        await within(queue.join(), 300)
        await supervisor.until("exited", kills)
        assert group.statistics().exits == {"signal": kills}
        held = sum(len(event.held) for event in supervisor.told("exited"))
        assert held > 0, "nobody was killed at work"
        await check(queue, items, place)
    return f"{kills} killed, {held} items held; {lag}"


@pytest.mark.parametrize("target", [consume, consume_async])
async def test_a_storm(target: Callable[..., Any], tmp_path: Path) -> None:
    await rage(target, 40, 1500, 1, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", [consume, consume_async])
async def test_a_long_storm(
    target: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = await rage(target, 500, 20_000, 2, tmp_path)
    with capsys.disabled():
        print(f"\n{target.__name__}: {report}")


async def test_all_die_at_once(tmp_path: Path) -> None:
    queue = Numbers(max_deliveries=DELIVERIES)
    async with queue, Observed() as supervisor:
        group = await supervisor.start(
            hold_one, queue, tmp_path, count=WORKERS, **undaunted()
        )
        await put_all(queue, WORKERS)
        for attempt in range(1, DELIVERIES + 1):
            await eventually(
                lambda n=attempt: len(who_is_here(tmp_path, "holding")) == n * WORKERS
            )
            for pid in pids_of(group):
                os.kill(pid, signal.SIGKILL)
            await supervisor.until("exited", attempt * WORKERS)
        await within(queue.join())
        letters = await queue.dead_letters()
        assert sorted(letter.item for letter in letters) == list(range(WORKERS))
        assert {letter.attempts for letter in letters} == {DELIVERIES}
        held = [e.held[0].attempts for e in supervisor.told("exited")]
        assert Counter(held) == dict.fromkeys(range(1, DELIVERIES + 1), WORKERS)
        assert queue.statistics().unfinished == 0
