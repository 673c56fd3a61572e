"""Cancelled at whatever instant: a put has put nothing, a get has taken nothing.

Each item whose put returned is got exactly once, and no other; nobody is left in a
line. With one consuming process, each producer's items also come in order; with
several, one that was taken back from a consumer may come after younger ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import pytest

import aioprocq
from tests.contract.harness import eventually, within
from tests.contract.stages import AsyncStage

from . import storm

pytestmark = pytest.mark.both_loops

PAUSE = 0.01


class Place(NamedTuple):
    """A process of the storm, and how many tasks of it put and get."""

    kind: str
    putters: int
    getters: int


LAYOUTS = {
    "owner": [Place("owner", 3, 4)],
    "owner to peer": [Place("owner", 3, 0), Place("peer", 0, 4)],
    "peer to owner": [Place("owner", 0, 4), Place("peer", 3, 0)],
    "peer to peer": [Place("peer", 3, 0), Place("peer", 0, 4)],
    "peer to itself": [Place("peer", 3, 4)],
    "crowd": [
        Place("owner", 2, 2),
        Place("peer", 2, 2),
        Place("peer", 2, 0),
        Place("peer", 0, 3),
    ],
}

every_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_queue = pytest.mark.parametrize(
    ("kind", "bound"),
    [("Queue", 0), ("Queue", 1), ("JoinableQueue", 0), ("JoinableQueue", 10)],
)
CASES = len(LAYOUTS) * 4 * 2  # with both loops


@every_queue
@every_layout
async def test_exactly_once(layout: str, kind: str, bound: int) -> None:
    await weather(LAYOUTS[layout], getattr(aioprocq, kind)(bound), 8_000 // CASES)


@pytest.mark.soak
@pytest.mark.timeout(300)
@every_queue
@every_layout
async def test_exactly_once_for_long(layout: str, kind: str, bound: int) -> None:
    cancellations = 100_000 // CASES + 1
    await weather(LAYOUTS[layout], getattr(aioprocq, kind)(bound), cancellations)


async def weather(places: list[Place], queue: Any, cancellations: int) -> None:
    """Let a storm rage until there were so many cancellations; then look."""
    async with AsyncStage(queue) as stage:
        actors = [stage.actor(resolved(place.kind)) for place in places]
        for seed, (actor, place) in enumerate(zip(actors, places, strict=True)):
            await actor.call(storm.begin, str(seed), seed, place.putters, place.getters)
        while sum([await a.call(storm.cancellations) for a in actors]) < cancellations:
            assert queue.maxsize <= 0 or queue.qsize() <= queue.maxsize
            await asyncio.sleep(PAUSE)
        reports = await within(asyncio.gather(*(a.call(storm.halt) for a in actors)))
        peers = [a for a, p in zip(actors, places, strict=True) if p.kind != "owner"]
        await assert_nobody_waits(queue, peers)
        put = [item for report in reports for item in report[0]]
        shares = [report[1] for report in reports]
        consuming = [n for n, place in enumerate(places) if place.getters]
        left = len(put) - sum(map(len, shares))
        assert left >= 0
        last = consuming[-1]
        shares[last] += await within(actors[last].call(storm.drain, left))
        assert_exactly_once(put, shares, in_order=len(consuming) == 1)
        await within(queue.join())
        figures = queue.statistics()
        assert (figures.qsize, figures.unfinished, figures.held) == (0, 0, 0)
        assert figures.put == len(put)
        await assert_nobody_waits(queue, peers)


def resolved(kind: str) -> str:
    """A peer runs the same kind of loop as the owner does."""
    if kind != "peer":
        return kind
    module = type(asyncio.get_running_loop()).__module__
    return "uvloop-peer" if module.startswith("uvloop") else "async-peer"


async def assert_nobody_waits(queue: Any, peers: list[Any]) -> None:
    for peer in peers:
        assert await peer.call(storm.waiting_here) == 0
    hub = queue._handle.station.hub
    assert not hub.dealer.getters
    # That a peer's putter waits no longer may still be on its way.
    await eventually(lambda: not hub.room.line)
    assert hub.dealer.reserved == 0
    assert hub.room.kept == hub.room.kept_bytes == 0
    queue.statistics()  # takes in and carries out all there is
    hub.check_invariants()


def assert_exactly_once(
    put: list[Any], shares: list[list[Any]], *, in_order: bool
) -> None:
    got = Counter(item for share in shares for item in share)
    sent = Counter(put)
    assert not got - sent, "were put by nobody, or got twice"
    assert not sent - got, "are lost"
    if in_order:
        for share in shares:
            for producer, numbers in by_producer(share).items():
                assert numbers == sorted(numbers), producer


def by_producer(items: list[Any]) -> dict[Any, list[int]]:
    numbers = defaultdict(list)
    for name, putter, number in items:
        numbers[name, putter].append(number)
    return numbers
