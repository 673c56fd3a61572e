"""A loop that stays awake: until something comes, not for long, not in vain."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq.drivers import busy_poll, spinning
from aioprocq.drivers.busy_poll import BusyPoll, busy_poll_on, take_turns
from aioprocq.drivers.ring import RINGS
from aioprocq.drivers.spinning import SPIN, Experience

from .awake import Expectations, Time
from .stations import Stations, Thread, connected, get, load, put, reached, take

pytestmark = pytest.mark.timeout(30)


class Loop:
    """What is called soon is called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.soon.append(lambda: callback(*args))

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def turns(self) -> int:
        """How many there are until it would sleep."""
        count = 0
        while self.soon:
            assert len(self.soon) == 1
            self.turn()
            count += 1
        return count


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time(SPIN / 20)
    for module in (busy_poll, spinning):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(os, "sched_yield", clock.sched_yield)
    return clock


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "_USEFUL", True)


@pytest.fixture
def loop() -> Any:
    return Loop()


@pytest.mark.usefixtures("time")
def test_turns_are_taken_until_what_is_expected_has_come(loop: Any) -> None:
    poll, experience = BusyPoll(), Experience()
    assert poll.expect(experience, loop)
    for _ in range(3):
        loop.turn()
        assert loop.soon, "it would sleep"
    poll.came(experience)
    assert loop.turns() == 1
    assert experience.is_due()


def test_it_ends_when_a_sleep_would_have_been_as_long(loop: Any, time: Time) -> None:
    poll, experience = BusyPoll(), Experience()
    begun = time.now
    assert poll.expect(experience, loop)
    assert loop.turns() > 10
    assert time.now - begun == pytest.approx(SPIN, rel=0.2)
    assert [poll.expect(experience, loop) for _ in range(3)] == [False, False, True]
    assert loop.turns() > 10


def test_a_core_that_others_want_is_theirs(loop: Any, time: Time) -> None:
    time.step = SPIN / 2
    poll, experience = BusyPoll(), Experience()
    assert poll.expect(experience, loop)
    assert loop.turns() == 1
    assert not experience.is_due(), "it was in vain"


def test_for_several_the_loop_takes_the_same_turns(loop: Any, time: Time) -> None:
    poll, first, second = BusyPoll(), Experience(), Experience()
    begun = time.now
    assert poll.expect(first, loop)
    loop.turn()
    assert poll.expect(second, loop)
    poll.came(first)
    assert loop.turns() > 10
    assert time.now - begun == pytest.approx(SPIN + time.step, rel=0.2)
    assert first.is_due()
    assert not second.is_due()


@pytest.mark.usefixtures("time")
def test_what_comes_too_late_was_in_vain(loop: Any) -> None:
    poll, kept = BusyPoll(), Expectations()
    experience: Any = kept
    assert poll.expect(experience, loop)
    loop.turns()
    poll.came(experience)
    assert (kept.good, kept.bad) == (0, 1)


def test_a_loop_has_one_for_as_long_as_it_lives() -> None:
    loops = [asyncio.new_event_loop() for _ in range(2)]
    assert busy_poll_on(loops[0]) is busy_poll_on(loops[0])
    assert busy_poll_on(loops[0]) is not busy_poll_on(loops[1])
    reference = weakref.ref(loops[0])
    while loops:
        loops.pop().close()
    gc.collect()
    assert reference() is None


# Who expects what, on real loops


