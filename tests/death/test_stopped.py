"""A consumer that is stopped, not dead, loses nothing and holds nobody up."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import aioprocq
from tests.contract.harness import eventually, within

from .diary import GOT, SETTLED, Diary
from .processes import Mortal, at_rest, graveyard, hub_of, is_stopped
from .roles import get_in_tasks, get_singly, hold_deliveries, hold_deliveries_in_tasks

COUNT = 3000
SHORT, LONG = 2.0, 10.0

both_lengths = pytest.mark.parametrize(
    "seconds", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)]
)


def settled(*diaries: Diary) -> int:
    return sum(len(diary.read(SETTLED)) for diary in diaries)


async def stop(queue: Any, mortal: Mortal, diary: Diary) -> None:
    """Stop it while it is at work, and items have been sent to it."""
    await eventually(lambda: settled(diary) > 5)
    mortal.signal(signal.SIGSTOP)
    await eventually(lambda: is_stopped(mortal.pid))


def all_but_one_are_done(queue: Any) -> bool:
    """That one was handed to the one that is stopped."""
    return queue.qsize() == 0 and hub_of(queue).store.unfinished <= 1


@both_lengths
@pytest.mark.parametrize("role", [get_singly, get_in_tasks])
@pytest.mark.both_loops
async def test_the_others_do_all_the_work(
    role: Any, seconds: float, tmp_path: Path
) -> None:
    queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
    diaries = [Diary(tmp_path / str(number)) for number in range(3)]
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(role, queue, diaries[0], 0))
        await queue.put_many((0, number, b"") for number in range(COUNT))
        await stop(queue, mortals[0], diaries[0])
        mortals += [Mortal(role, queue, diary, 0) for diary in diaries[1:]]
        await eventually(lambda: all_but_one_are_done(queue))
        for number in range(COUNT, 2 * COUNT):
            await queue.put((0, number, b""))
        await eventually(lambda: all_but_one_are_done(queue))
        await asyncio.sleep(seconds)  # the length of the stop is what is tested
        assert queue.statistics().peers == 3
        await go_on(queue, mortals, diaries)


async def go_on(queue: Any, mortals: list[Mortal], diaries: list[Diary]) -> None:
    """The stopped one takes its share again once it runs."""
    for mortal in mortals[1:]:
        mortal.signal(signal.SIGSTOP)
        await eventually(partial(is_stopped, mortal.pid))
    mortals[0].signal(signal.SIGCONT)
    before = settled(diaries[0])
    await queue.put((0, 2 * COUNT, b""))
    await eventually(lambda: settled(diaries[0]) > before)
    for mortal in mortals[1:]:
        mortal.signal(signal.SIGCONT)
    await within(queue.join())
    queue.shutdown()
    for mortal in mortals:
        assert await mortal.end() == 0
    await at_rest(queue)
    got = [note.number for diary in diaries for note in diary.read(GOT)]
    assert sorted(got) == list(range(2 * COUNT + 1))


@pytest.mark.parametrize("role", [hold_deliveries, hold_deliveries_in_tasks])
async def test_what_it_holds_waits_for_it(role: Any, tmp_path: Path) -> None:
    """A stop is no death: nothing is delivered again, and `join` waits."""
    queue = aioprocq.JoinableQueue[Any](max_deliveries=1)
    diaries = [Diary(tmp_path / str(number)) for number in range(2)]
    async with graveyard(queue) as mortals:
        for diary in diaries:
            mortals.append(Mortal(role, queue, diary, 0))
        await queue.put_many((0, 7 * number, b"") for number in range(100))
        await stop(queue, mortals[0], diaries[0])
        joining = asyncio.create_task(queue.join())
        held = len(diaries[0].read(GOT)) - settled(diaries[0])
        await eventually(lambda: hub_of(queue).store.unfinished <= held + 1)
        mortals[0].signal(signal.SIGCONT)
        await within(joining)
        assert queue.statistics().redelivered == 0
        queue.shutdown()
        assert [await mortal.end() for mortal in mortals] == [0, 0]
        assert settled(*diaries) == 100
        await at_rest(queue)


async def test_a_stopped_one_is_killed(tmp_path: Path) -> None:
    queue = aioprocq.JoinableQueue[Any](max_deliveries=2)
    diary = Diary(tmp_path / "stopped")
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(get_singly, queue, diary, 0))
        await queue.put_many((0, number, b"") for number in range(COUNT))
        await stop(queue, mortals[0], diary)
        await mortals[0].kill()
        await at_rest(queue)
        done = settled(diary)
        assert COUNT - done - 1 <= queue.qsize() <= COUNT - done
        while not queue.empty():
            await within(queue.get())
            queue.task_done()
        await within(queue.join())


@pytest.mark.parametrize("role", [get_singly, get_in_tasks])
async def test_a_stopped_owner_is_waited_for(role: Any, tmp_path: Path) -> None:
    """Its peers wait, and lose nothing; they do not take it for dead."""
    results = aioprocq.Queue[Any]()
    async with graveyard(results) as mortals:
        mortals.append(Mortal(own, results))
        queue = await within(results.get())
        diary = Diary(tmp_path / "peer")
        mortals.append(Mortal(role, queue, diary, 0))
        await queue.put((0, 0, b""))
        await eventually(lambda: settled(diary) == 1)
        mortals[0].signal(signal.SIGSTOP)
        await eventually(lambda: is_stopped(mortals[0].pid))
        await queue.put_many((0, number, b"") for number in range(1, 100))
        joining = asyncio.create_task(queue.join())
        await asyncio.sleep(0.2)  # to see that nothing happens
        assert settled(diary) == 1
        assert not joining.done()
        mortals[0].signal(signal.SIGCONT)
        await within(joining)
        assert [note.number for note in diary.read(GOT)] == list(range(100))
        queue.shutdown()
        assert await mortals[1].end() == 0
        queue.close()


def own(results: Any) -> None:
    """Own a queue, give it away, and serve it until killed."""

    async def main() -> None:
        queue = aioprocq.JoinableQueue[Any]()
        await results.put(queue)
        await asyncio.Event().wait()

    asyncio.run(main())
