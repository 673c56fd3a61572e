from __future__ import annotations

import asyncio
import contextlib
import math
import pickle
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from aioprocq import LoopMismatch, OwnerLost, QueueFull, QueueShutDown
from aioprocq.drivers import busy_poll, spinning
from aioprocq.drivers import peer_putting as module
from aioprocq.drivers.ring import RING_BYTES, RINGS, RingReader
from aioprocq.drivers.spinning import SPIN, Spinner
from aioprocq.drivers.transport import DONTWAIT
from aioprocq.queues import sync
from aioprocq.queues.sync import SyncQueue
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import BATCH_BYTES, MAX_FRAME
from aioprocq.wire.page import BELL, PUT, PUT_BYTES, ROOM, STATE, UNBOUNDED, State
from aioprocq.wire.payload import pack_item

from .stations import (
    DEADLINE,
    LARGE,
    Stations,
    Thread,
    connected,
    drive,
    fill,
    put,
    reached,
    take,
    until,
)
from .stub import Stub

pytestmark = pytest.mark.timeout(30)


def parcel(station: Any, item: object = "x" * LARGE) -> Any:
    return station.pack(pack_item(item))


# Putting


def test_a_put_is_with_the_kernel_when_it_returns(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, 1, "two")
    peer.dispose()
    drive(hub)
    assert [take(hub), take(hub)] == [1, "two"]


@pytest.mark.parametrize("count", [1, 2, 100, 5000])
@pytest.mark.parametrize("known", [False, True])
def test_items_of_a_batch_arrive_together_and_in_order(
    stations: Stations, count: int, known: bool
) -> None:
    hub, peer = stations.pair()
    payloads: list[Any] = [pickle.dumps(n) for n in range(count)]
    lengths = list(map(len, payloads)) if known else None
    assert peer.put_batch(payloads, lengths) == count
    drive(hub)
    assert [take(hub) for _ in range(count)] == list(range(count))


def test_of_a_batch_goes_what_there_is_room_for(stations: Stations) -> None:
    hub, peer = connected(stations, maxsize=2)
    payloads: list[Any] = [pickle.dumps(n) for n in range(5)]
    peer.ask_for_room(payloads[0])
    drive(hub)
    count = peer.put_batch(payloads, list(map(len, payloads)))
    assert count in (1, 2)
    drive(hub)
    assert [take(hub) for _ in range(count + 1)] == [*range(count), None]


def test_a_batch_takes_parcels_in_their_turn(stations: Stations) -> None:
    hub, peer = stations.pair()
    payloads = [pickle.dumps(1), parcel(peer), pickle.dumps(2), pickle.dumps(3)]
    assert peer.put_batch(payloads) == 4
    drive(hub)
    assert take(hub) == 1
    assert hub.take(None).size > LARGE
    assert [take(hub), take(hub)] == [2, 3]


def test_no_frame_of_a_batch_is_too_long(stations: Stations) -> None:
    hub, peer = stations.pair()
    items = ["x" * 10_000] * 5
    assert peer.put_batch([pickle.dumps(item) for item in items]) == 5
    drive(hub)
    assert [take(hub) for _ in items] == items


def test_how_a_batch_is_cut() -> None:
    assert module._cut([b"x" * 9000] * 3, 0) == [b"x" * 9000]
    assert module._cut([b"x" * 20_000, b"y"], 0) == [b"x" * 20_000]
    assert module._cut([b"x", b"yy", b"zzz"], 1) == [b"yy", b"zzz"]
    assert len(module._cut([b""] * 5000, 0)) == wire.BATCH_ITEMS


def test_without_room_nothing_is_put_and_the_page_says_so(stations: Stations) -> None:
    hub, peer = connected(stations, maxsize=2)
    assert not peer.put(b"x")
    assert peer.put_batch([b"x", b"y"]) == 0
    assert not peer.put(parcel(peer))
    assert peer.machine is not None
    assert peer.machine.page[PUT] == 0
    drive(hub)
    assert hub.qsize() == 0


