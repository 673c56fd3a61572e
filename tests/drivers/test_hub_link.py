from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import LoopMismatch, OwnerLost
from aioprocq.drivers.station import loopless
from aioprocq.wire.page import PUT, QSIZE

from .stations import (
    DEADLINE,
    Stations,
    Thread,
    connect,
    drive_until,
    get,
    get_on_loop,
    put,
    reached,
    until,
)

Logged = Callable[[], list[tuple[str, str]]]

pytestmark = pytest.mark.timeout(30)


# The event loop


def test_without_a_loop_others_have_to_drive_it(stations: Stations) -> None:
    hub = stations.hub()
    assert hub.loop is None
    assert hub in loopless.values()


@pytest.mark.both_loops
async def test_it_is_bound_to_the_loop_it_is_made_on(on_loop: Stations) -> None:
    hub = on_loop.hub()
    assert hub.loop is asyncio.get_running_loop()
    assert hub not in loopless.values()
    hub.check_loop(asyncio.get_running_loop())


@pytest.mark.both_loops
async def test_a_loopless_one_is_bound_to_the_loop_of_its_first_use(
    on_loop: Stations,
) -> None:
    hub = await in_thread(on_loop.hub)
    assert hub.loop is None
    hub.check_loop(asyncio.get_running_loop())
    assert hub.loop is asyncio.get_running_loop()
    peer = on_loop.peer(hub)
    put(peer, 1)
    await reached(lambda: hub.hub.page[QSIZE] == 1)


async def in_thread(call: Any) -> Any:
    thread = Thread(call)
    await reached(lambda: not thread.is_alive())
    return thread.result()


async def test_a_second_loop_is_told_what_to_do(on_loop: Stations) -> None:
    hub = on_loop.hub(name="jobs")
    other = asyncio.new_event_loop()
    with pytest.raises(LoopMismatch, match=r"'jobs' belongs to another event loop; "):
        hub.check_loop(other)
    other.close()


