"""A fork in the middle of use: the child starts anew, the parent notices nothing."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aioprocq
from tests.contract.harness import eventually, within

from .crash_points import ballast
from .diary import CHILD, GOT, Diary
from .processes import Mortal, at_rest, graveyard, is_gone, wait_until


def fork(work: Callable[[], None]) -> int:
    """A plain fork, as an extension or an old library does it."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def sit_still() -> None:
    threading.Event().wait(30)


def reap(pid: int) -> int:
    wait_until(lambda: is_gone(pid))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_while_connected(queue: Any, answers: Any) -> None:
    """With items read ahead, one held, and the connection in use."""
    assert [queue.sync.get(), queue.sync.get()] == [0, 1]
    held = queue.sync.get_delivery()
    pid = fork(lambda: answers.sync.put(("child", queue.sync.get())))
    assert reap(pid) == 0
    answers.sync.put(("parent", held.item))
    held.done()
    for _ in range(2):
        queue.sync.task_done()
    answers.sync.put(("parent", queue.sync.get()))
    queue.sync.task_done()


async def test_a_peer_forks() -> None:
    queue, answers = aioprocq.JoinableQueue[int](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        await queue.put_many(range(20))
        mortals.append(Mortal(fork_while_connected, queue, answers))
        got = [await within(answers.get()) for _ in range(3)]
        assert await mortals[0].end() == 0
        await at_rest(answers)
        seen = [number for _, number in got]
        assert [who for who, _ in got] == ["child", "parent", "parent"]
        assert len(set(seen)) == 3
        # The child left without settling what it had got.
        statistics = await at_rest(queue)
        assert statistics.redelivered == 1
        assert (statistics.qsize, statistics.held) == (16, 0)
        rest = [await within(queue.get()) for _ in range(16)]
        assert sorted([*rest, *seen[1:]])[-16:] == list(range(4, 20))


def die_with_a_child(queue: Any, diary: Diary) -> None:
    """Be killed while a child that was forked before lives on."""
    queue.sync.get()
    diary.note(GOT)
    diary.note(CHILD, number=fork(sit_still))
    sit_still()


async def test_a_child_keeps_nothing_of_its_parent_open(tmp_path: Path) -> None:
    """The end of the parent is seen at once, whatever its child does."""
    queue = aioprocq.JoinableQueue[int]()
    diary = Diary(tmp_path / "parent")
    async with graveyard(queue) as mortals:
        await queue.put(1)
        mortals.append(Mortal(die_with_a_child, queue, diary))
        await eventually(lambda: bool(diary.read(CHILD)))
        child = diary.read(CHILD)[0].number
        try:
            await mortals[0].kill()
            assert (await at_rest(queue)).redelivered == 1
        finally:
            os.kill(child, 9)
            await eventually(lambda: is_gone(child))


def fork_while_dialling(queue: Any, diary: Diary) -> None:
    """One thread is about to send its dial when another one forks."""
    peer_link: Any = importlib.import_module("aioprocq.drivers.peer_link")
    dialling, go_on = threading.Event(), threading.Event()
    send = peer_link.send_dial

    def slow(*args: Any) -> None:
        dialling.set()
        go_on.wait(20)
        send(*args)

    peer_link.send_dial = slow
    thread = threading.Thread(target=lambda: queue.sync.put(1), daemon=True)
    thread.start()
    dialling.wait(20)
    pid = fork(sit_still)
    diary.note(CHILD, number=pid)
    go_on.set()
    thread.join(20)
    sit_still()


async def test_a_fork_during_a_dial(tmp_path: Path) -> None:
    """The child has a copy of the ends of a connection that nobody knows of yet."""
    queue = aioprocq.Queue[int]()
    diary = Diary(tmp_path / "parent")
    async with graveyard(queue) as mortals:
        mortals.append(Mortal(fork_while_dialling, queue, diary))
        await eventually(lambda: bool(diary.read(CHILD)))
        child = diary.read(CHILD)[0].number
        try:
            assert await within(queue.get()) == 1
            await mortals[0].kill()
            await eventually(lambda: queue.statistics().peers == 0, 5)
        finally:
            os.kill(child, 9)
            await eventually(lambda: is_gone(child))


def fork_under_locks(queue: Any, answers: Any) -> None:
    """Threads are in the midst of puts and gets; children come and go."""
    stop = threading.Event()

    def put() -> None:
        while not stop.is_set():
            queue.sync.put(b"busy")

    def get() -> None:
        while not stop.is_set():
            queue.sync.get()

    threads = [threading.Thread(target=work) for work in (put, put, get)]
    for thread in threads:
        thread.start()
    for number in range(20):
        assert reap(fork(partial(answers.sync.put, number))) == 0
    stop.set()
    queue.sync.put_many([b"last"] * 3)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


async def test_locks_of_other_threads() -> None:
    queue, answers = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        mortals.append(Mortal(fork_under_locks, queue, answers))
        got = [await within(answers.get()) for _ in range(20)]
        assert got == list(range(20))
        assert await mortals[0].end() == 0
        await at_rest(queue)
        await at_rest(answers)


async def test_the_owner_forks_with_peers_at_work() -> None:
    """Its children are peers; they hold no end of another's connection."""
    queue, answers = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        mortals += [Mortal(pass_on, queue, answers) for _ in range(2)]
        for number in range(10):
            await queue.put((number, ballast(number, 100_000)))
            pid = fork(lambda: answers.sync.put("child"))
            await eventually(partial(is_gone, pid))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        got = [await within(answers.get()) for _ in range(20)]
        assert got.count("child") == 10
        await mortals[0].kill()
        await eventually(lambda: queue.statistics().peers == 1)
        await queue.aclose()
        assert await mortals[1].end() == 0


def pass_on(queue: Any, answers: Any) -> None:
    try:
        for number, _ in queue.sync:
            answers.sync.put(number)
    except aioprocq.OwnerLost:
        pass


def fork_in_a_task(queue: Any, answers: Any) -> None:
    """From a coroutine, with a get that waits and a loop that watches the lane."""

    async def main() -> None:
        waiting = asyncio.create_task(queue.get())
        await queue.flush()
        pid = fork(lambda: use_another_loop(queue, answers))
        await eventually(lambda: is_gone(pid))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        await answers.put("ready")
        assert await within(waiting) == "for the parent"

    asyncio.run(main())


def use_another_loop(queue: Any, answers: Any) -> None:
    async def main() -> None:
        await answers.put("child")
        assert await within(queue.get()) == "for the child"

    # The running loop is its parent's; here, nothing runs it.
    asyncio.set_event_loop_policy(None)
    with asyncio.Runner() as runner:
        runner.run(main())


async def test_an_async_peer_forks() -> None:
    queue, answers = aioprocq.Queue[Any](), aioprocq.Queue[Any]()
    async with graveyard(queue, answers) as mortals:
        mortals.append(Mortal(fork_in_a_task, queue, answers))
        assert await within(answers.get()) == "child"
        # Whoever of the two asked first: each says what it has got.
        await queue.put("for the parent")
        await queue.put("for the child")
        assert await within(answers.get()) == "ready"
        assert await mortals[0].end() == 0
