"""What both kinds of station have in common; mostly, who of many threads leads."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aioprocq.drivers.readiness import poll
from aioprocq.drivers.station import Settings, Station, driving, loopless
from aioprocq.drivers.transport import PORTABLE
from aioprocq.drivers.waiting import ThreadWaiter
from aioprocq.wire.payload import Parcel, pack_item

from .stations import (
    DEADLINE,
    LARGE,
    Stations,
    Thread,
    get,
    get_on_loop,
    make_settings,
    put,
    reached,
    until,
)

THREADS = 8


class Crowd:
    """A station that threads wait at, and one of the same queue to put at."""

    def __init__(self, stations: Stations, role: str) -> None:
        hub, peer = stations.pair(name="crowded")
        peer.fetch()
        hub.drive()
        self.hub = hub
        self.consumer: Station = hub if role == "owner" else peer
        self.source: Station = peer if role == "owner" else hub

    def put(self, *items: object) -> None:
        put(self.source, *items)
        self.hub.drive()


@pytest.fixture(params=["owner", "peer"])
def crowd(request: pytest.FixtureRequest, stations: Stations) -> Iterator[Crowd]:
    made = Crowd(stations, request.param)
    yield made
    vars(made).clear()  # pytest keeps it, and nobody should keep a station


def waiting(station: Station) -> int:
    """How many threads wait: the leader and those who follow it."""
    with station.lock:
        return (station._leader is not None) + len(station._followers)


def load(payload: Any) -> Any:
    return pickle.loads(payload) if type(payload) is bytes else payload


def test_settings_travel_whole() -> None:
    settings = make_settings(name="x", maxsize=3.5, max_bytes=9, joinable=True)
    copy = pickle.loads(pickle.dumps(settings))
    for field in Settings.__slots__:
        assert getattr(copy, field) == getattr(settings, field)


def test_one_thread_leads_and_the_others_follow(crowd: Crowd) -> None:
    threads = [Thread(get, crowd.consumer) for _ in range(THREADS)]
    until(lambda: waiting(crowd.consumer) == THREADS)
    assert crowd.consumer._leader is not None
    assert len(crowd.consumer._followers) == THREADS - 1
    crowd.put(*range(THREADS))
    assert sorted(load(t.result()) for t in threads) == list(range(THREADS))
    assert waiting(crowd.consumer) == 0


def test_items_that_come_one_by_one_wake_one_thread_each(crowd: Crowd) -> None:
    threads = [Thread(get, crowd.consumer) for _ in range(THREADS)]
    until(lambda: waiting(crowd.consumer) == THREADS)
    for number in range(THREADS):
        crowd.put(number)
        until(lambda n=number: waiting(crowd.consumer) == THREADS - n - 1)
    assert sorted(load(t.result()) for t in threads) == list(range(THREADS))


def test_threads_that_give_up_take_nobody_with_them(crowd: Crowd) -> None:
    patient = [Thread(get, crowd.consumer) for _ in range(2)]
    until(lambda: waiting(crowd.consumer) == 2)
    hasty = [Thread(get, crowd.consumer, 0.02) for _ in range(THREADS - 2)]
    assert [t.result() for t in hasty] == [None] * (THREADS - 2)
    until(lambda: waiting(crowd.consumer) == 2)
    crowd.put(1, 2)
    assert {load(t.result()) for t in patient} == {1, 2}


def test_a_follower_that_is_interrupted_leaves_the_line(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(waiter: object, timeout: float) -> None:
        raise KeyboardInterrupt

    leader = Thread(get, crowd.consumer)
    until(lambda: waiting(crowd.consumer) == 1)
    with monkeypatch.context() as patch:
        patch.setattr(ThreadWaiter, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get(crowd.consumer)
    assert not crowd.consumer._followers
    crowd.put("a")
    assert load(leader.result()) == "a"


def test_a_leader_that_gives_up_hands_over(crowd: Crowd) -> None:
    leader = Thread(get, crowd.consumer, 0.1)
    until(lambda: waiting(crowd.consumer) == 1)
    first = crowd.consumer._leader
    followers = [Thread(get, crowd.consumer) for _ in range(3)]
    assert leader.result() is None
    until(lambda: crowd.consumer._leader not in (None, first))
    until(lambda: waiting(crowd.consumer) == 3)
    crowd.put("a", "b", "c")
    assert {load(t.result()) for t in followers} == {"a", "b", "c"}


def test_all_threads_give_up_in_time(crowd: Crowd) -> None:
    start = time.monotonic()
    threads = [Thread(get, crowd.consumer, 0.05) for _ in range(THREADS)]
    assert [t.result() for t in threads] == [None] * THREADS
    assert time.monotonic() - start >= 0.05
    assert waiting(crowd.consumer) == 0


def test_waits_that_are_ended_end_for_everybody(crowd: Crowd) -> None:
    threads = [Thread(get, crowd.consumer) for _ in range(THREADS)]
    until(lambda: waiting(crowd.consumer) == THREADS)
    crowd.consumer.end_waits()
    assert [t.result() for t in threads] == [None] * THREADS


def test_no_item_is_lost_among_threads_with_and_without_patience(crowd: Crowd) -> None:
    """Many short waits at once: whoever is woken late has its turn passed on."""
    consumer, total, got = crowd.consumer, 200, []
    lock = threading.Lock()

    def consume(timeout: float) -> None:
        while True:
            item = load(get(consumer, timeout))
            if item == "end":
                return
            if item is not None:
                with lock:
                    got.append(item)

    threads = [Thread(consume, 0.001 if n % 2 else DEADLINE) for n in range(THREADS)]
    for number in range(total):
        put(crowd.source, number)
    crowd.put(*["end"] * THREADS)
    for thread in threads:
        thread.result()
    assert sorted(got) == list(range(total))


def test_a_thread_that_was_woken_before_it_blocks_does_not_wait(crowd: Crowd) -> None:
    waiter = crowd.consumer.new_waiter()
    waiter.wake()
    assert crowd.consumer.block(waiter, None)
    assert waiting(crowd.consumer) == 0


def test_a_time_that_has_come_already_is_not_waited_for(crowd: Crowd) -> None:
    waiter = crowd.consumer.new_waiter()
    assert not crowd.consumer.block(waiter, time.monotonic() - 1)


def test_who_was_woken_while_another_led_does_not_queue_up(
    stations: Stations,
) -> None:
    hub = stations.hub()
    leader, second = hub.new_waiter(), hub.new_waiter()
    assert hub._lead(leader)
    second.wake()
    assert not hub._lead(second)
    assert not hub._followers
    hub._step_down(leader)
    assert hub._leader is None


def test_who_steps_down_alerts_the_one_who_waits_longest(stations: Stations) -> None:
    hub = stations.hub()
    leader, second, third = (hub.new_waiter() for _ in range(3))
    hub._lead(leader)
    hub._lead(second)
    hub._lead(third)
    hub._step_down(leader)
    second.sleep(DEADLINE)
    assert list(hub._followers) == [third]
    assert not second.signalled


def test_only_the_leader_is_nudged_out_of_the_sockets(stations: Stations) -> None:
    hub = stations.hub()
    wakeup = hub._wakeup_for_leader()
    assert hub._wakeup_for_leader() is wakeup
    leader, follower = hub.new_waiter(), hub.new_waiter()
    hub._lead(leader)
    follower.wake()
    assert poll([wakeup.fileno()], 0) == []
    leader.wake()
    assert poll([wakeup.fileno()], 0) == [wakeup.fileno()]


# Coroutines


def test_a_coroutine_needs_a_running_loop(stations: Stations) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        stations.hub().future_waiter()


@pytest.mark.both_loops
async def test_a_coroutine_waits_no_longer_than_its_timeout(on_loop: Stations) -> None:
    hub = on_loop.hub()
    waiter = hub.future_waiter(size=3, linger=True)
    assert (waiter.size, waiter.linger) == (3, True)
    start = time.monotonic()
    assert not await hub.sleep(waiter, start + 0.02)
    assert time.monotonic() - start >= 0.015
    assert not await hub.sleep(hub.future_waiter(), start - 1)


@pytest.mark.both_loops
async def test_a_coroutine_that_is_woken_goes_on(on_loop: Stations) -> None:
    hub = on_loop.hub()
    for until_when in (None, time.monotonic() + DEADLINE):
        waiter = hub.future_waiter()
        waiter.woken = True
        asyncio.get_running_loop().call_soon(waiter.wake)
        assert await hub.sleep(waiter, until_when)


@pytest.mark.both_loops
async def test_a_coroutine_and_a_thread_may_wait_together(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    await get_on_loop(peer, 0)
    thread = Thread(get, peer)
    await reached(lambda: peer._leader is not None)
    task = asyncio.ensure_future(get_on_loop(peer))
    await reached(lambda: peer.machine is not None and len(peer.machine.getters) == 2)
    put(hub, "x", "y")
    got = {load(await task)}
    await reached(lambda: not thread.is_alive())
    assert got | {load(thread.result())} == {"x", "y"}


async def test_a_timer_does_not_outlive_a_cancelled_wait(on_loop: Stations) -> None:
    hub = on_loop.hub()
    waiter = hub.future_waiter()
    task = asyncio.ensure_future(hub.sleep(waiter, time.monotonic() + DEADLINE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiter.future.cancelled()


# Other things


def test_what_is_large_is_packed_into_a_parcel(stations: Stations) -> None:
    hub = stations.hub()
    assert hub.pack(b"as it is") == b"as it is"
    parcel = hub.pack(pack_item("x" * LARGE))
    assert isinstance(parcel, Parcel)


def test_errors_say_what_to_do_next(stations: Stations) -> None:
    hub = stations.hub(name="jobs", owner=4711)
    assert "'jobs', process 4711, is gone; end this process" in str(hub.lost_error())
    assert "'jobs' is shut down; leave the loop" in str(hub.shut_error())


def test_hubs_that_nobody_drives_are_driven_by_whoever_waits(
    stations: Stations,
) -> None:
    first, second = stations.hub(), stations.hub()
    peer = stations.peer(second)
    assert {first, second} <= set(loopless.values())
    thread = Thread(get, first)  # the only one who waits, and for another queue
    until(lambda: first._leader is not None)
    put(peer, "x")
    until(lambda: second.hub.store.waiting == 1)
    put(first, "end")
    thread.result()


def test_a_deadline_of_a_hub_bounds_the_wait_of_others(stations: Stations) -> None:
    hub = stations.hub()
    hub.hub.deadline = time.monotonic() + 0.5
    with driving([hub], None) as (numbers, timeout):
        assert numbers == [hub._readiness.fileno()]
        assert timeout is not None
        assert 0 <= timeout <= 0.5
    with driving([hub], 0.0) as (_, timeout):
        assert timeout == 0.0


def test_a_hub_that_another_thread_has_closed_is_not_driven(
    stations: Stations,
) -> None:
    hub, other = stations.hub(), stations.hub()
    hub.dispose()
    with driving([hub, other], 1.0) as (numbers, timeout):
        assert numbers == [other._readiness.fileno()]
        assert timeout == 1.0


def test_without_hubs_nothing_is_driven() -> None:
    with driving([], 3.0) as (numbers, timeout):
        assert (numbers, timeout) == ([], 3.0)


def test_a_peer_cannot_be_driven(stations: Stations) -> None:
    _, peer = stations.pair()
    with pytest.raises(NotImplementedError):
        peer.drive()
    with pytest.raises(NotImplementedError):
        peer.drive_due()


def test_a_waiter_of_a_thread_has_what_it_waits_for(stations: Stations) -> None:
    waiter = stations.hub().new_waiter(size=5, linger=True)
    assert isinstance(waiter, ThreadWaiter)
    assert (waiter.size, waiter.linger) == (5, True)


@pytest.mark.skipif(PORTABLE, reason="segments are used once there")
def test_segments_are_used_again_until_the_station_is_disposed_of(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    for number in range(4):
        put(hub, str(number) * LARGE)
        assert peer.open(get(peer)) == str(number) * LARGE
    assert hub.pool.statistics().reused > 0
    assert 0 < len(peer.mappings) < 4
    for station in (peer, hub):
        station.dispose()
        assert station.pool.closed
    assert len(peer.mappings) == 0
    assert hub.pool.statistics().kept_bytes == 0