@pytest.mark.both_loops
async def test_the_loop_takes_in_what_comes(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    put(peer, 1, 2)
    await reached(lambda: hub.hub.page[QSIZE] == 2)
    assert pickle.loads(await get_on_loop(hub)) == 1


@pytest.mark.both_loops
async def test_items_left_unread_are_taken_back_when_the_time_comes(
    on_loop: Stations,
) -> None:
    """A peer asks, and does not come to read: another getter has the item."""
    hub, lazy = on_loop.pair()
    await get_on_loop(lazy, 0)
    for loop in list(lazy._loops):
        lazy._unwatch(loop)
    await reached(lambda: hub.hub.dealer.blocked or hub.hub.dealer.ahead)
    put(hub, "x")
    await reached(lambda: hub.hub.dealer.flying == 1)
    assert pickle.loads(await get_on_loop(hub)) == "x"
    assert hub.statistics().returned == 1


@pytest.mark.both_loops
async def test_another_thread_sets_a_timer_on_the_loop(on_loop: Stations) -> None:
    """The same, but it is a thread that waits: the loop keeps the time."""
    hub, lazy = on_loop.pair()
    await get_on_loop(lazy, 0)
    for loop in list(lazy._loops):
        lazy._unwatch(loop)
    await reached(lambda: hub.hub.dealer.blocked or hub.hub.dealer.ahead)
    put(hub, "x")
    await reached(lambda: hub.hub.dealer.flying == 1)
    got = await in_thread(lambda: get(hub))
    assert pickle.loads(got) == "x"


async def test_a_timer_is_set_once_and_only_when_something_is_due(
    on_loop: Stations,
) -> None:
    hub = on_loop.hub()
    hub._arm()
    hub._set_timer()
    assert hub._timer is None
    hub.hub.deadline = time.monotonic() + 1000
    hub._arm()
    timer = hub._timer
    assert timer is not None
    hub._arm()
    hub._set_timer()
    assert hub._timer is timer
    hub.hub.deadline += 1.0
    hub._arm()
    assert hub._timer is timer, "it will look, and set another one"
    hub.hub.deadline = time.monotonic() + 500
    hub._arm()
    assert timer.cancelled(), "that would be too late"
    assert hub._timer is not None
    hub.hub.deadline = None


# Dead letters


def test_dead_letters_are_logged_as_errors(stations: Stations, logged: Logged) -> None:
    hub = stations.hub(name="jobs", joinable=True, max_deliveries=1)
    put(hub, "x")
    got = hub.take_delivery()
    assert got is not None
    hub.fail(got[1], "no luck", final=False)
    message = "jobs: gave an item up after 1 deliveries: no luck"
    assert logged() == [("ERROR", message)]


def test_dead_letters_that_somebody_else_tells_of_are_not_logged(
    stations: Stations, logged: Logged
) -> None:
    hub = stations.hub(name="jobs", joinable=True, max_deliveries=1)
    hub.quiet = True
    put(hub, "x")
    got = hub.take_delivery()
    assert got is not None
    hub.fail(got[1], "no luck", final=False)
    assert logged() == []
    hub.quiet = False
    put(hub, "y")
    got = hub.take_delivery()
    assert got is not None
    hub.fail(got[1], "no luck", final=False)
    assert len(logged()) == 1


# Waiting


def test_closing_the_handle_wakes_who_waits_here(stations: Stations) -> None:
    hub = stations.hub()
    getter = hub.new_waiter()
    hub.begin_get(getter)
    hub.end_waits()
    assert getter.ended
    assert hub.block(getter, None)


def test_nobody_waits_on_what_has_been_disposed_of(stations: Stations) -> None:
    hub = stations.hub()
    hub.dispose()
    hub._listen(DEADLINE)
    hub.drive()
    assert hub._take_in() is False
    assert hub._wakeup is not None
    hub._wakeup.close()


def test_who_has_just_been_woken_does_not_wait(stations: Stations) -> None:
    hub = stations.hub()
    waiter = hub.new_waiter()
    hub._lead(waiter)
    waiter.signalled = True
    hub._listen(None)
    hub._step_down(waiter)


# The end


def test_peers_see_the_owner_go(stations: Stations) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    waiting = Thread(get, peer)
    until(lambda: peer._leader is not None)
    hub.dispose()
    hub.dispose()
    assert isinstance(waiting.failure(), OwnerLost)
    assert hub not in loopless.values()


@pytest.mark.both_loops
async def test_it_is_disposed_of_from_another_thread(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    put(peer, 1)
    await reached(lambda: hub.hub.qsize() == 1)
    hub.hub.deadline = time.monotonic() + 1000
    hub._arm()
    timer = hub._timer
    await in_thread(hub.dispose)
    await reached(lambda: hub._reception.fileno() < 0)
    assert timer is not None
    assert timer.cancelled()
    with pytest.raises(OwnerLost):
        put(peer, 2)


def test_it_is_disposed_of_after_its_loop(stations: Stations) -> None:
    async def make() -> Any:
        return stations.hub()

    hub = asyncio.run(make())
    assert hub.loop.is_closed()
    hub._arm()
    hub.dispose()
    assert hub._reception.fileno() < 0


def test_a_disposed_one_is_bound_to_no_loop(stations: Stations) -> None:
    hub = stations.hub()
    hub.dispose()

    async def bind() -> None:
        hub.bind()

    asyncio.run(bind())
    assert hub.loop is None


def child(hub: Any, result: Any) -> None:
    station = hub.inherit()
    kept = [hub._reception.fileno(), hub._reception_sender.fileno()]
    put(station, "from the child")
    result.send((type(station).__name__, kept, hub in loopless.values()))


def test_a_forked_child_has_a_peer_and_none_of_the_descriptors(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    hub._wakeup_for_leader()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(hub, theirs))
    process.start()
    theirs.close()
    assert ours.poll(DEADLINE)
    assert ours.recv() == ("PeerStation", [-1, -1], False)
    drive_until(hub, lambda: hub.hub.qsize() == 1)
    assert pickle.loads(get(hub)) == "from the child"
    process.join(DEADLINE)
    assert process.exitcode == 0
    process.close()
    ours.close()
    drive_until(hub, lambda: hub.hub.deaths == 1)
    put(peer, "still here")
    assert pickle.loads(get(hub)) == "still here"


def test_the_pages_of_a_peer_outlive_it(stations: Stations) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    (record,) = hub.hub.dealer.peers
    put(peer, 1)
    peer.dispose()
    assert record.page[PUT] == 1
