from __future__ import annotations

import asyncio
import errno
import gc
import os
import pickle
import socket
from typing import Any

import pytest

from aioprocq import OwnerLost, QueueClosed, QueueShutDown
from aioprocq.drivers import peer_link as module
from aioprocq.drivers.transport import (
    DONTWAIT,
    send_loaded,
)
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import Ask, Kind
from aioprocq.wire.page import PUBLISHED, PUT, QSIZE, STATE, UNFINISHED
from aioprocq.wire.payload import ParcelHead, encode_head
from tests.death.scarcity import scarce

from .stations import (
    DEADLINE,
    LARGE,
    Stations,
    Thread,
    ask,
    drive,
    fill,
    get,
    load,
    put,
    reached,
    until,
)
from .stub import Stub

pytestmark = pytest.mark.timeout(30)


# Dialling


def test_it_dials_when_it_is_first_used(stations: Stations) -> None:
    hub, peer = stations.pair()
    assert peer._lanes is None
    peer.fetch()
    first = peer.machine
    peer.fetch()
    assert peer.machine is first is not None
    drive(hub)
    assert hub.statistics().peers == 1


def test_a_dial_without_descriptors_fails_and_can_be_made_again(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    for free in range(5):
        with scarce(free), pytest.raises(OSError) as caught:
            peer.put(b"")
        assert caught.value.errno == errno.EMFILE
        assert peer.machine is None
    put(peer, 1)
    drive(hub)
    assert load(hub.take(None)) == 1


def test_nobody_listens_any_more(stub: Stub) -> None:
    stub.reception.close()
    with pytest.raises(OwnerLost, match="'jobs', process 4711, is gone") as caught:
        stub.peer.put(b"")
    del caught
    with pytest.raises(OwnerLost):
        stub.peer.settle_held(None)
    with pytest.raises(OwnerLost):
        stub.peer.take(None)


def test_a_dial_that_fails_otherwise_leaves_nothing_open(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError(errno.EIO, "broken")

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "send_dial", broken)
        with pytest.raises(OSError, match="broken"):
            stub.peer.fetch()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    stub.peer.fetch()
    assert stub.answer().pid == os.getpid()


def test_a_crowd_at_the_reception_is_waited_for(stub: Stub) -> None:
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            send = stub.peer._reception.fileno()
            with socket.socket(fileno=os.dup(send)) as sender:
                sender.send(b"x" * 1000, DONTWAIT)
            sent += 1
    dial = Thread(stub.peer.fetch)
    while True:  # it comes in after the crowd
        try:
            stub.reception.recv(1, DONTWAIT)
            sent -= 1
        except BlockingIOError:
            continue
        if not sent:
            break
    dial.result()
    assert stub.answer().pid == os.getpid()


def test_an_unbounded_queue_has_room_before_the_owner_looks_up(
    stations: Stations,
) -> None:
    _, peer = stations.pair()
    put(peer, 1)
    _, bounded = stations.pair(maxsize=1)
    assert not bounded.put(b"")


def test_a_queue_that_was_shut_down_before_takes_no_put(stub: Stub) -> None:
    stub.page[STATE] = 1
    with pytest.raises(QueueShutDown, match="'jobs' is shut down"):
        stub.peer.put(b"")


# What the owner published


def test_figures_that_are_being_written_are_read_again(stub: Stub) -> None:
    stub.page[PUBLISHED] = 1
    stub.page[QSIZE], stub.page[UNFINISHED] = 3, 4
    stub.peer.fetch()
    reads = 0

    class Torn(list[int]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal reads
            if at == PUBLISHED:
                reads += 1
                return min(reads, 4)  # odd, then another one, then 4 and 4
            return 7 if reads < 4 else 2

    stub.peer._hub_page = Torn(stub.page)
    assert stub.peer._published() == (2, 2, 2)
    assert reads > 2


def test_figures_of_an_owner_that_stopped_while_writing_are_better_than_none(
    stub: Stub,
) -> None:
    stub.page[PUBLISHED], stub.page[QSIZE], stub.page[UNFINISHED] = 1, 3, 4
    assert stub.peer._published()[:2] == (3, 4)


def test_what_this_process_has_put_itself_is_counted(stub: Stub) -> None:
    assert stub.peer.qsize() == 0
    stub.peer.put(b"")
    assert stub.peer.qsize() == 1
    assert stub.peer.machine is not None
    assert stub.peer.machine.page[PUT] == 1


# Sending


def test_control_frames_wait_for_a_full_lane(stub: Stub) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    count = fill(stub.peer)
    assert stub.peer.machine is not None
    stub.peer.machine.outbox.append(wire.REPORT)
    assert not stub.peer._flush()
    assert list(stub.peer.machine.outbox) == [wire.REPORT]
    for _ in range(count):
        assert dialled.up.recv(1 << 16)[-1] == Kind.PUT
    assert stub.peer._flush()
    assert dialled.up.recv(9) == wire.REPORT


def test_a_thread_does_not_go_on_before_its_frames_are_sent(stub: Stub) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    count = fill(stub.peer)
    closing = Thread(stub.peer.shutdown, immediate=False)
    until(lambda: stub.peer.machine and stub.peer.machine.outbox)
    assert closing.is_alive()
    for _ in range(count):
        dialled.up.recv(1 << 16)
    closing.result()
    assert dialled.up.recv(9) == wire.encode_flag(Kind.SHUTDOWN, False)


@pytest.mark.both_loops
async def test_a_loop_sends_what_a_full_lane_did_not_take(on_loop: Stations) -> None:
    stub = Stub()
    stub.peer.fetch()
    dialled = stub.answer()
    count = fill(stub.peer)
    stub.peer.shutdown(immediate=True)
    machine = stub.peer.machine
    assert machine is not None
    assert len(machine.outbox) == 1
    for _ in range(count):
        dialled.up.recv(1 << 16)
    await reached(lambda: not machine.outbox)
    assert dialled.up.recv(9) == wire.encode_flag(Kind.SHUTDOWN, True)
    stub.close()


@pytest.mark.both_loops
async def test_a_coroutine_that_waits_for_the_lane_is_woken(on_loop: Stations) -> None:
    stub = Stub()
    stub.peer.fetch()
    dialled = stub.answer()
    count = fill(stub.peer)
    waiter = stub.peer.future_waiter(size=1)
    stub.peer.begin_put(waiter)
    for _ in range(count):
        dialled.up.recv(1 << 16)
    async with asyncio.timeout(DEADLINE):
        await stub.peer.sleep(waiter, None)
    assert stub.peer.put(b"now")
    stub.peer.end_put(waiter)
    stub.close()


def test_a_thread_that_waits_for_the_lane_is_woken(stub: Stub) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    count = fill(stub.peer)
    waiter = stub.peer.new_waiter(size=1)
    stub.peer.begin_put(waiter)
    blocked = Thread(stub.peer.block, waiter, None)
    until(lambda: stub.peer._leader is not None)
    for _ in range(count):
        dialled.up.recv(1 << 16)
    assert blocked.result() is True
    assert stub.peer.put(b"now")
    stub.peer.end_put(waiter)


def test_a_call_that_returns_at_once_tells_of_a_dead_owner(stub: Stub) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    dialled.up.close()
    with pytest.raises(OwnerLost):
        stub.peer.ask_for_room(b"")


def test_after_the_end_there_is_nothing_to_send(stub: Stub) -> None:
    stub.peer.dispose()
    assert stub.peer._flush()
    stub.peer._flush_waiting()
    stub.peer._take_in()
    stub.peer._announced = 1
    assert stub.peer._read(0) == (b"", None)
    with pytest.raises(QueueClosed):
        stub.peer.fetch()


# Taking in


@pytest.mark.parametrize(
    "frame", [b"\xee", b"x" * 9 + bytes([Kind.ITEMS]), bytes([Kind.REPLY])]
)
def test_an_owner_that_talks_nonsense_is_hung_up_on(stub: Stub, frame: bytes) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    waiting = Thread(get, stub.peer)
    until(lambda: stub.peer._leader is not None)
    dialled.down.send(frame)
    assert "not of the protocol" in str(waiting.failure())
    with pytest.raises(OwnerLost, match="both run the same version of aioprocq"):
        stub.peer.put(b"")
    while frame := dialled.up.recv(99, DONTWAIT):
        assert frame[-1] == Kind.WANT
    assert frame == b"", "the hub sees it go"


def test_without_descriptors_a_large_item_stays_in_the_queue(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    peer.fetch()
    drive(hub)
    put(hub, "x" * LARGE)
    peer.refresh()
    drive(hub)
    with scarce(0):
        peer.refresh()
        with pytest.raises(OSError, match="no file descriptor is free") as caught:
            peer.take(None)
        assert caught.value.errno == errno.EMFILE
        del caught
        drive(hub)
    assert hub.qsize() == 1
    assert get(peer).complete


def test_an_announcement_that_was_taken_back_is_no_failure(stub: Stub) -> None:
    """The hub has taken a parcel back after its announcement was read."""
    stub.peer.fetch()
    dialled = stub.answer()
    data = wire.encode_parcel(0, 0, 9, encode_head(ParcelHead(None, 9, (), 0)))
    dialled.down.send(data)
    stub.peer.refresh()
    assert stub.peer.take(None) is None
    frames = []
    with pytest.raises(BlockingIOError):
        while True:
            frames.append(dialled.up.recv(99, DONTWAIT))
    assert wire.encode_bounce(0) in frames


def test_a_dead_letter_comes_with_its_descriptors(stations: Stations) -> None:
    hub, peer = stations.pair(joinable=True)
    put(hub, "x" * LARGE, "small")
    for _ in range(2):
        got = hub.take_delivery()
        assert got is not None
        hub.fail(got[1], "why", final=True)
    value, (large, small) = ask(peer, Ask.DEAD_LETTERS)
    assert value == 2
    assert large.payload.complete
    assert load(small.payload) == "small"


def test_a_frame_without_its_announced_descriptors_is_read_all_the_same(
    stub: Stub,
) -> None:
    stub.peer.fetch()
    dialled = stub.answer()
    dialled.down.send(wire.encode_flag(Kind.ANNOUNCE, 1))
    item = pickle.dumps("x")
    send_loaded(dialled.down, wire.encode_items(0, 0, [item]), [])
    stub.peer.refresh()
    assert load(stub.peer.take(None)) == "x"
