from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from aioprocq.drivers import connection as module
from aioprocq.drivers.connection import Connection, reserve
from aioprocq.drivers.ring import RING_BYTES
from aioprocq.drivers.transport import (
    DONTWAIT,
    Dialled,
    make_lane,
    send_loaded,
    shared_memory,
)
from aioprocq.machines.hub import Hub
from aioprocq.machines.record import Loaded
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import MAX_FRAME, Kind
from aioprocq.wire.page import new_page
from aioprocq.wire.payload import Descriptor
from tests.death.scarcity import scarce


class Peer:
    """A connection, and the ends of its lanes that a peer has."""

    def __init__(self, *, alive: bool = False) -> None:
        hub_up, self.up = make_lane()
        self.down, hub_down = make_lane()
        self.alive, theirs = socket.socketpair()
        if not alive:
            self.alive.close()
            theirs.close()
        back = self.down.dup()
        page = new_page()
        pulse = theirs if alive else None
        ring = memoryview(bytearray(RING_BYTES))
        dialled = Dialled(os.getpid(), hub_up, hub_down, back, page, pulse, ring)
        record = Hub(page=new_page()).connect(os.getpid(), page)
        self.connection = Connection(dialled, record)

    def put(self, *items: bytes) -> None:
        for item in items:
            self.up.send(item + STOP)

    def send_parcel(self, data: bytes, *numbers: int) -> None:
        self.up.send(wire.encode_flag(Kind.ANNOUNCE, len(numbers)))
        send_loaded(self.up, data, list(numbers))

    def read(self, most: int = 99) -> tuple[list[bytes], Any]:
        puts, frame = self.connection.read(most)
        return [put[:-1] for put in puts], frame

    def post(self, *frames: Any) -> None:
        self.connection.record.outbox.extend(frames)

    def hang_up(self) -> None:
        for end in (self.up, self.down, self.alive):
            end.close()

    def close(self) -> None:
        self.hang_up()
        self.connection.close()


STOP = b"."


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def pulsed() -> Iterator[Peer]:
    """One with a socket to tell its death by, as on other systems than Linux."""
    made = Peer(alive=True)
    yield made
    made.close()


@pytest.fixture
def memory() -> Iterator[int]:
    number = shared_memory("test", 100)
    yield number
    os.close(number)


def parcel(head: bytes = b"head") -> bytes:
    return wire.encode_parcel(0, 0, 100, head)


def test_nothing_has_come(peer: Peer) -> None:
    assert peer.read() == ([], None)


def test_items_come_in_order_and_with_the_frame_after_them(peer: Peer) -> None:
    peer.put(b"one", b"two")
    peer.up.send(wire.REPORT)
    peer.put(b"three")
    assert peer.read() == ([b"one", b"two"], wire.REPORT)
    assert peer.read() == ([b"three"], None)


def test_no_more_are_read_at_a_time_than_asked_for(peer: Peer) -> None:
    peer.put(b"one", b"two", b"three")
    assert peer.read(2) == ([b"one", b"two"], None)
    assert peer.read(2) == ([b"three"], None)


def test_after_one_item_it_looks_whether_there_is_more(peer: Peer) -> None:
    looks: list[int] = []
    look = peer.connection._look

    def looking(timeout: Any) -> Any:
        looks.append(timeout)
        return look(timeout)

    peer.connection._look = looking  # type: ignore[assignment]  # it notes each look
    for count, looked in ((1, 1), (3, 1), (2, 0), (1, 0), (1, 1)):
        peer.put(*[b"x"] * count)
        assert peer.read() == ([b"x"] * count, None)
        assert looks == [0] * looked
        looks.clear()
    peer.up.send(wire.REPORT)
    assert peer.read() == ([], wire.REPORT)
    assert not looks
    assert peer.connection.read(99, 1) == ([], None)
    assert looks == [0]
    peer.put(b"x")
    assert peer.connection.read(99, 1) == ([b"x."], None)


def test_a_peer_that_hung_up_is_gone_after_what_it_sent(peer: Peer) -> None:
    peer.put(b"last")
    peer.hang_up()
    assert peer.read() == ([b"last"], b"")
    assert peer.read() == ([], b"")


def test_a_lane_that_was_reset_is_a_peer_that_is_gone(peer: Peer) -> None:
    class Reset(socket.socket):
        def recv(self, *args: Any) -> bytes:
            raise ConnectionResetError

    up = peer.connection.up
    peer.connection.up = Reset(fileno=up.detach())
    assert peer.read() == ([], b"")


def test_a_pulse_tells_a_death_that_the_lane_does_not(pulsed: Peer) -> None:
    pulsed.put(b"last")
    pulsed.alive.close()
    assert pulsed.read() == ([b"last"], b"")


def test_a_pulse_tells_that_a_peer_lives(pulsed: Peer) -> None:
    assert pulsed.read() == ([], None)
    pulsed.alive.send(b"x")
    assert pulsed.read() == ([], None)


def test_a_pulse_that_was_reset_is_a_peer_that_is_gone(pulsed: Peer) -> None:
    alive = pulsed.connection.alive
    assert alive is not None
    alive.send(b"never read: closing it resets the other end")
    pulsed.alive.close()
    assert pulsed.read() == ([], b"")


def test_without_a_pulse_only_the_lane_can_tell(peer: Peer) -> None:
    assert not peer.connection._dead()


def test_an_announced_parcel_comes_with_its_descriptors(
    peer: Peer, memory: int
) -> None:
    peer.send_parcel(parcel(), memory)
    puts, frame = peer.read()
    assert (puts, peer.connection.announced) == ([], 1)
    assert frame == wire.encode_flag(Kind.ANNOUNCE, 1)
    _, loaded = peer.read()
    assert isinstance(loaded, Loaded)
    assert loaded.data == parcel()
    came = loaded.descriptors[0].fileno()
    assert os.fstat(came).st_ino == os.fstat(memory).st_ino
    assert peer.connection.announced == 0


