"""Room in a bounded queue: who waits for it, and who was granted how much."""

import pytest

from aioprocq.machines.lane import Lane
from aioprocq.machines.record import PeerRecord, Waiter
from aioprocq.machines.room import GRACE, Room
from aioprocq.wire.frames import Kind, decode_need
from aioprocq.wire.page import PUT, PUT_BYTES, ROOM, ROOM_BYTES, UNLIMITED, new_page


def make_peer(room: Room) -> PeerRecord:
    page = new_page()
    peer = PeerRecord(1, page, Lane(page, joinable=False))
    room.admit(peer)
    return peer


def pages(peer: PeerRecord) -> tuple[int, int]:
    return peer.page[ROOM], peer.page[ROOM_BYTES]


def age(room: Room, ticks: int = GRACE) -> None:
    for _ in range(ticks):
        room.age()


@pytest.mark.parametrize("maxsize", [0, -1, 1 << 62, float("inf")])
def test_without_a_bound(maxsize):
    room = Room(maxsize, None)
    assert not room.bounded
    assert room.fits(1 << 50, 1 << 50, 1 << 50)
    assert pages(make_peer(room)) == (UNLIMITED, UNLIMITED)


def test_a_fraction_of_an_item_is_room_for_one():
    assert Room(1.5, None).maxsize == 2
    assert Room(0.5, None).maxsize == 1


def test_a_bound_in_items():
    room = Room(2, None)
    assert room.bounded
    assert room.fits(1, 1 << 40, 0)
    assert not room.fits(2, 0, 0)
    assert pages(make_peer(room)) == (0, 0)


def test_a_bound_in_bytes():
    room = Room(0, 100)
    assert room.bounded
    assert room.fits(1 << 40, 10, 90)
    assert not room.fits(0, 11, 90)


def test_room_that_is_kept_or_granted_is_not_free():
    room = Room(3, 100)
    room.keep(Waiter(size=60))
    peer = make_peer(room)
    room.ask(peer, 1, 30)
    assert room.grant(0, 0) == [peer]
    assert room.fits(0, 10, 0)
    assert not room.fits(0, 11, 0)
    assert not room.fits(1, 10, 0)


def test_a_waiter_of_the_owner_is_kept_a_place():
    room = Room(1, None)
    first, second = Waiter(), Waiter()
    room.line.extend([first, second])
    assert room.grant(1, 0) == []
    assert room.grant(0, 0) == [first]
    assert first.woken
    assert not second.woken
    assert room.kept == 1
    room.unkeep(first)
    assert room.grant(0, 0) == [second]
    room.check_invariants([])


def test_a_peer_is_told_of_its_room():
    room = Room(5, None)
    peer = make_peer(room)
    room.ask(peer, 3, 0)
    assert room.grant(1, 0) == [peer]
    assert peer.granted == room.granted == 3
    assert pages(peer) == (3, UNLIMITED)
    (frame,) = peer.outbox
    assert isinstance(frame, bytes)
    assert frame[-1] == Kind.ROOM
    assert decode_need(frame) == (3, UNLIMITED)
    assert peer.need is None
    room.check_invariants([peer])


def test_a_peer_gets_part_of_what_it_needs():
    room = Room(5, None)
    peer = make_peer(room)
    room.ask(peer, 99, 0)
    assert room.grant(3, 0) == [peer]
    assert peer.granted == 2


def test_a_peer_is_granted_bytes():
    room = Room(0, 100)
    peer = make_peer(room)
    room.ask(peer, 1, 60)
    assert room.grant(0, 50) == []
    assert room.grant(0, 40) == [peer]
    assert pages(peer) == (UNLIMITED, 60)
    assert (peer.granted, peer.granted_bytes) == (0, 60)
    room.received(peer, 1, 60)
    assert room.granted_bytes == 0
    room.check_invariants([peer])


def test_the_line_is_served_in_order():
    room = Room(0, 100)
    peer, waiter = make_peer(room), Waiter(size=10)
    room.ask(peer, 1, 90)
    room.line.append(waiter)
    assert room.grant(0, 20) == [], "a small one does not overtake"
    assert room.grant(0, 0) == [peer, waiter]


def test_asking_again_keeps_the_place():
    room = Room(1, None)
    one, other = make_peer(room), make_peer(room)
    room.ask(one, 1, 0)
    room.ask(other, 1, 0)
    room.ask(one, 2, 0)
    assert list(room.line) == [one, other]
    assert one.need == (2, 0)


