"""The owner dies: every blocked and every later call of every peer says so, soon."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aioprocq
from tests.contract.faces import Face, attempt, outcome
from tests.contract.harness import Child, eventually, within

from .processes import DEADLINE, Mortal, hub_of, wait_until

SOON = 5.0
KINDS = ("async-peer", "uvloop-peer", "blocking-peer")
ENDS = ("killed", "exits", "fails")

Call = Callable[[Face], Coroutine[Any, Any, Any]]


async def take_delivery(queue: Face) -> Any:
    async for delivery in queue.deliveries():
        return delivery.item


BLOCKING: dict[str, Call] = {
    "get": lambda queue: queue.get(),
    "get with a timeout": lambda queue: queue.get(timeout=DEADLINE),
    "get_many": lambda queue: queue.get_many(3),
    "deliveries": take_delivery,
    "put": lambda queue: queue.put("too much"),
    "put_many": lambda queue: queue.put_many(["too", "much"]),
    "put a large one": lambda queue: queue.put(bytes(1 << 20)),
    "join": lambda queue: queue.join(),
}
FILLED = ("put", "put_many", "put a large one", "join")

LATER: dict[str, Callable[[Face], Any]] = {
    "get_nowait": lambda queue: queue.get_nowait(),
    "put_nowait": lambda queue: queue.put_nowait("late"),
    "qsize": lambda queue: queue.qsize(),
    "empty": lambda queue: queue.empty(),
    "full": lambda queue: queue.full(),
    "statistics": lambda queue: queue.queue.statistics(),
    "task_done": lambda queue: queue.task_done(),
}


def waiting_in(queue: Any) -> int:
    """How many wait for an item, for room, or to join; a process counts once."""
    figures = queue.statistics()
    joining = len(hub_of(queue).peer_joins)
    return int(figures.getters_waiting + figures.putters_waiting + joining)


def own(post: Any, filled: bool, end: str) -> None:
    """Own a queue until the time has come, and tell how many wait in it."""

    async def main() -> None:
        queue = aioprocq.JoinableQueue[Any](1)
        if filled:
            await queue.put("full")
        await post.put(queue)
        while True:
            waiting = waiting_in(queue)
            await post.put(waiting)
            if end == "exits" and waiting:
                return
            if end == "fails" and waiting:
                raise SystemExit(3)
            await asyncio.sleep(0.002)

    asyncio.run(main())


class Stage:
    """A queue that a process of its own owns, and one peer of it besides this."""

    def __init__(self, post: Any, queue: Any, owner: Mortal, peer: Child) -> None:
        self.post = post
        self.queue = queue
        self.owner = owner
        self.peer = peer
        self.end_of_owner = time.monotonic()

    async def end_owner(self, end: str, waiting: int) -> None:
        """With so many waiting; the other ends come by themselves then."""
        await eventually(lambda: self._waiting() >= waiting)
        if end == "killed":
            self.owner.signal(signal.SIGKILL)
        await eventually(self.owner.ended)
        self.end_of_owner = time.monotonic()

    def _waiting(self) -> int:
        try:
            return int(self.post.get_nowait())
        except aioprocq.QueueEmpty:
            return 0

    def check_soon(self) -> None:
        assert time.monotonic() - self.end_of_owner < SOON


@asynccontextmanager
async def foreign(
    kind: str, *, filled: bool = False, end: str = "killed", method: str = "forkserver"
) -> AsyncIterator[Stage]:
    post = aioprocq.Queue[Any]()
    await post.flush()
    owner = Mortal(own, post, filled, end)
    queue = peer = None
    try:
        queue = await within(post.get())
        peer = Child(kind, queue, method=method)
        yield Stage(post, queue, owner, peer)
        await peer.leave()
    finally:
        owner.bury()
        if peer is not None:
            peer.bury()
        if queue is not None:
            queue.close()
        await post.aclose()


async def wait_in(queue: Face, call: str) -> Any:
    return await outcome(BLOCKING[call](queue))


async def try_each(queue: Face, calls: list[str]) -> dict[str, Any]:
    seen = {}
    for name in calls:
        if name in LATER:
            seen[name] = attempt(LATER[name], queue)
        else:
            seen[name] = await outcome(BLOCKING[name](queue))
    return seen


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_blocked_get(kind: str, end: str) -> None:
    """However the owner ends."""
    async with foreign(kind, end=end) as stage:
        waiting = stage.peer.post(wait_in, "get")
        await stage.end_owner(end, waiting=1)
        assert await stage.peer.result(waiting) == "OwnerLost"
        stage.check_soon()


@pytest.mark.parametrize("call", BLOCKING)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_blocked_call(kind: str, call: str) -> None:
    async with foreign(kind, filled=call in FILLED) as stage:
        waiting = stage.peer.post(wait_in, call)
        await stage.end_owner("killed", waiting=1)
        assert await stage.peer.result(waiting) == "OwnerLost"
        later = await stage.peer.call(try_each, [*LATER, *BLOCKING])
        stage.check_soon()
        assert later == dict.fromkeys([*LATER, *BLOCKING], "OwnerLost")


@pytest.mark.parametrize("used", [True, False], ids=["connected", "fresh"])
@pytest.mark.parametrize("call", [*LATER, *BLOCKING])
@pytest.mark.parametrize("kind", ["async-peer", "blocking-peer"])
async def test_the_first_call_afterwards(kind: str, call: str, used: bool) -> None:
    """Nothing but this call has had a chance to see that the owner is gone."""
    if call == "task_done" and not used:
        pytest.skip("there is nothing to settle for one who has got nothing")
    async with foreign(kind, filled=True) as stage:
        if used:
            assert await stage.peer.call(hold_one) == "full"
        await stage.end_owner("killed", waiting=0)
        assert await stage.peer.call(try_each, [call]) == {call: "OwnerLost"}
        stage.check_soon()


async def hold_one(queue: Face) -> Any:
    return await queue.get()


@pytest.mark.parametrize("kind", KINDS)
async def test_settling_a_delivery_afterwards(kind: str) -> None:
    async with foreign(kind, filled=True) as stage:
        settling = stage.peer.post(settle_later)
        await eventually(lambda: stage.queue.qsize() == 0)
        await stage.end_owner("killed", waiting=0)
        assert await stage.peer.result(settling) == "OwnerLost"


async def settle_later(queue: Face) -> Any:
    """Settle once the owner is gone; `qsize` says so and changes nothing."""
    async for delivery in queue.deliveries():
        await queue.until(lambda: attempt(queue.qsize) == "OwnerLost")
        return attempt(delivery.done)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_crowd(kind: str, method: str) -> None:
    """Many at a time, this process and its tasks among them."""
    async with foreign(kind, method=method) as stage:
        others = [Child(kind, stage.queue) for _ in range(3)]
        try:
            tickets = [(one, one.post(wait_in, "get")) for one in [stage.peer, *others]]
            mine = [asyncio.create_task(outcome(stage.queue.get())) for _ in range(3)]
            mine.append(asyncio.create_task(outcome(stage.queue.get(timeout=DEADLINE))))
            await stage.end_owner("killed", waiting=5)
            seen = [await one.result(ticket) for one, ticket in tickets]
            seen += await within(asyncio.gather(*mine))
            stage.check_soon()
            assert seen == ["OwnerLost"] * 8
            for other in others:
                await other.leave()
        finally:
            for other in others:
                other.bury()


async def test_threads_of_a_peer() -> None:
    """Blocked calls of several threads, of which only one watches the sockets."""
    async with foreign("blocking-peer") as stage:
        mortal = Mortal(wait_in_threads, stage.queue)
        try:
            await stage.end_owner("killed", waiting=1)
            assert await mortal.end() == 0
            stage.check_soon()
        finally:
            mortal.bury()


def wait_in_threads(queue: Any) -> None:
    from threading import Thread

    seen: list[str] = []

    def wait() -> None:
        try:
            queue.sync.get()
        except aioprocq.OwnerLost:
            seen.append("lost")

    threads = [Thread(target=wait, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(seen) == 4)
    for thread in threads:
        thread.join()
