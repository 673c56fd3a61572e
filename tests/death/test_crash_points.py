"""A process is killed at a line of the library, and what it had done stays done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import within

from .crash_points import (
    BATCH,
    CONSUMERS,
    ITEMS,
    PRODUCERS,
    SETTLERS,
    Script,
    ballast,
    burn,
    put_many,
)
from .diary import GOT, LINES, PUT, SETTLED, Diary
from .processes import Mortal, at_rest, graveyard

Trial = Callable[[Script, int, Diary], Awaitable[bool]]

SAMPLES = 10
DELIVERIES = 3


def numbers(diary: Diary, *kinds: bytes) -> list[int]:
    return [note.number for note in diary.read(*kinds)]


async def length_of(trial: Trial, script: Script, diary: Diary) -> int:
    """How many lines the script runs when nobody kills it."""
    assert not await trial(script, 0, diary)
    (lines,) = numbers(diary, LINES)
    return lines


async def sample(trial: Trial, script: Script, place: Path) -> None:
    """Kill it at lines spread over the script, the seed being its name."""
    lines = await length_of(trial, script, Diary(place / "whole"))
    step = lines / SAMPLES
    random = Random(script.__name__)
    kills = 0
    for turn in range(SAMPLES):
        fatal = 1 + int(step * (turn + random.random()))
        kills += await trial(script, fatal, Diary(place / str(fatal)))
    assert kills > SAMPLES // 2


async def sweep(trial: Trial, script: Script, place: Path) -> None:
    """Kill it at each line."""
    lines = await length_of(trial, script, Diary(place / "whole"))
    for fatal in range(1, lines + 1):
        await trial(script, fatal, Diary(place / str(fatal)))


async def die(script: Script, queue: Any, diary: Diary, fatal: int) -> bool:
    """Whether it was killed; an exception in it fails the test."""
    async with graveyard() as mortals:
        mortals.append(Mortal(burn, script, queue, diary, fatal))
        code = await mortals[0].end()
    assert code in (0, -9), f"it has failed at line {fatal} at the latest"
    return code != 0


async def producer_dies(script: Script, fatal: int, diary: Diary) -> bool:
    """All puts that returned are there, in order, and the one under way at most."""
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue):
        killed = await die(script, queue, diary, fatal)
        await at_rest(queue)
        got = [await within(queue.get()) for _ in range(queue.qsize())]
        seen = [number for number, _ in got]
        returned = numbers(diary, PUT)
        under_way = BATCH if script is put_many else 1
        assert seen == list(range(len(seen))), fatal
        assert len(returned) <= len(seen) <= len(returned) + under_way, fatal
        assert all(item == ballast(n, len(item)) for n, item in got)
        await within(queue.join())
        await at_rest(queue)
    return killed


async def consumer_dies(script: Script, fatal: int, diary: Diary) -> bool:
    """What it was handed is gone with it; everything else is still there."""
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue):
        await queue.put_many((n, b"") for n in range(2 * ITEMS))
        killed = await die(script, queue, diary, fatal)
        await at_rest(queue)
        rest = [(await within(queue.get()))[0] for _ in range(queue.qsize())]
        got = numbers(diary, GOT)
        missing = set(range(2 * ITEMS)) - set(got) - set(rest)
        assert rest == sorted(rest), fatal
        assert not set(got) & set(rest), fatal
        assert len(missing) <= (BATCH if "many" in script.__name__ else 1), fatal
        await within(queue.join())
        await at_rest(queue)
    return killed


async def settler_dies(script: Script, fatal: int, diary: Diary) -> bool:
    """What it had settled is not delivered again, and everything else is."""
    queue = aioprocq.JoinableQueue[Any](max_deliveries=DELIVERIES)
    async with graveyard(queue):
        await queue.put_many((n, b"") for n in range(ITEMS))
        killed = await die(script, queue, diary, fatal)
        await at_rest(queue)
        again = []
        for _ in range(queue.qsize()):
            async with await within(queue.get_delivery()) as (number, _):
                again.append(number)
        await within(queue.join())
        check_settled(diary, again, fatal)
        await at_rest(queue)
    return killed


def check_settled(diary: Diary, again: list[int], fatal: int) -> None:
    settled = numbers(diary, SETTLED)
    assert again == sorted(again), fatal
    assert not set(settled) & set(again), fatal
    assert max(Counter(settled).values(), default=0) <= 1, fatal
    # Killed between the call and the note of it: one at most is in neither.
    missing = set(range(ITEMS)) - set(settled) - set(again)
    assert missing <= set(numbers(diary, GOT)), fatal
    assert len(missing) <= 1, fatal
    attempts = Counter(numbers(diary, GOT)) + Counter(again)
    assert max(attempts.values()) <= DELIVERIES, fatal


TRIALS = [
    *((producer_dies, script) for script in PRODUCERS),
    *((consumer_dies, script) for script in CONSUMERS),
    *((settler_dies, script) for script in SETTLERS),
]
each = pytest.mark.parametrize(
    ("trial", "script"), TRIALS, ids=[script.__name__ for _, script in TRIALS]
)


@each
async def test_a_few_lines(trial: Trial, script: Script, tmp_path: Path) -> None:
    await sample(trial, script, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(600)
@each
async def test_every_line(trial: Trial, script: Script, tmp_path: Path) -> None:
    await sweep(trial, script, tmp_path)
