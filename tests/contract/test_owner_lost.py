"""The owner is killed: OwnerLost, in every blocked and every later call."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

import aioprocq

from .faces import Face, outcome
from .harness import Line, bare_main, child_main, eventually
from .stages import PEERS

Call = Callable[[Face], Coroutine[Any, Any, Any]]

CALLS: dict[str, Call] = {
    "get": lambda empty: empty.get(),
    "get with a timeout": lambda empty: empty.get(timeout=30),
    "get_many": lambda empty: empty.get_many(5),
    "put": lambda full: full.put("too much"),
    "put with a timeout": lambda full: full.put("too much", timeout=30),
    "put_many": lambda full: full.put_many(range(5)),
    "join": lambda full: full.join(),
}


async def wait_for_the_end(queue: Face, call: str) -> list[Any]:
    """Wait in the call until the owner is gone, then try the others."""
    seen = [await outcome(CALLS[call](queue))]
    seen += [await outcome(queue.get()), await outcome(queue.get(timeout=0))]
    return [*seen, await outcome(queue.put(1)), await outcome(queue.join())]


async def iterate(queue: Face) -> list[Any]:
    return [item async for item in queue.items()]


async def say_that_it_waits(queue: Face) -> int:
    """Connect, and say so."""
    await queue.until(lambda: queue.qsize() >= 0)
    return os.getpid()


async def own(queue: Any, filled: bool, kind: str, theirs: Any, ready: Any) -> None:
    """The owner: starts a peer with the queue, and then only serves it."""
    if filled:
        await queue.put("full")
    context: Any = multiprocessing.get_context("fork")
    with bare_main():
        peer = context.Process(target=child_main, args=(theirs, kind, [queue]))
        peer.start()
    theirs.close()
    ready.send("ready")
    await asyncio.Event().wait()


def own_main(kind: str, filled: bool, theirs: Connection, ready: Connection) -> None:
    queue = aioprocq.JoinableQueue[Any](1)
    asyncio.run(own(queue, filled, kind, theirs, ready))


@asynccontextmanager
async def peer_of_another(kind: str, filled: bool) -> AsyncIterator[tuple[Line, Any]]:
    """A peer, asked over a line; and its owner, a process that can be killed."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    told, ready = context.Pipe()
    args = (kind, filled, theirs, ready)
    owner = context.Process(target=own_main, args=args, daemon=False)
    with bare_main():
        owner.start()
    theirs.close()
    ready.close()
    line = Line(kind, ours)
    try:
        await eventually(told.poll)
        yield line, owner
        await line.hang_up()
    finally:
        told.close()
        ours.close()
        owner.kill()
        owner.join()
        owner.close()


async def kill_and_wait(owner: Any) -> None:
    os.kill(owner.pid, signal.SIGKILL)
    await eventually(lambda: not owner.is_alive())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("face", PEERS)
async def test_every_call_says_that_the_owner_is_lost(face: str, call: str) -> None:
    filled = call.startswith(("put", "join"))
    async with peer_of_another(face, filled) as (line, owner):
        await line.call(say_that_it_waits)
        waiting = line.post(wait_for_the_end, call)
        await kill_and_wait(owner)
        assert await line.result(waiting) == ["OwnerLost"] * 5


@pytest.mark.parametrize("face", PEERS)
async def test_iteration_says_that_the_owner_is_lost(face: str) -> None:
    async with peer_of_another(face, filled=False) as (line, owner):
        await line.call(say_that_it_waits)
        waiting = line.post(iterate)
        await kill_and_wait(owner)
        with pytest.raises(aioprocq.OwnerLost):
            await line.result(waiting)


@pytest.mark.parametrize("face", PEERS)
async def test_a_first_call_after_the_loss(face: str) -> None:
    async with peer_of_another(face, filled=False) as (line, owner):
        await kill_and_wait(owner)
        with pytest.raises(ConnectionError):
            await line.call(get_one)


async def get_one(queue: Face) -> Any:
    return await queue.get()


def test_it_is_a_connection_error() -> None:
    assert issubclass(aioprocq.OwnerLost, ConnectionError)
    assert issubclass(aioprocq.OwnerLost, aioprocq.AioprocqError)