def test_what_a_peer_lacks_is_reckoned_when_it_is_served():
    # Since it asked, room was taken back from it: it lacks more than it did then.
    room = Room(0, 64)
    peer = make_peer(room)
    room.ask(peer, 1, 31)
    assert room.grant(0, 0) == [peer]
    room.received(peer, 1, 9)
    room.ask(peer, 2, 40)
    age(room)
    room.revoke()
    room.collect()
    assert peer.room_bytes == 9
    assert room.grant(1, 34) == []
    assert room.grant(1, 33) == [peer]
    assert peer.room_bytes == 40


def test_leaving_the_line():
    room = Room(1, None)
    peer, waiter = make_peer(room), Waiter()
    room.ask(peer, 1, 0)
    room.line.append(waiter)
    room.ask(peer, 0, 0)
    assert list(room.line) == [waiter]
    assert peer.need is None
    room.leave(peer)
    room.leave(waiter)
    room.leave(waiter)
    assert not room.line


def test_what_has_arrived_uses_room_up():
    room = Room(9, None)
    peer = make_peer(room)
    room.ask(peer, 3, 0)
    room.grant(0, 0)
    room.received(peer, 2, 0)
    assert peer.granted == room.granted == 1
    room.received(peer, 5, 0)
    assert peer.granted == room.granted == 0, "more than was granted is not negative"
    room.ask(peer, 8, 0)
    room.grant(7, 0)
    assert pages(peer)[0] == 8
    room.check_invariants([peer])


def test_a_busy_producer_that_is_alone_is_granted_all():
    room = Room(20, None)
    peer = make_peer(room)
    room.ask(peer, 1, 0)
    room.grant(0, 0)
    room.top_up(0)
    assert peer.granted == 20
    room.received(peer, 6, 0)
    room.top_up(6)
    assert peer.granted == 14
    room.check_invariants([peer])


def test_a_busy_producer_is_granted_more():
    room = Room(20, None)
    assert room.fits(0, 1, 0)
    one, other = make_peer(room), make_peer(room)
    room.top_up(0)
    assert room.granted == 0, "nobody has asked"
    room.ask(one, 1, 0)
    room.grant(0, 0)
    room.top_up(0)
    assert one.granted == 10
    room.ask(other, 1, 0)
    room.grant(0, 0)
    room.received(one, 8, 0)
    room.top_up(8)
    assert (one.granted, other.granted) == (5, 5)
    assert len(one.outbox) == 1, "it sees it in the page"
    room.check_invariants([one, other])


def test_no_more_than_is_free_is_granted_on_top():
    room = Room(20, None)
    peer = make_peer(room)
    room.ask(peer, 1, 0)
    room.grant(17, 0)
    room.top_up(17)
    assert peer.granted == 3
    room.top_up(25)
    assert peer.granted == 3


def test_nothing_is_granted_on_top_while_somebody_waits():
    room = Room(20, None)
    peer = make_peer(room)
    room.ask(peer, 1, 0)
    room.grant(0, 0)
    room.line.append(Waiter())
    room.top_up(0)
    assert peer.granted == 1


def test_bytes_are_not_granted_on_top():
    room = Room(20, 1000)
    peer = make_peer(room)
    room.ask(peer, 1, 10)
    room.grant(0, 0)
    room.top_up(0)
    assert (peer.granted, peer.granted_bytes) == (1, 10)


# Taking back


def test_room_that_is_not_used_is_taken_back():
    room = Room(9, None)
    peer = make_peer(room)
    room.ask(peer, 3, 0)
    room.grant(0, 0)
    age(room)
    assert room.revoke()
    assert pages(peer)[0] == 0
    assert room.granted == 3, "until it is known what the peer has begun"
    room.collect()
    assert room.granted == 0
    assert not room.revoking
    assert not room.revoke()
    room.check_invariants([peer])


def test_a_put_that_was_begun_may_be_finished():
    room = Room(9, 100)
    peer = make_peer(room)
    room.ask(peer, 3, 50)
    room.grant(0, 0)
    age(room)
    room.revoke()
    peer.page[PUT], peer.page[PUT_BYTES] = 1, 20
    room.collect()
    assert (room.granted, room.granted_bytes) == (1, 20)
    room.received(peer, 1, 20)
    assert (room.granted, room.granted_bytes) == (0, 0)
    room.check_invariants([peer])


def test_what_was_taken_back_can_be_granted_again():
    room = Room(9, None)
    peer = make_peer(room)
    room.ask(peer, 3, 0)
    room.grant(0, 0)
    age(room)
    room.revoke()
    room.ask(peer, 1, 0)
    assert room.grant(0, 0) == [peer]
    assert not room.revoking
    assert pages(peer)[0] == peer.room == 4
    room.check_invariants([peer])


