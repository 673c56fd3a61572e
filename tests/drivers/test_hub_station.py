from __future__ import annotations

import asyncio
import math
import pickle
import time
from types import SimpleNamespace
from typing import Any

import pytest

from aioprocq import Queue, QueueClosed, QueueShutDown
from aioprocq.drivers import busy_poll, spinning
from aioprocq.drivers import hub_station as hub_module
from aioprocq.drivers.hub_station import HubStation
from aioprocq.drivers.spinning import SPIN
from aioprocq.machines.store import Store
from aioprocq.wire.frames import encode_want

from .stations import (
    DEADLINE,
    LARGE,
    Stations,
    Thread,
    drive,
    get_on_loop,
    load,
    put,
    reached,
    take,
)

pytestmark = pytest.mark.timeout(30)


def payload(item: object) -> Any:
    return pickle.dumps(item, 5)


# Putting


def test_items_are_handed_out_in_the_order_they_were_put(stations: Stations) -> None:
    hub = stations.hub()
    put(hub, 1, 2, 3)
    assert [take(hub), take(hub), take(hub), take(hub)] == [1, 2, 3, None]


def test_a_put_without_room_puts_nothing(stations: Stations) -> None:
    hub = stations.hub(maxsize=2)
    assert [hub.put(payload(n)) for n in range(3)] == [True, True, False]
    assert hub.put_batch([payload(9)]) == 0
    assert take(hub) == 0
    assert hub.put_batch([payload(n) for n in (3, 4)]) == 1
    assert [take(hub), take(hub), take(hub)] == [1, 3, None]


def test_room_in_bytes_is_counted_in_bytes(stations: Stations) -> None:
    hub = stations.hub(max_bytes=100)
    assert hub.put(b"x" * 60)
    assert not hub.put(b"y" * 60)
    assert hub.put(b"z" * 40)
    hub.take(None)
    assert hub.put(b"y" * 60)


def test_after_a_shutdown_puts_raise(stations: Stations) -> None:
    hub = stations.hub(name="jobs")
    hub.shutdown(immediate=False)
    with pytest.raises(QueueShutDown, match="'jobs' is shut down"):
        hub.put(b"")
    with pytest.raises(QueueShutDown):
        hub.put_batch([b""])


def test_room_that_was_granted_ahead_is_taken_back(stations: Stations) -> None:
    """A busy producer has room in advance; the owner needs it, and has it."""
    hub, peer = stations.pair(maxsize=10)
    peer.ask_for_room(payload(0))
    drive(hub)
    put(peer, 0)
    hub.drive()
    granted = hub.hub.room.granted
    assert granted > 0
    put(hub, *range(9))
    assert hub.qsize() == 10
    assert hub.hub.room.granted == 0
    assert not peer.put(payload(1))


def test_room_that_a_peer_uses_is_not_taken_back(stations: Stations) -> None:
    hub, peer = stations.pair(maxsize=2)
    peer.ask_for_room(payload(0))
    drive(hub)
    put(peer, 0)  # it is on its way, and has its room
    put(hub, 1)
    assert not hub.put(payload(2))
    assert hub.qsize() == 2


@pytest.mark.parametrize("face", ["put", "put_batch"])
def test_a_loopless_hub_is_bound_by_a_put(stations: Stations, face: str) -> None:
    hub = stations.hub()

    async def use() -> bool:
        if face == "put":
            hub.put(payload(1))
        else:
            hub.put_batch([payload(1)])
        bound = hub.loop is asyncio.get_running_loop()
        hub.dispose()
        return bound

    assert asyncio.run(use())


