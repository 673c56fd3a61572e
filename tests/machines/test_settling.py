"""What one process holds, settles and gives back."""

from aioprocq.wire import frames as wire
from aioprocq.wire.frames import Kind
from aioprocq.wire.page import ABSORBED, ARRIVED, COUNTED, RETURNS, SETTLED

from .test_peer import flush, holds, kinds, make_peer, receives


def test_settling_in_order_is_said_in_the_page():
    peer = make_peer(joinable=True)
    holds(peer, 3)
    assert peer.settle(0)
    assert peer.page[SETTLED] == 1
    assert not peer.settle(0)
    assert peer.settle_first("me")
    assert flush(peer) == [], "it goes on"
    assert peer.settle_first("somebody else")
    assert flush(peer) == [wire.REPORT], "nothing is left here: this may be the end"
    assert peer.page[SETTLED] == 3
    assert not peer.settle_first("me")
    assert peer.settled == 3


def test_what_nobody_waits_for_is_settled_in_the_page_alone():
    peer = make_peer(joinable=True)
    holds(peer, 3)
    assert peer.settle(0, report=False)
    assert flush(peer) == []
    assert peer.page[SETTLED] == 1
    assert peer.settle(2, report=False), "the page cannot say this"
    assert [frame[-1] for frame in flush(peer)] == [Kind.SETTLE]


def test_settling_out_of_order_is_said_in_a_frame():
    peer = make_peer(joinable=True)
    holds(peer, 3)
    assert peer.settle(1)
    (frame,) = flush(peer)
    assert frame[-1] == Kind.SETTLE
    assert wire.decode_number(frame) == 1
    assert peer.page[SETTLED] == 0
    peer.settle(0)
    assert peer.page[SETTLED] == 2


def test_while_there_are_more_items_settling_is_not_reported():
    peer = make_peer(joinable=True)
    receives(peer, 0, "ab")
    peer.take()
    peer.hold("me")
    peer.settle(0)
    assert flush(peer) == []
    assert peer.page[SETTLED] == 1


def test_a_failed_attempt_is_returned():
    peer = make_peer(joinable=True)
    holds(peer, 2)
    assert peer.fail(1, "it rained", final=True)
    (frame,) = flush(peer)
    assert frame[-1] == Kind.RETURN
    assert wire.decode_return(frame) == (1, True, "it rained")
    assert not peer.fail(1, "it rained", final=False)
    assert flush(peer) == []


def test_what_was_returned_is_not_called_settled_before_the_hub_knows():
    peer = make_peer(joinable=True)
    holds(peer, 4)
    peer.fail(1, "it rained", final=False)
    peer.settle(0)
    assert peer.page[SETTLED] == 1
    peer.settle(2)
    assert peer.page[SETTLED] == 1
    assert kinds(peer) == [Kind.RETURN, Kind.SETTLE]
    peer.page[RETURNS] = 1
    peer.settle(3)
    assert peer.page[SETTLED] == 4
    assert kinds(peer) == [Kind.REPORT]


def test_the_last_one_is_reported_though_a_return_is_unread():
    peer = make_peer(joinable=True)
    holds(peer, 2)
    peer.fail(1, "it rained", final=False)
    peer.settle(0)
    assert peer.page[SETTLED] == 1
    # The hub may have read the RETURN, and the page, just before that was stored.
    assert kinds(peer) == [Kind.RETURN, Kind.REPORT]


def test_a_consumer_that_settles_nothing_does_not_remember_all_it_returned():
    peer = make_peer(joinable=True)
    for index in range(50):
        holds(peer, 1)
        peer.fail(index, "again", final=False)
        peer.page[RETURNS] = index
        peer.check_invariants()
    assert len(peer.returning) < 3
    assert peer.page[SETTLED] > 40, "the hub need not remember them either"


def test_a_delivery_is_held_by_nobody():
    peer = make_peer(joinable=True)
    holds(peer, 1, holder=None)
    assert not peer.settle_first("me")
    assert peer.settle(0)


def test_figures_that_the_published_ones_do_not_know_of():
    peer = make_peer(joinable=True)
    holds(peer, 3)
    peer.begin_put(5, 0)
    assert peer.correction() == 5 - 3
    peer.page[ARRIVED], peer.page[ABSORBED] = 4, 2
    assert peer.correction() == 1 - 1
    peer.settle(0)
    peer.settle(1)
    assert peer.uncounted() == 2
    peer.page[COUNTED] = 1
    assert peer.uncounted() == 1
