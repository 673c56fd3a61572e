from __future__ import annotations

import errno
import logging
import os
import pickle
from collections.abc import Callable

import pytest

from aioprocq import OwnerLost
from aioprocq.drivers import hub_lanes as module
from aioprocq.drivers.connection import Connection
from aioprocq.drivers.transport import send_loaded
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import Kind
from aioprocq.wire.payload import ParcelHead, encode_head
from tests.death.scarcity import scarce

from .stations import (
    LARGE,
    Stations,
    Thread,
    connect,
    drive_until,
    get,
    get_on_loop,
    put,
    reached,
)

Logged = Callable[[], list[tuple[str, str]]]

pytestmark = pytest.mark.timeout(30)


# Dials


def test_something_that_is_no_dial_is_logged_and_left(
    stations: Stations, logged: Logged
) -> None:
    hub, peer = stations.pair(name="jobs")
    os.write(hub.handle()[0], b"nonsense")
    peer.fetch()
    hub.drive()
    assert logged() == [("WARNING", "jobs: a dial of 8 bytes")]
    assert len(hub.hub.dealer.peers) == 1, "the one who came after it is received"


def test_without_descriptors_a_dial_waits(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, 1)
    with scarce(7):
        hub.drive()
        assert not hub.hub.dealer.peers
        driven = hub.drive_due()
        assert driven is not None
        due = driven[1]
        assert due is not None
        assert 0 < due <= module._RETRY
    drive_until(hub, lambda: hub.hub.dealer.peers)
    hub.drive()
    assert hub.qsize() == 1
    driven = hub.drive_due()
    assert driven is not None
    assert driven[1] is None


def test_a_reception_that_fails_otherwise_says_so(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(reception: object) -> None:
        raise OSError(errno.EIO, "broken")

    hub, peer = stations.pair()
    peer.fetch()
    with monkeypatch.context() as patch:
        patch.setattr(module, "receive_dial", broken)
        with pytest.raises(OSError, match="broken"):
            hub.drive()
    hub.drive()
    assert len(hub.hub.dealer.peers) == 1


async def test_on_a_loop_it_is_logged_without_the_lock(
    on_loop: Stations, logged: Logged
) -> None:
    """So that the handler of a log may use the queue that it is told of."""
    hub, peer = on_loop.pair(name="jobs")
    os.write(hub.handle()[0], b"nonsense")
    peer.fetch()
    with hub.lock:
        hub._take_in()
    assert logged() == []
    await reached(logged)
    assert logged() == [("WARNING", "jobs: a dial of 8 bytes")]


async def test_from_another_thread_the_loop_is_told_to_log(
    on_loop: Stations, logged: Logged
) -> None:
    hub = on_loop.hub(name="jobs")
    Thread(hub._log, logging.WARNING, "%s: %s", "jobs", "so").result()
    await reached(logged)
    assert logged() == [("WARNING", "jobs: so")]


# Reading


def test_a_peer_that_breaks_the_protocol_is_disconnected(
    stations: Stations, logged: Logged
) -> None:
    hub, bad = stations.pair(name="jobs")
    good = stations.peer(hub)
    connect(hub, bad, good)
    put(bad, "kept")
    hub.drive()
    assert bad._lanes is not None
    bad._lanes.up.send(b"\xee")
    hub.drive()
    complaint = (
        f"jobs: process {os.getpid()} broke the protocol and is disconnected: "
        "a frame of unknown kind 238"
    )
    assert logged() == [("ERROR", complaint)]
    figures = hub.statistics()
    assert (figures.peers, figures.peers_gone, figures.qsize) == (1, 1, 1)
    assert pickle.loads(get(good)) == "kept"
    with pytest.raises(OwnerLost):
        put(bad, "late")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (wire.REPORT, "descriptors without a parcel"),
        (
            wire.encode_parcel(0, 0, 9, encode_head(ParcelHead(None, 9, (), 2))),
            "a parcel without all of its descriptors",
        ),
    ],
    ids=["no parcel", "incomplete"],
)
def test_descriptors_that_do_not_belong_there_are_a_breach(
    stations: Stations,
    logged: Logged,
    data: bytes,
    complaint: str,
) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    assert peer._lanes is not None
    peer._lanes.up.send(wire.encode_flag(Kind.ANNOUNCE, 1))
    send_loaded(peer._lanes.up, data, [0])
    hub.drive()
    assert complaint in logged()[0][1]
    assert hub.statistics().peers_gone == 1