def test_an_announced_parcel_that_is_not_there_yet_is_waited_for(
    peer: Peer, memory: int
) -> None:
    peer.up.send(wire.encode_flag(Kind.ANNOUNCE, 1))
    peer.read()
    assert peer.read() == ([], None)
    send_loaded(peer.up, parcel(), [memory])
    assert isinstance(peer.read()[1], Loaded)


def test_an_announcement_that_nothing_follows_does_no_harm(
    peer: Peer, memory: int
) -> None:
    peer.up.send(wire.encode_flag(Kind.ANNOUNCE, 1))
    peer.put(b"instead")
    peer.read()
    assert peer.read() == ([], b"instead" + STOP)
    assert peer.connection.announced == 0
    peer.up.send(wire.encode_flag(Kind.ANNOUNCE, 1))
    peer.send_parcel(parcel(), memory)
    peer.read()
    peer.read()
    assert peer.connection.announced == 1, "the second one is heeded"
    assert isinstance(peer.read()[1], Loaded)


def test_without_descriptors_a_parcel_stays_in_the_lane(
    peer: Peer, memory: int
) -> None:
    peer.send_parcel(parcel(), memory, memory)
    peer.read()
    with scarce(1), pytest.raises(OSError) as caught:
        peer.read()
    assert caught.value.errno == errno.EMFILE
    _, loaded = peer.read()
    assert len(loaded.descriptors) == 2


def test_reserving_leaves_nothing_open() -> None:
    with scarce(3):
        reserve(3)
        reserve(0)
        with pytest.raises(OSError) as caught:
            reserve(4)
        reserve(3)  # it can be done again: nothing was kept
    assert caught.value.errno == errno.EMFILE


def test_reserving_needs_no_standard_input() -> None:
    kept = os.dup(0)
    os.close(0)
    try:
        reserve(3)
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_what_was_sent_has_left_the_outbox(peer: Peer) -> None:
    peer.post(b"one", b"two")
    assert peer.connection.send()
    assert not peer.connection.record.outbox
    assert [peer.down.recv(9), peer.down.recv(9)] == [b"one", b"two"]


def test_what_a_full_lane_does_not_take_stays_in_the_outbox(peer: Peer) -> None:
    frames = [bytes([n]) * 50_000 for n in range(99)]
    peer.post(*frames)
    assert not peer.connection.send()
    outbox = peer.connection.record.outbox
    left = len(outbox)
    assert 0 < left < 99
    got = [peer.down.recv(MAX_FRAME) for _ in range(99 - left)]
    assert not outbox or outbox[0] == frames[99 - left], "in order"
    assert peer.connection.send() == (not outbox)
    while outbox:
        got.append(peer.down.recv(MAX_FRAME))
        peer.connection.send()
    got += [peer.down.recv(MAX_FRAME) for _ in range(99 - len(got))]
    assert got == frames


def test_a_parcel_goes_down_with_its_descriptors(peer: Peer, memory: int) -> None:
    peer.post(Loaded(parcel(), (Descriptor(os.dup(memory)),)))
    assert peer.connection.send()
    data, came = module.receive_loaded(peer.down)
    assert data == parcel()
    assert os.fstat(came[0].fileno()).st_ino == os.fstat(memory).st_ino


def test_what_a_dead_peer_was_to_be_sent_is_dropped(peer: Peer) -> None:
    peer.post(b"one", b"two")
    peer.hang_up()
    peer.connection.back.close()
    assert peer.connection.send()
    assert not peer.connection.record.outbox


def test_without_descriptors_nothing_is_dropped(
    peer: Peer, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_free(*args: Any) -> None:
        raise OSError(errno.ENFILE, "too many open files in system")

    peer.post(Loaded(parcel(), (Descriptor(os.dup(memory)),)))
    with monkeypatch.context() as patch:
        patch.setattr(module, "send_loaded", none_free)
        assert not peer.connection.send()
    assert len(peer.connection.record.outbox) == 1
    assert peer.connection.send()


def test_what_a_peer_has_not_read_is_taken_back(peer: Peer, memory: int) -> None:
    peer.post(b"one" + bytes([Kind.ITEMS]), b"two" + bytes([Kind.ITEMS]))
    peer.connection.send()
    peer.down.recv(9)
    assert peer.connection.empty_lane() == [b"two" + bytes([Kind.ITEMS])]
    assert peer.connection.empty_lane() == []
    with pytest.raises(BlockingIOError):
        peer.down.recv(9, DONTWAIT)


def test_a_dead_letter_is_taken_back_with_its_descriptors(
    peer: Peer, memory: int
) -> None:
    dead = wire.encode_dead(1, 3, "why", b"head")
    ends = (Descriptor(os.dup(memory)),)
    peer.post(Loaded(dead, ends), dead, Loaded(parcel(), ends))
    peer.connection.send()
    loaded, plain, other = peer.connection.empty_lane()
    assert isinstance(loaded, Loaded)
    assert (loaded.data, len(loaded.descriptors)) == (dead, 1)
    assert plain == dead
    assert other == parcel(), "the hub has the descriptors of an item already"


def test_a_lane_whose_peer_is_gone_is_empty(peer: Peer) -> None:
    peer.connection.down.close()
    assert peer.connection.empty_lane() == []


def test_closing_it_closes_all_of_it(pulsed: Peer) -> None:
    connection = pulsed.connection
    ends = (connection.up, connection.down, connection.back, connection.alive)
    assert connection.fileno() == connection.up.fileno() >= 0
    connection.close()
    assert [end.fileno() for end in ends if end is not None] == [-1] * 4