def test_room_that_was_asked_for_is_left_alone_for_a_while():
    # Otherwise two who wait for the same place take it from each other forever.
    room = Room(1, None)
    one, other = make_peer(room), make_peer(room)
    room.ask(one, 1, 0)
    room.ask(other, 1, 0)
    assert room.grant(0, 0) == [one]
    assert not room.revoke()
    age(room, GRACE - 1)
    assert not room.revoke()
    assert pages(one)[0] == 1
    age(room, 1)
    assert room.revoke()


def test_room_of_those_who_wait_no_longer_is_taken_back_at_once():
    room = Room(1, None)
    peer = make_peer(room)
    room.ask(peer, 1, 0)
    room.grant(0, 0)
    room.ask(peer, 0, 0)
    assert room.revoke()


def test_room_without_a_bound_in_items_stays_unlimited():
    room = Room(0, 100)
    peer = make_peer(room)
    room.ask(peer, 1, 50)
    room.grant(0, 0)
    age(room)
    assert room.revoke()
    room.collect()
    assert (peer.room, peer.room_bytes) == (UNLIMITED, 0)
    room.ask(peer, 1, 40)
    room.grant(0, 0)
    assert pages(peer) == (UNLIMITED, 40)


def test_room_without_a_bound_in_bytes_stays_unlimited():
    room = Room(5, None)
    peer = make_peer(room)
    room.ask(peer, 1, 50)
    room.grant(0, 0)
    age(room)
    room.revoke()
    room.collect()
    assert (peer.room, peer.room_bytes) == (0, UNLIMITED)


def test_the_room_of_a_peer_that_is_gone_is_free():
    room = Room(5, None)
    one, other = make_peer(room), make_peer(room)
    room.ask(one, 5, 0)
    room.grant(0, 0)
    room.ask(one, 9, 0)
    room.ask(other, 1, 0)
    age(room)
    room.revoke()
    assert list(room.line) == [one, other]
    room.forget(one)
    assert room.grant(0, 0) == [other]
    room.check_invariants([other])


# The end


def test_closing():
    room = Room(5, 100)
    peer, waiter = make_peer(room), Waiter(size=1)
    room.ask(peer, 1, 20)
    room.grant(0, 0)
    assert room.ask(peer, 1, 20), "it has that room already"
    assert not room.line
    assert not room.ask(peer, 2, 40)
    room.line.append(waiter)
    assert room.close([peer]) == [peer, waiter]
    assert room.closed
    assert not room.line
    assert peer.need is None
    assert pages(peer) == (0, 0)
    assert pages(make_peer(room)) == (0, 0)
    room.check_invariants([peer])


def test_who_was_granted_room_is_told_that_there_is_none():
    room = Room(5, None)
    peer = make_peer(room)
    make_peer(room)
    room.ask(peer, 1, 0)
    assert room.grant(0, 0) == [peer]
    assert room.close([peer]) == [peer], "it may not have read of it"


@pytest.mark.parametrize(("maxsize", "max_bytes"), [(0, None), (0, 100), (5, None)])
def test_closing_with_puts_on_their_way(maxsize, max_bytes):
    room = Room(maxsize, max_bytes)
    peer = make_peer(room)
    room.ask(peer, 2, 20)
    room.grant(0, 0)
    room.close([peer])
    room.check_invariants([peer])
    room.received(peer, 1, 20)
    room.check_invariants([peer])
    room.top_up(0)
    assert pages(peer) == (0, 0)


def test_invariants_are_checked():
    room = Room(5, None)
    room.granted = 1
    with pytest.raises(AssertionError):
        room.check_invariants([])
    room.granted = 0
    room.line.append(make_peer(room))
    with pytest.raises(AssertionError):
        room.check_invariants([])


def test_without_a_bound_nobody_stands_in_line():
    # A peer whose lane is full may ask for room that it has.
    room = Room(0, None)
    peer = make_peer(room)
    assert not room.ask(peer, 1, 9), "it is not told what it knows"
    assert not room.line
    assert peer.need is None


def test_room_kept_for_a_put_that_was_given_up_is_given_again():
    room = Room(1, None)
    peer = make_peer(room)
    room.ask(peer, 1, 0)
    room.grant(0, 0)
    peer.page[PUT] = 1  # it has begun,
    peer.grace = 0
    assert room.revoke()
    room.collect()
    peer.page[PUT] = 0  # and, seeing its room gone, given up
    assert peer.page[ROOM] == 0
    assert room.ask(peer, 1, 0)
    assert peer.page[ROOM] == 1