def record(station: Any) -> Expectations:
    kept = station._experience = Expectations()
    return kept


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants the core, and a moment is long."""
    monkeypatch.setattr(busy_poll, "SPIN", 1000.0)
    monkeypatch.setattr(busy_poll, "is_idle", lambda: True)


async def begin(station: Any) -> Any:
    waiter = station.future_waiter()
    station.begin_get(waiter)
    return waiter


@pytest.mark.usefixtures("patient")
async def test_an_owner_that_waits_for_one_item_is_awake_when_it_comes(
    stations: Stations,
) -> None:
    hub, peer = connected(stations)
    kept = record(hub)
    waiter = await begin(hub)
    assert kept.asked == 1
    put(peer, "item")
    await waiter.future
    assert take(hub) == "item"
    hub.end_get(waiter, took=True)
    assert (kept.good, kept.bad) == (1, 0)


@pytest.mark.usefixtures("patient")
async def test_an_owner_where_several_wait_sleeps(stations: Stations) -> None:
    """What they wait for is made by others, who may need all the cores."""
    hub, _ = connected(stations)
    kept = record(hub)
    waiters = [await begin(hub) for _ in range(3)]
    assert kept.asked == 1
    for waiter in waiters:
        hub.end_get(waiter, took=False)


async def test_an_owner_that_nobody_is_connected_to_sleeps(stations: Stations) -> None:
    hub = stations.hub()
    kept = record(hub)
    waiter = await begin(hub)
    hub.end_get(waiter, took=False)
    assert not kept.asked


async def test_a_thread_that_waits_keeps_no_loop_awake(stations: Stations) -> None:
    hub, peer = connected(stations)
    kept = record(hub)
    getter = Thread(get, hub)
    await reached(lambda: hub.hub.dealer.getters)
    put(peer, "item")
    await reached(lambda: not getter.is_alive())
    assert load(getter.result()) == "item"
    assert not kept.asked


@pytest.mark.skipif(not RINGS, reason="there are no rings here")
async def test_an_owner_that_looks_into_rings_looks_there(stations: Stations) -> None:
    hub, _ = connected(stations)
    hub._rings.update(dict.fromkeys(hub._by_record.values()))
    kept = record(hub)
    waiter = await begin(hub)
    hub.end_get(waiter, took=False)
    hub._rings.clear()
    assert not kept.asked


@pytest.mark.usefixtures("patient")
async def test_the_only_consumer_is_awake_when_its_item_comes(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    kept = record(peer)
    waiter = await begin(peer)
    assert kept.asked == 1
    put(hub, "item")
    await waiter.future
    peer.end_get(waiter, took=False)
    assert take(peer) == "item"
    assert (kept.good, kept.bad) == (1, 0)


async def test_one_of_several_consumers_sleeps(stations: Stations) -> None:
    hub, peer = stations.pair()
    other = stations.peer(hub)
    waiters = [await begin(other), await begin(peer)]
    await reached(lambda: len(hub.hub.dealer.blocked) == 2)
    peer.end_get(waiters.pop(), took=False)
    kept = record(peer)
    waiters.append(await begin(peer))
    assert not kept.asked
    for station, waiter in zip((other, peer), waiters, strict=True):
        station.end_get(waiter, took=False)


# Looking in a few turns for something that nobody tells of


async def test_looking_ends_when_enough_is_found(time: Time) -> None:
    found = iter([0, 1, 2, 5, 9])
    experience: Any = Expectations()
    await take_turns(experience, lambda: next(found), 3)
    assert next(found) == 9
    assert (experience.good, experience.bad) == (1, 0)


@pytest.mark.parametrize("there", [0, 1])
async def test_looking_ends_when_a_sleep_would_have_been_as_long(
    time: Time, there: int
) -> None:
    looks = 0

    def find() -> int:
        nonlocal looks
        looks += 1
        return there

    experience: Any = Expectations()
    begun = time.now
    await take_turns(experience, find, 3)
    assert looks > 10
    assert time.now - begun == pytest.approx(SPIN, rel=0.2)
    assert (experience.good, experience.bad) == (there, 1 - there)


async def test_nobody_looks_on_a_core_that_others_want(time: Time) -> None:
    time.step = SPIN / 2
    experience: Any = Expectations()
    await take_turns(experience, lambda: 0, 1)
    assert (experience.good, experience.bad) == (0, 1)
