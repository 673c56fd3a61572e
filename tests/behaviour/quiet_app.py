"""An owner and eight peers that wait, to be looked at from outside.

``python -m tests.behaviour.quiet_app LOOP FACE SCENE`` prints its processes' ids as
JSON once the scene is set, the owner first, and ends when its standard input does.
Before it comes to rest, every process has used the queues a lot.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aioprocq
from tests.contract.faces import DEADLINE, AsyncFace, BlockingFace, Face
from tests.contract.harness import drive, eventually, loop_factory

PEERS = 8
JOBS = 400
Queues = tuple[Any, Any]


# How the peers come to rest, after `warm_up`.


async def get_for_ever(jobs: Face, results: Face) -> None:
    await jobs.get()


async def get_for_an_hour(jobs: Face, results: Face) -> None:
    await jobs.get(3600)


async def put_for_ever(jobs: Face, results: Face) -> None:
    while True:
        await results.put("one more")


async def join_for_ever(jobs: Face, results: Face) -> None:
    while True:  # it returns until the owner has put what is never done
        await jobs.join()


async def hold_one_for_ever(jobs: Face, results: Face) -> None:
    """The one that gets the long job sits on it; the others do the rest."""
    while await jobs.get() != "long":
        jobs.task_done()
    await results.put("held")
    await do_nothing(jobs)


async def linger_for_ever(jobs: Face, results: Face) -> None:
    """All is shut down, but what one of them holds may still come back."""
    async for delivery in jobs.deliveries():
        async with delivery as item:
            if item == "long":
                await results.put("held")
                await do_nothing(jobs)


async def leave_things_unread(jobs: Face, results: Face) -> None:
    """Go away from the queue with credit given, and with room granted."""
    await do_nothing(jobs)


async def do_nothing(face: Face) -> None:
    if isinstance(face, BlockingFace):
        while True:
            signal.pause()
    await asyncio.get_running_loop().create_future()


async def warm_up(jobs: Face, results: Face, everybody: Any) -> None:
    """Work until all are told to rest, and say how many threads there are."""
    while (item := await jobs.get()) != "rest":
        await results.put((item, threading.active_count()))
        jobs.task_done()
    jobs.task_done()
    await results.put("resting")
    everybody.wait(DEADLINE)


def peer(
    kind: str, rest: Callable[..., Awaitable[None]], queues: Queues, everybody: Any
) -> None:
    async def live(*faces: Face) -> None:
        await warm_up(faces[0], faces[1], everybody)
        await rest(*faces)

    if kind == "blocking-peer":
        drive(live(*[BlockingFace(queue) for queue in queues]))
        return
    with asyncio.Runner(loop_factory=loop_factory(kind)) as runner:
        runner.run(live(*[AsyncFace(queue) for queue in queues]))


# What the owner does.


async def use(jobs: Any, results: Any) -> None:
    """Put, get, cancel and time out; then let the peers come to rest."""
    putting = asyncio.create_task(jobs.put_many(range(JOBS)))
    answers = [await results.get() for _ in range(JOBS)]
    await putting
    assert sorted(answers) == [(number, 1) for number in range(JOBS)]
    assert threading.active_count() == 1
    for timeout in (0, 0.001, 0.01):
        with contextlib.suppress(aioprocq.QueueEmpty):
            await results.get(timeout=timeout)
    waiting = [asyncio.create_task(results.get()) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await jobs.put_many(["rest"] * PEERS)
    resting = 0
    while resting < PEERS:
        resting += await results.get() == "resting"


def all_get(jobs: Any, results: Any) -> bool:
    return bool(jobs.statistics().getters_waiting == PEERS)


def all_put(jobs: Any, results: Any) -> bool:
    return results.statistics().putters_waiting == PEERS and results.full()


async def set_getters(jobs: Any, results: Any) -> None:
    await eventually(lambda: all_get(jobs, results))


async def set_putters(jobs: Any, results: Any) -> None:
    for _ in range(50):
        assert await results.get() == "one more"
    await eventually(lambda: all_put(jobs, results))


async def set_joiners(jobs: Any, results: Any) -> None:
    await jobs.put("never done")
    await jobs.get()
    await eventually(lambda: len(jobs._handle.station.hub.peer_joins) == PEERS)


async def set_held(jobs: Any, results: Any) -> None:
    # Everything that was sent ahead behind the long job goes to the others.
    await jobs.put_many([*range(JOBS), "long", *range(JOBS)])
    assert await results.get() == "held"
    await eventually(lambda: jobs.statistics().unfinished == 1)
    await eventually(lambda: jobs.statistics().getters_waiting == PEERS - 1)


async def set_lingering(jobs: Any, results: Any) -> None:
    await jobs.put_many([*range(JOBS), "long", *range(JOBS)])
    assert await results.get() == "held"
    jobs.shutdown()
    await eventually(lambda: jobs.statistics().unfinished == 1)
    await eventually(lambda: jobs.statistics().getters_waiting == PEERS - 1)


async def set_unread(jobs: Any, results: Any) -> None:
    await jobs.put_many(range(5))


SCENES: dict[str, tuple[Callable[..., Awaitable[None]], ...]] = {
    "blocked in get": (get_for_ever, set_getters),
    "blocked in get with a timeout": (get_for_an_hour, set_getters),
    "blocked in put": (put_for_ever, set_putters),
    "blocked in join": (join_for_ever, set_joiners),
    "one has a long job": (hold_one_for_ever, set_held),
    "shut down, one has a long job": (linger_for_ever, set_lingering),
    "busy elsewhere": (leave_things_unread, set_unread),
}


async def own(scene: str, queues: Queues, pids: list[int]) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    await use(*queues)
    await SCENES[scene][1](*queues)
    print(json.dumps([os.getpid(), *pids]), flush=True)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(0)


def main(loop: str, kind: str, scene: str) -> None:
    queues: Queues = aioprocq.JoinableQueue(10), aioprocq.Queue(10)
    rest = SCENES[scene][0]
    context = multiprocessing.get_context("fork")
    everybody = context.Barrier(PEERS)
    peers = [
        context.Process(target=peer, args=(kind, rest, queues, everybody), daemon=True)
        for _ in range(PEERS)
    ]
    for process in peers:
        process.start()
    try:
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            runner.run(own(scene, queues, [process.pid or 0 for process in peers]))
    finally:
        for process in peers:
            process.kill()
            process.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