def test_who_asks_for_room_has_it_the_next_time(stations: Stations) -> None:
    hub, peer = connected(stations, maxsize=2)
    peer.ask_for_room(b"")
    drive(hub)
    put(peer, 1)
    drive(hub)
    put(peer, 2)
    drive(hub)
    assert hub.qsize() == 2
    assert not peer.put(b"")
    assert not hub.put(b"")


def test_room_in_bytes_is_granted_for_the_size_asked_for(stations: Stations) -> None:
    hub, peer = connected(stations, max_bytes=200)
    item = pickle.dumps("x" * 100)
    assert not peer.put(item)
    peer.ask_for_room(item)
    drive(hub)
    assert peer.put(item)
    assert peer.machine.page[PUT_BYTES] == len(item)
    drive(hub)
    assert hub.hub.store.size == len(item)


@pytest.mark.parametrize("lengths", [None, [len(pickle.dumps(1))] * 3])
def test_in_bytes_a_batch_goes_one_by_one(
    stations: Stations, lengths: list[int] | None
) -> None:
    hub, peer = connected(stations, max_bytes=1000)
    item = pickle.dumps(1)
    peer.ask_for_room(item)
    drive(hub)
    assert peer.put_batch([item] * 3, lengths) == 1


def test_a_putter_waits_and_is_woken_when_there_is_room(stations: Stations) -> None:
    hub, peer = connected(stations, maxsize=1)
    put(hub, 1)
    waiter = peer.new_waiter(size=1)
    peer.begin_put(waiter)
    blocked = Thread(peer.block, waiter, None)
    until(lambda: peer._leader is not None)
    drive(hub)
    assert hub.statistics().putters_waiting == 1
    assert take(hub) == 1
    assert blocked.result()
    peer.come_to_put(waiter)
    assert not waiter.woken
    put(peer, 2)
    peer.end_put(waiter)
    drive(hub)
    assert take(hub) == 2


class Granting(Spinner):
    """Looks three times; before the last look the owner grants room."""

    def __init__(self, grant: Callable[[], object]) -> None:
        super().__init__()
        self._skips = 0
        self._grant = grant

    def look(self, find: Callable[[], Any]) -> Any:
        assert not find()
        assert not find()
        self._grant()
        return find()


def full(stations: Stations) -> Any:
    """A peer without room, of an owner that will read nothing."""
    hub, peer = connected(stations, maxsize=1)
    put(hub, 1)
    assert not peer.put(pack_item(2))
    return hub, peer


def test_a_thread_finds_room_in_the_page_before_it_waits_for_it(
    stations: Stations,
) -> None:
    _hub, peer = full(stations)
    page = peer.machine.page
    peer._room_spinner = Granting(lambda: page.__setitem__(ROOM, page[ROOM] + 1))
    handle = SimpleNamespace(station=peer, settings=peer.settings, closed=False)
    SyncQueue(handle).put(2, timeout=9)  # type: ignore[arg-type]  # all that it looks at
    assert page[PUT] == page[ROOM]
    assert not peer.machine.putters
    assert not peer.machine.outbox, "nobody is told that it waited"


def test_room_that_somebody_else_used_up_is_waited_for(stations: Stations) -> None:
    hub, peer = full(stations)
    page = peer.machine.page
    peer._room_spinner = Granting(lambda: page.__setitem__(ROOM, page[ROOM] + 1))

    def robbed(payloads: object) -> int:
        del peer.put_batch
        assert peer.put(pack_item("another's"))
        return 0

    peer.put_batch = robbed
    handle = SimpleNamespace(station=peer, settings=peer.settings, closed=False)
    putting = Thread(SyncQueue(handle).put, 2)  # type: ignore[arg-type]  # all that it looks at
    until(lambda: peer.machine.putters)
    drive(hub)
    assert [take(hub), take(hub)] == [1, "another's"]
    putting.result()


