"""What the hub knows of one peer."""

import pytest

from aioprocq.machines.lane import Lane
from aioprocq.machines.record import PeerRecord, Waiter
from aioprocq.wire.page import ALERT, UNLIMITED, new_page


@pytest.fixture
def peer() -> PeerRecord:
    page = new_page()
    return PeerRecord(42, page, Lane(page, joinable=True))


def test_a_new_peer(peer):
    assert repr(peer) == "<peer 42 sent=0 in_air=0 holding=0 credit=0>"
    assert peer.page[ALERT] == 0
    assert not peer.open
    assert not peer.granted
    assert not peer.granted_bytes


def test_a_peer_is_open_when_it_wants_items_and_can_be_sent_some(peer):
    peer.lane.want = 1
    assert peer.open
    for hindrance in ("stalled", "gone"):
        setattr(peer, hindrance, True)
        assert not peer.open
        setattr(peer, hindrance, False)
    peer.lane.frozen = True
    assert not peer.open
    peer.lane.frozen = False
    peer.lane.launch(0, [b"x"], 0)
    assert not peer.open


def test_room_that_was_granted_and_not_used(peer):
    peer.room, peer.room_bytes = 5, 50
    peer.received, peer.received_bytes = 3, 60
    assert (peer.granted, peer.granted_bytes) == (2, 0)
    peer.room = peer.room_bytes = UNLIMITED
    assert (peer.granted, peer.granted_bytes) == (0, 0)


def test_an_alert(peer):
    assert peer.alert(5), "sooner than never"
    assert peer.page[ALERT] == 6
    assert not peer.alert(5), "nothing new"
    assert not peer.alert(9), "later"
    assert peer.page[ALERT] == 10
    assert peer.alert(0)
    assert not peer.alert()
    assert peer.page[ALERT] == 0


def test_an_alert_is_left_alone_during_a_recall(peer):
    peer.alert(3)
    peer.lane.frozen = True
    assert not peer.alert(0)
    assert not peer.alert()
    assert peer.page[ALERT] == 4


def test_a_waiter():
    waiter = Waiter(size=3, linger=True)
    assert (waiter.size, waiter.linger) == (3, True)
    assert not waiter.woken
    assert not waiter.ended
    waiter.wake()
    assert not waiter.woken, "drivers know how"
