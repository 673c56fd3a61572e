"""Processes that leave, in order or not, with their hands full."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import eventually, within

from .crash_points import ballast
from .diary import GOT, PUT, Diary
from .processes import Mortal, at_rest, graveyard

LARGE = 8 << 20
METHODS = ("fork", "forkserver", "spawn")

each_method = pytest.mark.parametrize("method", METHODS)


def hold(queue: Any, diary: Diary, count: int, way: str) -> None:
    """Get some, settle none, and leave."""
    for _ in range(count):
        delivery = queue.sync.get_delivery()
        diary.note(GOT, number=delivery.item[0], attempt=delivery.attempt)
    if way == "returns":
        return
    if way == "raises":
        os.close(2)  # nobody wants to see the traceback
        raise RuntimeError("for a test")
    if way == "exits at once":
        os._exit(7)
    signal.pause()


@pytest.mark.parametrize("way", ["returns", "raises", "exits at once", "is killed"])
@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
async def test_what_it_held_is_delivered_again(
    size: int, way: str, tmp_path: Path
) -> None:
    queue = aioprocq.JoinableQueue[Any](max_deliveries=2)
    diary = Diary(tmp_path / "holder")
    async with graveyard(queue) as mortals:
        for number in range(3):
            await queue.put((number, ballast(number, size)))
        mortals.append(Mortal(hold, queue, diary, 2, way))
        await eventually(lambda: len(diary.read(GOT)) == 2)
        if way == "is killed":
            mortals[0].signal(signal.SIGKILL)
        await mortals[0].end()
        await at_rest(queue)
        attempts = []
        for number in range(3):
            delivery = await within(queue.get_delivery())
            assert delivery.item == (number, ballast(number, size))
            attempts.append(delivery.attempt)
            delivery.done()
        del delivery
        assert attempts == [2, 2, 1]
        await within(queue.join())
        await at_rest(queue)


async def test_at_most_once(tmp_path: Path) -> None:
    """What the dead held is a dead letter then, whole, with the reason."""
    queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
    diary = Diary(tmp_path / "holder")
    async with graveyard(queue) as mortals:
        await queue.put((0, ballast(0, LARGE)))
        await queue.put((1, b""))
        mortals.append(Mortal(hold, queue, diary, 1, "is killed"))
        await eventually(lambda: len(diary.read(GOT)) == 1)
        await mortals[0].kill()
        (letter,) = await within(dead_letters(queue))
        assert letter.item == (0, ballast(0, LARGE))
        assert letter.attempts == 1
        assert str(mortals[0].pid) in letter.reason
        del letter
        assert (await within(queue.get()))[0] == 1
        queue.task_done()
        await within(queue.join())
        await at_rest(queue)


async def dead_letters(queue: Any) -> list[Any]:
    await eventually(lambda: queue.statistics().dead_letters > 0)
    return list(await queue.dead_letters())


def take_a_little(queue: Any, diary: Diary) -> None:
    """Read ahead, take one item, and leave the rest unread."""
    queue.sync.get_many(2)
    diary.note(GOT)


@each_method
async def test_megabytes_unread(method: str, tmp_path: Path) -> None:
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue) as mortals:
        await queue.put_many((n, ballast(n, 10_000)) for n in range(300))
        mortals.append(
            Mortal(take_a_little, queue, Diary(tmp_path / "it"), method=method)
        )
        assert await mortals[0].end() == 0
        await at_rest(queue)
        rest = [await within(queue.get()) for _ in range(queue.qsize())]
        assert [number for number, _ in rest] == list(range(300 - len(rest), 300))
        assert len(rest) in (298, 299)
        await within(queue.join())


def put_and_leave(queue: Any, diary: Diary, count: int) -> None:
    for number in range(count):
        queue.sync.put((number, ballast(number, 20_000)))
        diary.note(PUT, number=number)


@each_method
async def test_megabytes_put(method: str, tmp_path: Path) -> None:
    """It has left, in order, before anything was taken out; all of it is there."""
    queue = aioprocq.Queue[Any]()
    async with graveyard(queue) as mortals:
        diary = Diary(tmp_path / "it")
        mortals.append(Mortal(put_and_leave, queue, diary, 300, method=method))
        assert await mortals[0].end() == 0
        for number in range(300):
            assert await within(queue.get()) == (number, ballast(number, 20_000))
        assert queue.empty()
        await at_rest(queue)


def put_while_blocked(queue: Any, diary: Diary) -> None:
    """Tasks that wait for room when the process leaves."""

    async def main() -> None:
        for number in range(4):
            await queue.put((number, b""))
            diary.note(PUT, number=number)
        waiting = [asyncio.create_task(queue.put((9, b""))) for _ in range(5)]
        await asyncio.sleep(0)
        diary.note(PUT, number=99)
        await asyncio.wait(waiting, timeout=30)

    asyncio.run(main())


async def test_a_putter_that_waits_is_killed(tmp_path: Path) -> None:
    """What was not put is not there, and its place in the line is free."""
    queue = aioprocq.Queue[Any](4)
    diary = Diary(tmp_path / "it")
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(put_while_blocked, queue, diary))
        # It waits for its first room too: so the notes have to be there as well.
        await eventually(lambda: len(diary.read(PUT)) == 5)
        await eventually(lambda: queue.statistics().putters_waiting == 1)
        mine = asyncio.create_task(queue.put((4, b"")))
        await eventually(lambda: queue.statistics().putters_waiting == 2)
        await mortals[0].kill()
        await at_rest(queue)
        got = [await within(queue.get()) for _ in range(5)]
        assert [number for number, _ in got] == list(range(5))
        await within(mine)
        assert queue.empty()


def dial_late(queue: Any, go: Any, diary: Diary, kind: str) -> None:
    """Use the queue for the first time when its owner listens no more."""
    go.recv()
    if kind == "blocking":
        with pytest.raises(aioprocq.OwnerLost):
            queue.sync.get()
    else:
        with pytest.raises(aioprocq.OwnerLost):
            asyncio.run(queue.get())
    with pytest.raises(aioprocq.OwnerLost):
        queue.sync.put(1)
    with pytest.raises(aioprocq.OwnerLost):
        queue.sync.qsize()
    diary.note(GOT)


@each_method
@pytest.mark.parametrize("kind", ["blocking", "async"])
async def test_dialling_after_the_end(kind: str, method: str, tmp_path: Path) -> None:
    import multiprocessing

    queue = aioprocq.Queue[Any]()
    theirs, ours = multiprocessing.Pipe(duplex=False)
    diary = Diary(tmp_path / "it")
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(dial_late, queue, theirs, diary, kind, method=method))
        await queue.aclose()
        ours.send("go")
        assert await mortals[0].end() == 0
        assert diary.read(GOT)
    ours.close()
    theirs.close()