@pytest.mark.parametrize("why", ["in vain", "soon", "first", "lane", "bytes", "nobody"])
def test_when_a_thread_does_not_look_for_room(stations: Stations, why: str) -> None:
    changes = {"max_bytes": 10} if why == "bytes" else {"maxsize": 1}
    hub, peer = connected(stations, **changes)
    peer._room_spinner = Granting(lambda: None)
    page, machine = peer.machine.page, peer.machine
    if why == "in vain":
        assert not peer.look_for_room(None)
        peer._room_spinner.failed()
    elif why == "first":
        peer.begin_put(peer.new_waiter(size=1))
    elif why == "lane":
        machine.lane_full = True
    elif why == "nobody":
        hub.dispose()
        with peer.lock:
            peer._lose()
    page[ROOM] = page[PUT] + 1
    until_when = time.monotonic() + SPIN / 2 if why == "soon" else None
    assert not peer.look_for_room(until_when)


def test_a_putter_that_gives_up_lets_the_next_one_use_the_room(
    stations: Stations,
) -> None:
    hub, peer = connected(stations, maxsize=1)
    first, second = peer.new_waiter(size=1), peer.new_waiter(size=1)
    peer.begin_put(first)
    peer.begin_put(second)
    drive(hub)
    peer.fetch()
    assert (first.woken, second.woken) == (True, False)
    peer.end_put(first)
    assert second.woken
    peer.end_put(second)
    put(peer, 1)


@pytest.mark.parametrize("what", ["one", "batch", "parcel", "behind a frame"])
def test_a_full_lane_takes_nothing_and_counts_nothing(
    stations: Stations, what: str
) -> None:
    hub, peer = connected(stations)
    count = fill(peer)
    assert count > 1
    machine = peer.machine
    assert machine.page[PUT] == count
    if what == "behind a frame":
        machine.outbox.append(wire.REPORT)
    attempts = {
        "one": lambda: peer.put(b"." * 20_000),
        "behind a frame": lambda: peer.put(b"." * 20_000),
        "batch": lambda: peer.put_batch([b"." * 20_000] * 3),
        "parcel": lambda: peer.put(parcel(peer)),
    }
    if what == "parcel":
        while peer.put(b"."):  # the lane has room for small ones still
            count += 1
    assert not attempts[what]()
    assert machine.page[PUT] == count
    assert machine.lane_full
    drive(hub)
    assert hub.qsize() == count
    assert attempts[what]()