@pytest.mark.both_loops
async def test_quick_puts_are_flushed_before_the_loop_waits(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    await get_on_loop(peer, 0)
    in_a_burst(hub).put(payload("slow"))
    assert hub.quick > 0
    hub.quick -= 1
    hub.fresh.append(payload("quick"))
    assert hub._neighbours.bursting == 1
    assert load(await get_on_loop(peer)) == "slow"
    assert load(await get_on_loop(peer)) == "quick"
    await reached(lambda: hub.quick == 0)
    assert hub._neighbours.bursting == 0
    assert hub._neighbours.put_at < math.inf, (
        "the burst may go on, and this is its time"
    )


def in_a_burst(hub: HubStation) -> HubStation:
    """The next put follows another at once."""
    hub.bind()
    hub._neighbours.put_at = math.inf
    return hub


async def test_no_put_changes_a_class(on_loop: Stations) -> None:
    """CPython would forget where the attributes of all stations are."""
    hub, peer = on_loop.pair()
    await get_on_loop(peer, 0)
    before = [dict(vars(kind)) for kind in type(hub).__mro__]
    for _ in range(3):
        in_a_burst(hub).put(payload("item"))
        assert load(await get_on_loop(peer)) == "item"
    assert [dict(vars(kind)) for kind in type(hub).__mro__] == before


async def test_a_put_that_stands_alone_has_the_loop_do_nothing(
    on_loop: Stations,
) -> None:
    hub = on_loop.hub()
    hub.put(payload("alone"))
    assert hub.quick == 0
    assert not hub._flush_due
    in_a_burst(hub).put(payload("another"))
    assert hub.quick > 0
    hub.put(payload("a third, before the loop comes to it"))
    assert hub.quick > 0


async def test_a_burst_is_told_by_the_time_between_two_puts(
    on_loop: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the time that they take: to many queues in turn each takes longer."""
    hub, other = on_loop.hub(), on_loop.hub()
    clock = SlowClock(monkeypatch)
    hub.put(payload("alone"))
    assert hub.quick == 0
    clock.now += 1.0
    hub.put(payload("alone as well"))
    assert hub.quick == 0
    for each in (other, hub, other):
        each.put(payload("at once"))
        assert each.quick > 0


@pytest.mark.both_loops
async def test_a_flush_for_the_room_that_was_freed_is_no_burst_less(
    on_loop: Stations,
) -> None:
    bounded, other = on_loop.hub(maxsize=2), on_loop.hub()
    for number in range(3):
        bounded.put(payload(number))
        assert take(bounded) == number
        await reached(lambda: not bounded._flush_due)
        assert bounded._neighbours.bursting == 0
    in_a_burst(other).put(payload(1))
    assert other.quick > 0


class SlowClock:
    """Time in which only what a hub carries out takes any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5.0
        carry_out = HubStation._carry_out

        def slowly(hub: HubStation) -> None:
            carry_out(hub)
            self.now += 1.0

        monkeypatch.setattr(HubStation, "_carry_out", slowly)
        monkeypatch.setattr(hub_module, "time", self)

    def monotonic(self) -> float:
        return self.now


async def test_nothing_is_quick_while_somebody_waits_here(on_loop: Stations) -> None:
    hub = on_loop.hub()
    first, second = hub.future_waiter(), hub.future_waiter()
    hub.begin_get(first)
    hub.begin_get(second)
    in_a_burst(hub).put(payload(1))
    assert hub.quick == 0
    assert not hub._flush_due
    assert first.woken
    hub.end_get(first, took=False)
    hub.end_get(second, took=False)


async def test_a_quick_put_never_outgrows_a_batch(on_loop: Stations) -> None:
    hub = on_loop.hub()
    in_a_burst(hub).put(payload("x" * 20_000))
    assert hub.quick == 0
    put(hub, "x" * LARGE)
    assert hub.quick == 0


async def test_a_burst_into_a_bounded_queue_goes_together(on_loop: Stations) -> None:
    hub, peer = on_loop.pair(maxsize=9)
    await get_on_loop(peer, 0)
    in_a_burst(hub).put(payload(0))
    assert (hub._allotted, hub.quick) == (8, 0)
    (record,) = hub.hub.dealer.peers
    sent = record.lane.sent
    for number in range(1, 6):
        assert hub.put(payload(number))
    assert (hub._allotted, record.lane.sent) == (3, sent), "the loop is about to send"
    for number in range(6):
        assert load(await get_on_loop(peer)) == number


async def test_the_last_of_a_burst_finds_that_there_is_no_room(
    on_loop: Stations,
) -> None:
    hub = on_loop.hub(maxsize=9)
    assert [in_a_burst(hub).put(payload(n)) for n in range(10)] == [True] * 9 + [False]
    assert take(hub) == 0
    assert [hub.put(payload(n)) for n in range(2)] == [True, False]


def test_a_list_is_put_as_far_as_there_is_room(stations: Stations) -> None:
    items: list[Any] = [b"x" * 60, b"y" * 60, b"z" * 30]
    assert stations.hub(max_bytes=100).put_batch(items) == 1
    hub = stations.hub(maxsize=2)
    assert hub.put_batch(items) == 2
    assert hub.hub.room.owner_puts, "so that peers are not granted all there is"


async def test_what_is_allotted_to_a_burst_is_no_more_than_there_is_room(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair(maxsize=5)
    peer.ask_for_room(payload(0))
    drive(hub)
    hub.hub.room.owner_puts = True
    assert in_a_burst(hub).put(payload(0))
    granted = hub.hub.room.granted
    assert granted > 0
    assert hub._allotted == 5 - 1 - granted


async def test_a_burst_is_allotted_anew_when_room_may_have_been_granted(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair(maxsize=5)
    in_a_burst(hub).put(payload(0))
    assert hub._allotted == 4
    peer.ask_for_room(payload(1))
    drive(hub)
    assert hub._allotted == 0
    in_a_burst(hub).put(payload(0))
    assert hub.put_batch([payload(1)] * 2) == 2
    assert hub._allotted == 0


async def test_a_burst_is_the_loop_s_alone(on_loop: Stations) -> None:
    """What another thread puts is sent at once: nobody else would."""
    hub, peer = on_loop.pair(maxsize=5)
    await get_on_loop(peer, 0)
    in_a_burst(hub).put(payload(0))
    allotted = hub._allotted
    assert allotted
    assert Thread(hub.put, payload(1)).result()
    assert hub._allotted == 0


@pytest.mark.parametrize("size", [10, 60])
async def test_a_burst_counts_bytes_where_they_are_bounded(
    on_loop: Stations, size: int
) -> None:
    hub = on_loop.hub(max_bytes=100)
    in_a_burst(hub).put(b"x" * 20)
    assert hub._allotted
    assert hub._allotted_bytes == 80
    for _ in range(80 // size):
        assert hub.put(b"x" * size)
    assert hub.put(b"x" * (80 % size))
    assert not hub.put(b"x")


async def test_a_getter_that_waits_here_ends_a_burst(on_loop: Stations) -> None:
    hub = on_loop.hub(maxsize=5)
    hub.begin_get(first := hub.future_waiter())
    hub.begin_get(hub.future_waiter())
    in_a_burst(hub).put(payload(0))
    assert (first.woken, hub._allotted) == (True, 0)


async def test_a_put_of_a_burst_wakes_a_getter_that_came_later(
    on_loop: Stations,
) -> None:
    hub = on_loop.hub(maxsize=5)
    in_a_burst(hub).put(payload(0))
    assert hub._allotted
    assert take(hub) == 0
    hub.begin_get(waiter := hub.new_waiter())
    assert hub.put(payload(1))
    assert waiter.woken


async def test_after_a_shutdown_nothing_is_put_in_a_burst(on_loop: Stations) -> None:
    hub = on_loop.hub(maxsize=5)
    in_a_burst(hub).put(payload(0))
    hub.shutdown(immediate=False)
    with pytest.raises(QueueShutDown):
        hub.put(payload(1))


@pytest.mark.parametrize("face", ["put", "put_batch"])
async def test_a_put_sees_credit_that_the_loop_has_not(
    on_loop: Stations, face: str
) -> None:
    hub, peer = on_loop.pair()
    peer.fetch()
    await reached(lambda: hub.hub.dealer.peers)
    peer.refresh()  # asks for one: the hub's loop does not run meanwhile
    if face == "put":
        hub.put(payload(1))
    else:
        assert hub.put_batch([payload(1)]) == 1
    peer.refresh()
    assert take(peer) == 1


async def test_several_are_not_cut_in_two_where_more_was_asked_for(
    on_loop: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, peer = on_loop.pair()
    peer.fetch()
    await reached(lambda: hub.hub.dealer.peers)
    record = next(iter(hub.hub.dealer.peers))
    peer.refresh()
    await reached(lambda: record.lane.credit == 1)
    machine = peer.machine
    assert machine is not None
    machine.outbox.append(encode_want(9))
    with peer.lock:
        peer._flush()
    monkeypatch.delattr(Store, "put_many")  # they go as they are
    assert hub.put_batch([payload(n) for n in range(3)]) == 3
    assert [len(flight.payloads) for flight in record.lane.air] == [3]
    peer.refresh()
    assert [take(peer) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("immediate", [False, True])
async def test_nothing_is_put_once_a_shutdown_was_heard(
    on_loop: Stations, immediate: bool
) -> None:
    hub, peer = on_loop.pair()
    peer.fetch()
    await reached(lambda: hub.hub.dealer.peers)
    peer.shutdown(immediate=immediate)  # the hub's loop does not run meanwhile
    with pytest.raises(QueueShutDown):
        hub.put_batch([payload(n) for n in range(3)])
    assert hub.hub.store.tail == 0


def test_a_putter_waits_for_room(stations: Stations) -> None:
    hub = stations.hub(maxsize=1)
    put(hub, 1)
    waiter = hub.new_waiter(size=9)
    hub.begin_put(waiter)
    assert hub.statistics().putters_waiting == 1
    assert take(hub) == 1
    assert waiter.woken
    assert not hub.put(payload("thief")), "its place is kept"
    hub.come_to_put(waiter)
    put(hub, 2)
    hub.end_put(waiter)
    assert hub.qsize() == 1


def test_a_putter_that_gives_up_passes_its_place_on(stations: Stations) -> None:
    hub = stations.hub(maxsize=1)
    put(hub, 1)
    first, second = hub.new_waiter(), hub.new_waiter()
    hub.begin_put(first)
    hub.begin_put(second)
    take(hub)
    assert (first.woken, second.woken) == (True, False)
    hub.end_put(first)
    assert second.woken
    hub.end_put(second)
    put(hub, 2)


def test_the_owner_need_not_ask_for_room(stations: Stations) -> None:
    hub = stations.hub(maxsize=1)
    put(hub, 1)
    hub.ask_for_room(payload(2))
    hub.fetch()
    assert hub.statistics().putters_waiting == 0


async def test_on_a_loop_a_get_makes_room_for_a_peer(on_loop: Stations) -> None:
    hub, peer = on_loop.pair(maxsize=1)
    put(hub, 1)
    waiter = peer.future_waiter(size=1)
    peer.begin_put(waiter)
    await reached(lambda: hub.hub.room.line)
    assert take(hub) == 1
    async with asyncio.timeout(DEADLINE):
        await peer.sleep(waiter, None)
    put(peer, 2)
    peer.end_put(waiter)


def test_dead_letters_can_be_forgotten(stations: Stations) -> None:
    hub = stations.hub(joinable=True, max_deliveries=1)
    put(hub, "x")
    got = hub.take_delivery()
    assert got is not None
    hub.fail(got[1], "no luck", final=False)
    assert len(hub.hub.store.dead) == 1
    hub.forget_dead()
    assert len(hub.hub.store.dead) == 0
    assert hub.hub.store.unfinished == 0


# Looking for room on the loop


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look lasts until there is room, whoever else wants the core."""
    monkeypatch.setattr(busy_poll, "SPIN", DEADLINE)
    monkeypatch.setattr(busy_poll, "is_idle", lambda: True)
    monkeypatch.setattr(spinning, "_USEFUL", True)


async def bounded_to_four(stations: Stations) -> HubStation:
    """A queue that is full, and has a peer."""
    hub, peer = stations.pair(maxsize=4)
    peer.fetch()
    await reached(lambda: hub._by_record)
    put(hub, 1, 2, 3, 4)
    assert not hub.put(payload(5))
    return hub


@pytest.mark.usefixtures("patient")
async def test_half_of_the_room_is_looked_for(on_loop: Stations) -> None:
    hub = await bounded_to_four(on_loop)
    looking = asyncio.create_task(hub.await_room(None))
    assert take(hub) == 1
    for _ in range(9):
        await asyncio.sleep(0)
    assert not looking.done()
    assert take(hub) == 2
    assert await looking
    assert hub.put_batch([payload(n) for n in (5, 6, 7)]) == 2


@pytest.mark.usefixtures("patient")
async def test_who_finds_it_is_not_told_of_it(on_loop: Stations) -> None:
    hub = await bounded_to_four(on_loop)
    handle: Any = SimpleNamespace(station=hub, settings=hub.settings, closed=False)
    queue: Any = Queue.__new__(Queue)
    queue._handle = handle
    putting = asyncio.create_task(queue.put(5))
    await asyncio.sleep(0)
    assert [take(hub), take(hub)] == [1, 2]
    await putting
    assert not hub.hub.room.line


@pytest.mark.usefixtures("patient")
async def test_what_is_closed_while_somebody_looks_says_so(on_loop: Stations) -> None:
    hub = await bounded_to_four(on_loop)
    handle: Any = SimpleNamespace(station=hub, settings=hub.settings, closed=False)
    queue: Any = Queue.__new__(Queue)
    queue._handle = handle
    putting = asyncio.create_task(queue.put(5))
    await asyncio.sleep(0)
    handle.closed = True
    assert [take(hub), take(hub)] == [1, 2]
    with pytest.raises(QueueClosed):
        await putting


@pytest.mark.parametrize("why", ["in vain", "soon", "line", "bytes", "alone", "many"])
async def test_when_a_coroutine_does_not_look_for_room(
    on_loop: Stations, why: str
) -> None:
    bounds: dict[str, Any] = {"bytes": {"max_bytes": 9}, "many": {"maxsize": 257}}
    hub = on_loop.hub(**bounds.get(why, {"maxsize": 4}))
    if why != "alone":
        on_loop.peer(hub).fetch()
        await reached(lambda: hub._by_record)
    if why == "in vain":
        hub._room_experience.failed()
    elif why == "line":
        put(hub, 1, 2, 3, 4)
        waiter = hub.future_waiter(size=1)
        hub.begin_put(waiter)
    until_when = time.monotonic() + SPIN / 2 if why == "soon" else None
    assert not await hub.await_room(until_when)
    if why == "line":
        hub.end_put(waiter)


@pytest.mark.usefixtures("patient")
async def test_a_line_that_forms_meanwhile_comes_first(on_loop: Stations) -> None:
    hub = await bounded_to_four(on_loop)
    waiter = hub.future_waiter(size=1)
    assert take(hub) == 1
    assert hub._room() == 1
    hub.hub.wait_to_put(waiter)
    assert hub._room() == 0
    hub.end_put(waiter)
