"""Rings at the hub: when it looks, and when it takes its time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aioprocq import OwnerLost
from aioprocq.drivers import hub_rings as module
from aioprocq.drivers import peer_putting
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.ring import RINGS
from aioprocq.drivers.station import putting
from aioprocq.errors import ProtocolError
from aioprocq.wire.page import LINGERS, RING_TAIL

from .stations import (
    Stations,
    drive,
    put,
    reached,
    take,
)

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, one put after the other is a burst."""
    monkeypatch.setattr(peer_putting, "_BURST", 1000.0)


def test_a_ring_with_garbage_ends_its_connection(
    stations: Stations, caplog: pytest.LogCaptureFixture
) -> None:
    hub, peer = stations.pair()
    peer.fetch()
    hub.drive()
    put(peer, 1, 2)
    machine = peer.machine
    assert machine is not None
    machine.page[RING_TAIL] += 3
    hub.drive()
    assert "a ring with half an item" in caplog.text
    assert hub.hub.deaths == 1
    assert not hub._rings
    assert hub.hub.qsize() == 1, "the first was a message"


@pytest.mark.both_loops
async def test_rings_are_looked_at_until_nothing_comes(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    peer.fetch()
    put(peer, *range(5))
    await reached(lambda: hub.hub.qsize() == 5)
    await reached(lambda: not hub._rings)
    put(peer, *range(5))  # and the bell was rung
    await reached(lambda: hub.hub.qsize() == 10)
    (connection,) = hub._by_record.values()
    connection.ring = Garbage(connection.ring)  # type: ignore[assignment]
    put(peer, *range(3))
    await reached(lambda: hub.hub.deaths == 1)
    assert not hub._rings


@pytest.fixture
def lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks are a stream, and the next look at it is due too late for any test."""
    monkeypatch.setattr(module, "_STREAM", 1)
    monkeypatch.setattr(module, "_LINGER", 1000.0)


async def stream(hub: Any, peer: PeerStation) -> None:
    """Put one item for each look at the ring, until the hub calls it a stream."""
    peer.fetch()
    put(peer, 0, 1)
    await reached(lambda: hub.hub.qsize() == 2)
    while not hub._streaming:
        put(peer, 2)
        await asyncio.sleep(0)


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_a_loop_has_time_for_other_things_while_a_peer_streams(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair()
    await stream(hub, peer)
    before = hub.hub.store.tail
    put(peer, 3)
    for _ in range(9):
        await asyncio.sleep(0)
    assert hub.hub.store.tail == before, "it can wait"
    assert hub.qsize() == before + 1, "but who asks gets the exact figure"


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_a_batch_of_a_stream_comes_when_it_is_complete(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    await stream(hub, peer)
    before = hub.hub.store.tail
    put(peer, *["x" * 1000] * 20)
    await reached(lambda: hub.hub.store.tail > before + 10)


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_what_was_put_last_comes_before_its_process_waits(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair()
    await stream(hub, peer)
    before = hub.hub.store.tail
    put(peer, 3)
    assert peer in putting
    on_loop.hub().new_waiter()  # for whatever queue
    assert peer not in putting
    await reached(lambda: hub.hub.store.tail == before + 1)
    put(peer, 4, 5)
    on_loop.hub().future_waiter()
    await reached(lambda: hub.hub.store.tail == before + 3)


def test_what_is_put_after_a_wait_for_an_item_is_no_burst(stations: Stations) -> None:
    """It may be one answer after the other, of which each is waited for."""
    hub, peer = stations.pair()
    put(peer, 0)
    for number in range(1, 4):
        hub.new_waiter()
        put(peer, number)
    drive(hub)
    assert [take(hub) for _ in range(4)] == [0, 1, 2, 3]
    assert peer.machine is not None
    assert peer.machine.page[RING_TAIL] == 0, "each was a message"


@pytest.mark.skipif(not RINGS, reason="there are no rings here")
def test_what_is_put_after_a_wait_for_room_belongs_to_the_burst(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    put(peer, 0)
    hub.new_waiter(size=1)
    put(peer, 1)
    assert peer.machine is not None
    assert peer.machine.page[RING_TAIL] > 0
    drive(hub)
    assert [take(hub), take(hub)] == [0, 1]


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_who_puts_beside_a_stream_knows_that_the_hub_takes_its_time(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair()
    other: Any = on_loop.peer(hub)
    other.fetch()
    await reached(lambda: len(hub._by_record) == 1)
    await stream(hub, peer)
    put(other, 1, 2)
    await reached(lambda: other.machine.page[LINGERS] == 1)


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_an_owner_that_is_gone_is_no_matter_of_another_queue(
    on_loop: Stations,
) -> None:
    hub, peer = on_loop.pair()
    await stream(hub, peer)
    put(peer, 3)
    hub.dispose()
    on_loop.hub().new_waiter()
    with pytest.raises(OwnerLost):
        put(peer, 4)
    peer.dispose()
    assert peer not in putting


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_who_has_a_sink_is_told_at_once(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    hub.sink = lambda: None
    peer.fetch()
    for number in range(1, 9):
        put(peer, number)
        await reached(lambda: hub.hub.store.tail == number)  # noqa: B023
    assert not hub._streaming


@pytest.mark.both_loops
async def test_the_end_of_a_stream_comes_too(
    on_loop: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STREAM", 1)
    hub, peer = on_loop.pair()
    await stream(hub, peer)
    before = hub.hub.store.tail
    put(peer, 3, 4)
    await reached(lambda: hub.hub.store.tail == before + 2)
    await reached(lambda: not hub._rings)
    put(peer, 5)
    await reached(lambda: hub.hub.store.tail == before + 3)


@pytest.mark.both_loops
@pytest.mark.usefixtures("lingers")
async def test_a_queue_with_bounds_is_no_stream(on_loop: Stations) -> None:
    hub, peer = on_loop.pair(maxsize=1000)
    for number in range(1, 9):
        await reached(lambda: _put_or_ask(peer))
        await reached(lambda: hub.hub.store.tail == number)  # noqa: B023
    assert not hub._streaming


def _put_or_ask(peer: PeerStation) -> bool:
    if peer.put(b"\x80\x05N."):
        return True
    peer.ask_for_room(b".")
    return False


class Garbage:
    """A ring that makes no sense."""

    def __init__(self, ring: Any) -> None:
        self._ring = ring

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def take(self, arrived: int) -> list[bytes]:
        raise ProtocolError("garbage")