def test_a_parcel_whose_announcement_alone_has_gone_can_be_put_again(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise BlockingIOError

    hub, peer = connected(stations)
    with monkeypatch.context() as patch:
        patch.setattr(module, "send_loaded", full)
        assert not peer.put(parcel(peer))
    drive(hub)
    put(peer, "small")
    assert peer.put(parcel(peer))
    drive(hub)
    assert take(hub) == "small"
    assert hub.take(None).size > LARGE


@pytest.mark.parametrize("what", ["one", "batch", "parcel"])
def test_a_put_to_an_owner_that_is_gone(stations: Stations, what: str) -> None:
    hub, peer = connected(stations)
    item = parcel(peer)
    hub.dispose()
    calls: dict[str, Any] = {
        "one": lambda: peer.put(b"x"),
        "batch": lambda: peer.put_batch([b"x", b"y"]),
        "parcel": lambda: peer.put(item),
    }
    for _ in range(2):
        with pytest.raises(OwnerLost, match="is gone; end this process"):
            calls[what]()


@pytest.mark.parametrize("what", ["one", "batch", "parcel", "waiting"])
def test_a_put_after_a_shutdown(stations: Stations, what: str) -> None:
    hub, peer = connected(stations)
    item = parcel(peer)
    hub.shutdown(immediate=False)
    calls: dict[str, Any] = {
        "one": lambda: peer.put(b"x"),
        "batch": lambda: peer.put_batch([b"x", b"y"]),
        "parcel": lambda: peer.put(item),
        "waiting": lambda: peer.begin_put(peer.new_waiter()),
    }
    with pytest.raises(QueueShutDown):
        calls[what]()


@pytest.mark.parametrize("granted", [False, True])
def test_who_waits_for_room_ends_though_the_owner_does_not_look_again(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    """It looked before it shut the queue down, and blocks."""
    hub, peer = connected(stations, maxsize=1)
    put(hub, 1)
    waiter = peer.new_waiter(size=1)
    if granted:
        peer.begin_put(waiter)
        drive(hub)
        assert take(hub) == 1
        drive(hub)
        assert peer.machine.page[ROOM] == 1, "which it has not seen"
        hub.shutdown(immediate=True)
        peer.fetch()
    else:
        settle_down = peer._settle_down

        def and_meanwhile() -> None:
            settle_down()
            hub.hub.page[STATE] = State.SHUT

        monkeypatch.setattr(peer, "_settle_down", and_meanwhile)
        peer.begin_put(waiter)
    assert waiter.ended


# Bursts

PutOne = Callable[[Any, bytes], bool]


@pytest.fixture(params=["station", "face"])
def put_one(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PutOne:
    """Puts what is pickled already: the station does, or the blocking face itself."""
    if not RINGS:
        pytest.skip("there are no rings here")
    if request.param == "station":
        return lambda peer, payload: peer.put(payload)

    def put_with_the_face(peer: Any, payload: bytes) -> bool:
        handle = SimpleNamespace(station=peer, settings=peer.settings, owner=False)
        face: sync.SyncQueue[bytes] = sync.SyncQueue(handle)  # type: ignore[arg-type]
        try:
            face.put(payload, timeout=0.01)
        except QueueFull:
            return False
        return True

    monkeypatch.setattr(sync, "dumps", lambda item, *_, **__: item)
    return put_with_the_face


def test_a_burst_notices_that_its_owner_is_gone(
    stations: Stations, put_one: PutOne
) -> None:
    hub, peer = connected(stations)
    put(peer, 1, 2, 3)
    drive(hub)
    hub.dispose()
    # Nothing is sent: the bell was rung, and the ring has room.
    peer.ring.rung = peer.machine.page[BELL]
    peer._burst_until = math.inf
    peer._pulse_at = peer.quick_until = 0.0
    with pytest.raises(OwnerLost):
        put_one(peer, pickle.dumps(4))


def in_a_burst(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, RingReader]:
    """A peer that has just put something into its ring, and who reads that."""
    monkeypatch.setattr(module, "_BURST", 1000.0)
    peer = stub.peer
    peer.fetch()
    dialled = stub.answer()
    peer._burst_until = math.inf
    assert peer.ring is not None
    peer.ring.broken_off = False
    return peer, RingReader(dialled.page, dialled.ring)


@pytest.mark.parametrize("read", [0, 1, 60, 129])
def test_a_burst_overwrites_nothing_that_is_not_read_yet(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, read: int, put_one: PutOne
) -> None:
    peer, reader = in_a_burst(stub, monkeypatch)
    texts = [b"%4d" % number * 250 for number in range(400)]
    for text in texts[:read]:
        assert put_one(peer, text)
    assert reader.take(0) == texts[:read]
    count = read
    while not peer.ring.broken_off:  # in a message: the ring is full
        assert put_one(peer, texts[count])
        count += 1
    assert (count - 1 - read) * 1004 > RING_BYTES - 2 * 1004
    assert reader.take(read) == texts[read : count - 1]


@pytest.mark.parametrize("pace", [1, 40, 190])
def test_a_burst_goes_on_for_many_laps(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, pace: int, put_one: PutOne
) -> None:
    peer, reader = in_a_burst(stub, monkeypatch)
    texts = [b"%d." % number * (number % 200) for number in range(2000)]
    texts = [text[: 1100 * (number % 3)] for number, text in enumerate(texts)]
    assert sum(map(len, texts)) > 4 * RING_BYTES
    found: list[bytes] = []
    for number, text in enumerate(texts, 1):
        assert put_one(peer, text)
        if number % pace == 0:
            found += reader.take(len(found))
    assert found + reader.take(len(found)) == texts
    assert not peer.ring.broken_off


class Clock:
    """The time as puts see it: it passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(sync, "time", made)
    return made


def begun(stub: Stub, put_one: PutOne) -> tuple[Any, Any]:
    """A peer whose second put went into its ring, and the hub's ends."""
    peer = stub.peer
    assert put_one(peer, ITEM)
    assert put_one(peer, ITEM)
    dialled = stub.answer()
    assert sent(dialled) == [ITEM]
    assert not peer.ring.broken_off
    return peer, dialled


def sent(dialled: Any) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(dialled.up.recv(MAX_FRAME, DONTWAIT))
    return found


ITEM = pickle.dumps("item")
LOOKS = 5  # as many puts as there are between two looks at the clock, and more, each


@pytest.mark.parametrize(("pace", "goes_on"), [(0.9, True), (1.1, False)])
def test_a_burst_goes_on_for_as_long_as_its_pace(
    stub: Stub, clock: Clock, put_one: PutOne, pace: float, goes_on: bool
) -> None:
    peer, dialled = begun(stub, put_one)
    for _ in range(LOOKS * module._MOST_OTHERS):
        clock.now += pace * module._BURST
        assert put_one(peer, ITEM)
    assert (sent(dialled) == []) is goes_on


def test_who_has_to_ring_sends_what_comes_later(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, dialled = begun(stub, put_one)
    dialled.page[BELL] += 1
    assert put_one(peer, ITEM)
    assert sent(dialled) == [wire.REPORT]
    clock.now += 5 * module._BURST
    assert put_one(peer, ITEM)
    assert sent(dialled) == [ITEM]


def test_a_burst_notices_in_time_that_nobody_reads_any_more(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, _ = begun(stub, put_one)
    for end in stub.ends:
        end.close()
    with pytest.raises(OwnerLost):
        for _ in range(2 * module._MOST_OTHERS):
            clock.now += 0.9 * module._BURST
            assert put_one(peer, ITEM)


def test_a_burst_ends_with_its_owner(stub: Stub, clock: Clock, put_one: PutOne) -> None:
    peer, _ = begun(stub, put_one)
    for end in stub.ends:
        end.close()
    peer.fetch()
    with pytest.raises(OwnerLost):
        put_one(peer, ITEM)


def test_a_burst_ends_with_a_shutdown_from_here(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, _ = begun(stub, put_one)
    peer.shutdown(immediate=False)
    with pytest.raises(QueueShutDown):
        put_one(peer, ITEM)


def test_what_could_not_be_sent_does_not_stay_behind_a_burst(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, dialled = begun(stub, put_one)
    peer.machine.outbox.append(wire.LOOK)
    clock.now += 0.9 * module._BURST
    for _ in range(2 * module._MOST_OTHERS):
        clock.now += 0.9 * module._BURST
        assert put_one(peer, ITEM)
    assert sent(dialled) == [wire.LOOK, ITEM]


def test_a_burst_ends_where_there_is_no_room(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, dialled = begun(stub, put_one)
    page, count = dialled.page, peer.machine.put + 2
    page[ROOM], page[UNBOUNDED] = count, 0
    assert [put_one(peer, ITEM) for _ in range(4)] == [True, True, False, False]
    assert peer.machine.put == page[PUT] == count, "nothing else has been announced"
    ring = RingReader(page, dialled.ring)
    assert ring.take(1) == [ITEM] * 3


def test_what_is_unbounded_needs_no_room(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, dialled = begun(stub, put_one)
    dialled.page[ROOM] = 0  # as no hub does it
    assert put_one(peer, ITEM)


@pytest.mark.skipif(not RINGS, reason="there are no rings here")
async def test_a_burst_of_coroutines_lets_nobody_block(
    stub: Stub, clock: Clock
) -> None:
    peer = stub.peer
    for _ in range(3):
        assert peer.put(ITEM)
    stub.answer()
    assert peer.quick_until
    face: sync.SyncQueue[bytes]
    face = sync.SyncQueue(SimpleNamespace(station=peer))  # type: ignore[arg-type]
    with pytest.raises(LoopMismatch, match=r"await put\(\)"):
        face.put(ITEM)


@pytest.mark.parametrize("how", ["batch", "parcel"])
def test_what_a_burst_puts_after_a_message_waits_for_it(
    stub: Stub, clock: Clock, put_one: PutOne, how: str
) -> None:
    peer, dialled = begun(stub, put_one)
    if how == "batch":
        assert peer.put_batch([ITEM, ITEM]) == 2
    else:
        assert peer.put(parcel(peer))
    arrived = peer.machine.put
    last = pickle.dumps("last")
    assert put_one(peer, last)
    ring = RingReader(dialled.page, dialled.ring)
    assert ring.take(1) == [ITEM]
    assert ring.take(arrived - 1) == []
    assert ring.held_up
    assert ring.take(arrived) == [last]


def test_a_batch_that_lies_unread_rings_again(
    stub: Stub, clock: Clock, put_one: PutOne
) -> None:
    peer, dialled = begun(stub, put_one)
    text = b"x" * 500 + b"."
    for _ in range(5 * BATCH_BYTES // len(text) // 2):
        assert put_one(peer, text)
    assert sent(dialled) == [wire.REPORT, wire.REPORT]


# Looking for room on a loop


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look lasts until there is room, whoever else wants the core."""
    monkeypatch.setattr(busy_poll, "SPIN", DEADLINE)
    monkeypatch.setattr(busy_poll, "is_idle", lambda: True)
    monkeypatch.setattr(spinning, "_USEFUL", True)


@pytest.mark.usefixtures("patient")
async def test_a_coroutine_finds_room_in_a_turn_of_its_loop(on_loop: Stations) -> None:
    hub, peer = on_loop.pair(maxsize=1)
    peer.fetch()
    await reached(lambda: hub.hub.dealer.peers)
    put(hub, 1)
    assert not peer.put(pickle.dumps(2, 5))
    page = peer.machine.page  # type: ignore[union-attr]  # it is connected
    page[ROOM] = page[PUT]
    looking = asyncio.create_task(peer.await_room(None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not looking.done()
    page[ROOM] = page[PUT] + 1
    assert await looking
    assert peer.put(pickle.dumps(2, 5))


@pytest.mark.parametrize("why", ["in vain", "soon", "first", "lane", "bytes", "nobody"])
async def test_when_a_coroutine_does_not_look_for_room(
    stations: Stations, why: str
) -> None:
    changes = {"max_bytes": 10} if why == "bytes" else {"maxsize": 1}
    _, peer = connected(stations, **changes)
    if why == "in vain":
        peer._room_experience.failed()
    elif why == "first":
        peer.begin_put(peer.future_waiter(size=1))
    elif why == "lane":
        peer.machine.lane_full = True
    elif why == "nobody":
        with peer.lock:
            peer._lose()
    until_when = time.monotonic() + SPIN / 2 if why == "soon" else None
    assert not await peer.await_room(until_when)


@pytest.mark.parametrize(
    ("bounds", "unbounded"),
    [
        ({"maxsize": 0}, True),
        ({"maxsize": -1}, True),
        ({"maxsize": float("inf")}, True),
        ({"maxsize": sys.maxsize}, True),
        ({"max_bytes": sys.maxsize}, True),
        ({"maxsize": 3, "max_bytes": sys.maxsize}, False),
        ({"maxsize": 0.5}, False),
        ({"maxsize": (1 << 62) - 1}, False),
        ({"max_bytes": 100}, False),
    ],
)
def test_a_bound_that_none_reaches_is_none_for_both_sides(
    stations: Stations, bounds: Any, unbounded: bool
) -> None:
    """Or a peer waits for room that the hub believes it has."""
    hub, peer = stations.pair(**bounds)
    assert hub.hub.room.bounded != unbounded
    assert hub.settings.unbounded == peer.settings.unbounded == unbounded
    peer.refresh()
    assert bool(peer.machine.page[UNBOUNDED]) == unbounded, "before the hub looks"
