"""Segments that are used again, and deaths: nobody's bytes change while they look.

Each array says in its own bytes which one it is, and is made of nothing else, so that
one look at it tells whether anything was written into it since it was put.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import aioprocq
from aioprocq import OwnerLost, QueueShutDown
from aioprocq.drivers.transport import PORTABLE
from tests.contract.harness import eventually, within

from .diary import CHILD, GOT, SETTLED, Diary
from .processes import Mortal, at_rest, graveyard, is_gone, wait_until
from .test_fork import fork, reap, sit_still

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.skipif(PORTABLE, reason="segments are used once there")

WRONG = b"W"
WORDS = 20_000
OWNER = 9_999


def marked(who: int, number: int, words: int = WORDS) -> Any:
    return numpy.full(words, who << 32 | number, dtype="uint64")


def is_whole(array: Any, who: int, number: int) -> bool:
    return bool((array == (who << 32 | number)).all())


def pool_of(queue: Any) -> Any:
    return queue._handle.station.pool


# --- the storm ---------------------------------------------------------------


def keep_and_look(queue: Any, diary: Diary, seed: int) -> None:
    """Keep some arrays, and parts of some, and look at all of them again and again."""
    random = Random(seed)
    kept: list[tuple[Any, int, int]] = []
    with contextlib.suppress(QueueShutDown, OwnerLost):
        while True:
            delivery = queue.sync.get_delivery()
            who, number, array = delivery.item
            diary.note(GOT, who, number)
            kept.append((array if number % 3 else array[7::5], who, number))
            del array, delivery.item
            if any(not is_whole(*one) for one in kept):
                diary.note(WRONG, who, number)
            if random.random() < 0.3:
                time.sleep(0.002 * random.random())
            while len(kept) > random.randrange(1, 7):
                kept.pop(random.randrange(len(kept)))
            delivery.done()
            diary.note(SETTLED, who, number)


def put_at_full_speed(queue: Any, who: int) -> None:
    number = 0
    while True:
        queue.sync.put((who, number, marked(who, number)))
        number += 1


class Crowd:
    """Producers and consumers of one queue, of which one is killed after another."""

    def __init__(self, queue: Any, place: Path, mortals: list[Mortal]) -> None:
        self.queue = queue
        self.place = place
        self.mortals = mortals
        self.diaries: list[Diary] = []
        self.living: dict[str, list[Mortal]] = {"consumer": [], "producer": []}

    def start(self, role: str) -> None:
        seed = len(self.mortals)
        if role == "consumer":
            self.diaries.append(Diary(self.place / f"{seed}"))
            made = Mortal(keep_and_look, self.queue, self.diaries[-1], seed)
        else:
            made = Mortal(put_at_full_speed, self.queue, seed)
        self.mortals.append(made)
        self.living[role].append(made)

    def notes(self, kind: bytes) -> int:
        return sum(len(diary.read(kind)) for diary in self.diaries)

    async def kill_one(self, role: str, random: Random) -> None:
        living = self.living[role]
        await living.pop(random.randrange(len(living))).kill()
        self.start(role)


async def put_from_here(queue: Any, until: Callable[[], bool]) -> int:
    number = 0
    while not until():
        for _ in range(5):
            await queue.put((OWNER, number, marked(OWNER, number)))
            number += 1
    return number


async def test_nothing_is_ever_written_where_somebody_looks(tmp_path: Path) -> None:
    random = Random(7)
    queue = aioprocq.JoinableQueue[Any](maxsize=6, max_deliveries=100)
    async with graveyard(queue) as mortals:
        crowd = Crowd(queue, tmp_path, mortals)
        for role in ("consumer", "consumer", "consumer", "producer", "producer"):
            crowd.start(role)
        for kill in range(16):
            wanted = crowd.notes(GOT) + 40
            await within(put_from_here(queue, lambda n=wanted: crowd.notes(GOT) >= n))
            await crowd.kill_one("producer" if kill % 4 == 3 else "consumer", random)
        for producer in crowd.living["producer"]:
            await producer.kill()
        await within(queue.join())
        queue.shutdown()
        for consumer in crowd.living["consumer"]:
            assert await consumer.end() == 0
        assert crowd.notes(WRONG) == 0
        assert queue.statistics().redelivered, "nobody died with an item"
        assert pool_of(queue).statistics().reused > 100, "nothing was used again"


# --- one death at a time -----------------------------------------------------


def keep(queue: Any, diary: Diary, count: int = 1) -> None:
    kept = [queue.sync.get() for _ in range(count)]
    diary.note(GOT, number=len(kept))
    sit_still()


@contextlib.asynccontextmanager
async def someone_keeps(
    queue: Any, place: Path, target: Callable[..., None] = keep
) -> AsyncIterator[tuple[Mortal, Diary]]:
    diary = Diary(place / "keeper")
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(target, queue, diary))
        await queue.put(marked(1, 1))
        await eventually(lambda: bool(diary.read(GOT)))
        yield mortals[0], diary


async def reused_by(queue: Any, count: int) -> int:
    """How often a segment was used again when so many items came at once, and went."""
    before: int = pool_of(queue).statistics().reused
    for number in range(count):
        await queue.put(marked(2, number))
    for _ in range(count):
        await within(queue.get())
    return int(pool_of(queue).statistics().reused - before)


async def test_a_consumer_that_is_killed_lets_go_by_dying(tmp_path: Path) -> None:
    queue = aioprocq.Queue[Any]()
    async with someone_keeps(queue, tmp_path) as (consumer, _):
        await queue.join()  # the owner knows that it was handed out
        assert [await reused_by(queue, 1) for _ in range(3)] == [0, 1, 1]
        assert await reused_by(queue, 2) == 1
        await consumer.kill()
        await at_rest(queue)
        assert await reused_by(queue, 3) == 3


def fork_and_let_go(queue: Any, diary: Diary) -> None:
    """The child keeps what the parent lets go, looks at it when told to, and ends."""
    array = queue.sync.get()
    kept, own = [array], Diary(diary.path.with_name("child"))

    def child() -> None:
        told = signal.sigtimedwait([signal.SIGUSR1], 30)
        own.note(SETTLED if told and is_whole(kept[0], 1, 1) else WRONG)

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    pid = fork(child)
    del array
    kept.clear()
    diary.note(CHILD, number=pid)
    diary.note(GOT)
    assert reap(pid) == 0


async def test_a_forked_child_holds_what_its_parent_has_let_go(tmp_path: Path) -> None:
    queue = aioprocq.Queue[Any]()
    async with someone_keeps(queue, tmp_path, fork_and_let_go) as (parent, diary):
        await queue.join()
        assert [await reused_by(queue, 1) for _ in range(50)] == [0] + [1] * 49
        os.kill(diary.read(CHILD)[0].number, signal.SIGUSR1)
        assert await parent.end() == 0
        child = Diary(tmp_path / "child")
        assert (child.read(WRONG), len(child.read(SETTLED))) == ([], 1)


async def test_what_a_dead_producer_has_put_can_be_read(tmp_path: Path) -> None:
    queue = aioprocq.Queue[Any](maxsize=8)
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(put_at_full_speed, queue, 3))
        for number in range(50):  # it recycles by now
            who, found, array = await within(queue.get())
            assert (who, found) == (3, number)
            assert is_whole(array, who, number)
            del array
        await eventually(queue.full)
        await mortals[0].kill()
        kept = []
        while not queue.empty():
            kept.append(await within(queue.get()))
        assert len(kept) >= 8
        assert all(is_whole(array, who, number) for who, number, array in kept)


def keep_until_the_owner_is_gone(queue: Any, diary: Diary) -> None:
    kept: list[Any] = []
    with contextlib.suppress(OwnerLost):
        while True:
            kept.append(queue.sync.get())
            del kept[:-4]
            diary.note(GOT)
    whole = len(kept) == 4 and all(is_whole(a, who, n) for who, n, a in kept)
    diary.note(SETTLED if whole else WRONG)


def own_and_put(diary: Diary) -> None:
    queue = aioprocq.Queue[Any](maxsize=4)
    pid = fork(lambda: keep_until_the_owner_is_gone(queue, diary))
    diary.note(CHILD, number=pid)
    put_at_full_speed(queue, 5)


async def test_what_was_got_from_a_dead_owner_stays_as_it_is(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "consumer")
    async with graveyard() as mortals:
        mortals.append(Mortal(own_and_put, diary))
        await eventually(lambda: len(diary.read(GOT)) > 50)
        await mortals[0].kill()
        child = diary.read(CHILD)[0].number
        await eventually(lambda: is_gone(child))
        assert (diary.read(WRONG), len(diary.read(SETTLED))) == ([], 1)


def say_so_and_sit_still(diary: Diary) -> None:
    diary.note(GOT)
    sit_still()


async def test_a_child_of_the_owner_holds_nothing_of_what_was_waiting(
    tmp_path: Path,
) -> None:
    diary = Diary(tmp_path / "child")
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue) as mortals:
        assert await reused_by(queue, 3) == 0
        await queue.put(marked(1, 1))
        mortals.append(Mortal(say_so_and_sit_still, diary))
        await eventually(lambda: bool(diary.read(GOT)))
        await within(queue.get())
        assert [await reused_by(queue, 3) for _ in range(3)] == [3, 3, 3]


def hold_some_and_fork(queue: Any, diary: Diary) -> None:
    """Be handed an item, let it go; and have a child that does nothing."""
    queue.sync.put(marked(4, 1))
    queue.sync.get()
    child = Diary(diary.path.with_name("child"))
    diary.note(CHILD, number=fork(lambda: say_so_and_sit_still(child)))
    wait_until(lambda: bool(child.read(GOT)))
    diary.note(GOT)
    sit_still()


async def test_a_child_of_a_peer_holds_nothing_of_what_the_peer_had(
    tmp_path: Path,
) -> None:
    queue = aioprocq.Queue[Any]()
    async with someone_keeps(queue, tmp_path, hold_some_and_fork) as (peer, diary):
        for number in range(2):
            await queue.put(marked(1, number))
        child = diary.read(CHILD)[0].number
        try:
            await peer.kill()
            await at_rest(queue)
            while not queue.empty():
                await within(queue.get())
            assert await reused_by(queue, 3) == 3
        finally:
            os.kill(child, signal.SIGKILL)
            await eventually(lambda: is_gone(child))