def test_a_large_item_arrives_and_goes_on(stations: Stations) -> None:
    hub, producer = stations.pair()
    consumer = stations.peer(hub)
    put(producer, "x" * LARGE)
    drive_until(hub, lambda: hub.hub.qsize() == 1)
    payload = get(consumer)
    assert payload.size > LARGE
    assert payload.complete


def test_without_descriptors_a_large_item_waits_in_the_lane(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    put(peer, "x" * LARGE, "after it")
    with scarce(0):
        hub.drive()
        assert hub.hub.qsize() == 0
        assert len(hub._paused) == 1
    drive_until(hub, lambda: hub.hub.qsize() == 2)
    assert not hub._paused
    assert hub.take(None).size > LARGE  # type: ignore[union-attr]  # it is a parcel


async def test_what_was_left_in_a_lane_reaches_who_is_told_of_items(
    on_loop: Stations,
) -> None:
    """When the descriptors are there, and nothing else comes."""
    hub, peer = on_loop.pair()
    put(peer, "first")
    await reached(lambda: hub.hub.store.waiting)
    hub.take(None)
    told: list[object] = []
    hub.sink = lambda: told.append(hub.take(None))
    put(peer, "x" * LARGE)
    with scarce(0):
        await reached(lambda: hub._paused)
    await reached(lambda: told)
    hub.sink = None
    assert len(told) == 1


def test_a_peer_that_is_disconnected_while_it_waits_is_forgotten(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    put(peer, "x" * LARGE)
    with scarce(0):
        hub.drive()
    (connection,) = hub._paused
    hub._disconnect(connection)
    assert not hub._paused
    assert hub.statistics().peers_gone == 1


def test_a_lane_that_fails_otherwise_says_so(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: object, most: int, read: int) -> None:
        raise OSError(errno.EIO, "broken")

    hub, peer = stations.pair()
    connect(hub, peer)
    put(peer, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read", broken)
        with pytest.raises(OSError, match="broken"):
            hub.drive()
    drive_until(hub, lambda: hub.hub.qsize() == 1)


def test_one_peer_does_not_keep_the_hub_from_the_others(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_FRAMES", 10)
    hub, busy = stations.pair()
    other = stations.peer(hub)
    connect(hub, busy, other)
    for number in range(25):
        busy._burst_until = 0.0  # none of them belongs to a burst
        put(busy, number)
    put(other, "other")
    hub.drive()
    assert hub.hub.store.waiting == 11
    hub.drive()
    hub.drive()
    assert hub.hub.store.waiting == 26


def test_after_a_message_that_came_alone_the_hub_looks_for_more(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    looks: list[int] = []

    def look(timeout: int) -> list[object]:
        looks.append(timeout)
        return []

    for connection in hub._by_record.values():
        connection._look = look  # type: ignore[assignment]  # it notes each look
    peer.refresh()
    hub.drive()
    assert looks == [0], "to be refused takes longer"


def test_a_peer_that_is_gone_leaves_what_it_has_put(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, "last")
    peer.dispose()
    drive_until(hub, lambda: hub.hub.deaths)
    assert hub.qsize() == 1
    assert not hub._by_record
    assert not hub._connections


# Sending


def test_a_full_lane_is_filled_again_when_it_has_room(stations: Stations) -> None:
    hub, peer = stations.pair()
    connect(hub, peer)
    assert peer._lanes is not None
    peer._lanes.up.send(wire.encode_want(1000, blocked=True))
    hub.drive()
    total = 100
    put(hub, *[(number, "x" * 10_000) for number in range(total)])
    (record,) = hub.hub.dealer.peers
    assert record.stalled
    stuck = len(record.outbox)
    assert stuck
    got = []
    while len(got) < total:
        number, _ = pickle.loads(get(peer))
        got.append(number)
        hub.drive()
    assert got == list(range(total))
    assert not record.stalled


@pytest.mark.both_loops
async def test_on_a_loop_a_full_lane_is_filled_again(on_loop: Stations) -> None:
    hub, peer = on_loop.pair()
    peer.fetch()
    await reached(lambda: hub.hub.dealer.peers)
    assert peer._lanes is not None
    peer._lanes.up.send(wire.encode_want(1000, blocked=True))
    (record,) = hub.hub.dealer.peers
    await reached(lambda: record.lane.want)
    total = 100
    put(hub, *[(number, "x" * 10_000) for number in range(total)])
    await reached(lambda: record.stalled)
    got = [pickle.loads(await get_on_loop(peer))[0] for _ in range(total)]
    assert got == list(range(total))
