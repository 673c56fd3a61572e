"""SIGKILL at every kind of moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import within

from .diary import GOT, PUT, SETTLED
from .processes import at_rest, graveyard
from .roles import BATCH, CONSUMERS, HOLDERS, PRODUCERS
from .storm import Actor, Storm, notes_of

DELIVERIES = 4
MAXSIZE = 64
SURVIVORS = 2
Item = tuple[int, int]


@asynccontextmanager
async def storm_around(queue: Any, place: Path, seed: int) -> Any:
    async with graveyard(queue):
        storm = Storm(queue, place, seed)
        try:
            yield storm
        finally:
            storm.bury()


async def let_it_rage(storm: Storm, kills: int, consumers: Sequence[Any]) -> None:
    """Both sides at work; then only consumers, then only producers, all blocked."""
    await storm.rage(kills * 3 // 5, (PRODUCERS, 3), (consumers, 3))
    for actor in list(storm.actors):
        if actor.role in PRODUCERS:
            await storm.kill(actor)
    await storm.rage(kills // 5, (consumers, 1))
    await storm.kill_all()
    await storm.rage(kills // 5, (PRODUCERS, 3))
    await storm.kill_all()


async def work_off(storm: Storm, consumers: Sequence[Any]) -> list[Actor]:
    """The living finish what is left, and `join` says that they have."""
    for _ in range(SURVIVORS):
        storm.start(consumers, plainly=True)
    await within(storm.queue.join())
    storm.queue.shutdown()
    return await storm.let_all_end()


def check_puts(storm: Storm, seen: set[Item], put: int) -> set[Item]:
    """What was put: what its producer noted, and what was under way when it died."""
    noted = Counter(note.who for note in notes_of(storm.dead, PUT))
    returned = {note.item for note in notes_of(storm.dead, PUT)}
    extra = seen - returned
    for who, number in extra:
        assert noted[who] <= number < noted[who] + BATCH, (who, number)
    known = returned | seen
    assert len(known) <= put <= len(known) + BATCH * len(storm.dead)
    return known


def check_dead_consumers(storm: Storm, missing: set[Item], noted: set[Item]) -> None:
    """What nobody has noted was handed to one who died before writing it down."""
    users = [actor for actor in storm.dead if actor.role not in PRODUCERS]
    assert missing <= noted
    assert len(missing) <= BATCH * len(users)


async def storm_on_a_queue(kills: int, place: Path, seed: int) -> None:
    queue = aioprocq.Queue[Any](MAXSIZE)
    async with storm_around(queue, place, seed) as storm:
        await let_it_rage(storm, kills, CONSUMERS)
        survivors = await work_off(storm, CONSUMERS)
        statistics = await at_rest(queue)
        got = [note.item for note in notes_of([*storm.dead, *survivors], GOT)]
        assert max(Counter(got).values()) == 1, "an item was handed out twice"
        put = check_puts(storm, set(got), statistics.put)
        check_dead_consumers(storm, put - set(got), put)
        assert (statistics.qsize, statistics.unfinished) == (0, 0)
        assert storm.kills >= kills


async def storm_on_a_joinable_queue(kills: int, place: Path, seed: int) -> None:
    queue = aioprocq.JoinableQueue[Any](MAXSIZE, max_deliveries=DELIVERIES)
    async with storm_around(queue, place, seed) as storm:
        consumers = (*CONSUMERS, *HOLDERS, *HOLDERS)
        await let_it_rage(storm, kills, consumers)
        survivors = await work_off(storm, consumers)
        statistics = await at_rest(queue)
        dead = [letter.item[:2] for letter in await queue.dead_letters()]
        everyone = [*storm.dead, *survivors]
        got = Counter(note.item for note in notes_of(everyone, GOT))
        settled = Counter(note.item for note in notes_of(everyone, SETTLED))
        assert max(got.values()) <= DELIVERIES
        assert max(settled.values()) == 1, "an item was settled twice"
        assert not set(dead) & set(settled)
        assert len(dead) == len(set(dead)) == statistics.dead_letters
        put = check_puts(storm, {*got, *dead}, statistics.put)
        check_dead_consumers(storm, put - {*settled, *dead}, set(got))
        assert (statistics.qsize, statistics.unfinished) == (0, 0)
        assert storm.kills >= kills


@pytest.mark.parametrize("seed", [1])
async def test_a_storm_on_a_queue(seed: int, tmp_path: Path) -> None:
    await storm_on_a_queue(20, tmp_path, seed)


@pytest.mark.parametrize("seed", [2])
async def test_a_storm_on_a_joinable_queue(seed: int, tmp_path: Path) -> None:
    await storm_on_a_joinable_queue(20, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
async def test_a_long_storm_on_a_queue(seed: int, tmp_path: Path) -> None:
    await storm_on_a_queue(200, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
async def test_a_long_storm_on_a_joinable_queue(seed: int, tmp_path: Path) -> None:
    await storm_on_a_joinable_queue(200, tmp_path, seed)
