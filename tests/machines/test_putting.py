"""The putting half of a peer."""

from aioprocq.machines.putting import Putting
from aioprocq.machines.record import Waiter
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import REPORT
from aioprocq.wire.page import PUT, PUT_BYTES, ROOM, ROOM_BYTES, UNLIMITED, new_page


def make_peer(*, sized: bool = False) -> Putting:
    page = new_page()
    page[ROOM] = page[ROOM_BYTES] = 0 if sized else UNLIMITED
    return Putting(page, sized=sized)


def flush(peer: Putting) -> list[bytes]:
    """What is in the outbox goes."""
    assert peer.page[PUT] == peer.put
    frames = list(peer.outbox)
    peer.outbox.clear()
    return frames


def woken(peer: Putting) -> list[Waiter]:
    found = list(peer.woken)
    peer.woken.clear()
    return found


def test_without_a_bound_everything_may_be_put():
    peer = make_peer()
    assert peer.begin_put(3, 0) == 3
    assert peer.begin_one()
    assert peer.page[PUT] == 4
    assert peer.page[PUT_BYTES] == 0
    assert peer.has_room(1 << 40)


def test_no_more_is_put_than_there_is_room_for():
    peer = make_peer()
    peer.page[ROOM] = 3
    assert peer.begin_put(2, 0) == 2
    assert peer.begin_put(2, 0) == 1
    assert peer.begin_put(1, 0) == 0
    assert not peer.begin_one()
    assert not peer.has_room(0)
    assert peer.page[PUT] == peer.put == 3
    peer.page[ROOM] = 0
    assert peer.begin_put(1, 0) == 0, "room was taken back"


def test_no_more_bytes_are_put_than_there_is_room_for():
    peer = make_peer(sized=True)
    peer.page[ROOM], peer.page[ROOM_BYTES] = UNLIMITED, 50
    assert peer.begin_put(1, 30) == 1
    assert not peer.has_room(21)
    assert peer.has_room(20)
    assert peer.begin_put(1, 30) == 0
    assert (peer.page[PUT], peer.page[PUT_BYTES]) == (1, 30)
    peer.page[ROOM] = 1
    assert peer.begin_put(1, 1) == 0


def test_what_could_not_be_sent_was_not_put():
    peer = make_peer(sized=True)
    peer.page[ROOM], peer.page[ROOM_BYTES] = UNLIMITED, 50
    peer.begin_put(1, 30)
    peer.take_back_put(1, 30)
    assert (peer.page[PUT], peer.page[PUT_BYTES]) == (0, 0)
    plain = make_peer()
    plain.begin_put(3, 0)
    plain.take_back_put(2, 0)
    assert plain.page[PUT] == 1


def test_a_putter_asks_for_room():
    peer = make_peer(sized=True)
    first, second = Waiter(size=30), Waiter(size=40)
    peer.wait_to_put(first)
    assert wire.decode_need(flush(peer)[0]) == (1, 30)
    peer.wait_to_put(second)
    assert wire.decode_need(flush(peer)[0]) == (2, 30)
    peer.page[ROOM], peer.page[ROOM_BYTES] = UNLIMITED, 60
    peer.pass_room_on()
    assert woken(peer) == [first]
    assert first.woken
    assert wire.decode_need(flush(peer)[0]) == (2, 70)
    peer.stop_putting(first)
    assert not first.woken


def test_putters_are_woken_as_far_as_there_is_room():
    peer = make_peer()
    peer.page[ROOM] = 0
    waiters = [Waiter() for _ in range(3)]
    for waiter in waiters:
        peer.wait_to_put(waiter)
    assert len(flush(peer)) == 1, "the latest says it all"
    peer.page[ROOM] = 2
    peer.pass_room_on()
    assert woken(peer) == waiters[:2]
    assert wire.decode_need(flush(peer)[0]) == (3, 0)
    peer.page[ROOM] = 3
    peer.pass_room_on()
    assert woken(peer) == waiters[2:]
    assert flush(peer) == []


def test_a_putter_that_was_cancelled():
    peer = make_peer()
    peer.page[ROOM] = 0
    first, second = Waiter(size=1), Waiter(size=2)
    peer.wait_to_put(first)
    peer.wait_to_put(second)
    flush(peer)
    peer.stop_putting(first)
    assert wire.decode_need(flush(peer)[0]) == (1, 0)
    peer.wait_to_put(first)
    flush(peer)
    peer.stop_putting(first)
    # Not the first; but the hub would keep a place in line, and then room, for it.
    assert wire.decode_need(flush(peer)[0]) == (1, 0)
    peer.stop_putting(second)
    assert wire.decode_need(flush(peer)[0]) == (0, 0)


def test_a_lane_that_is_full_does_not_fill_the_outbox():
    peer = make_peer()
    peer.page[ROOM] = 0
    peer.outbox.append(REPORT)
    for size in range(50):
        peer.wait_to_put(Waiter(size=size))
    report, need = flush(peer)
    assert report == REPORT
    assert wire.decode_need(need) == (50, 0)


def test_a_putter_may_wait_for_the_lane_instead():
    peer = make_peer()
    peer.lane_full = True
    waiter = Waiter()
    peer.wait_to_put(waiter)
    assert flush(peer) == []
    assert woken(peer) == []
    peer.pass_room_on()
    assert woken(peer) == [waiter]
    assert not peer.lane_full


def test_a_putter_for_whom_there_is_room_by_now_is_woken_at_once():
    peer = make_peer()
    waiter = Waiter()
    peer.wait_to_put(waiter)
    assert woken(peer) == [waiter]
    assert flush(peer) == []


def test_putters_are_ended_by_a_shutdown_from_here():
    peer = make_peer()
    peer.page[ROOM] = 0
    putter = Waiter()
    peer.wait_to_put(putter)
    peer.end_putters()
    assert woken(peer) == [putter]
    assert putter.ended
    assert not peer.putters


def test_asking_again_asks_for_nothing_new():
    # The hub may grant for the first NEED while the second is on its way.
    peer = make_peer()
    peer.page[ROOM] = 0
    first, second = Waiter(), Waiter()
    peer.wait_to_put(first)
    peer.wait_to_put(second)
    needs = {wire.decode_need(data) for data in flush(peer)}
    peer.page[ROOM] = 1
    peer.pass_room_on()
    needs |= {wire.decode_need(data) for data in flush(peer)}
    assert max(needs) == (2, 0)


def test_room_that_a_cancelled_putter_leaves_ends_what_was_asked_for_another():
    peer = make_peer()
    peer.page[ROOM] = 1
    first, second = Waiter(), Waiter()
    peer.wait_to_put(first)
    assert woken(peer) == [first]
    peer.wait_to_put(second)
    assert wire.decode_need(flush(peer)[0]) == (2, 0)
    peer.stop_putting(first)  # cancelled: its room is there for the second
    peer.pass_room_on()
    assert woken(peer) == [second]
    assert wire.decode_need(flush(peer)[-1]) == (0, 0)


def test_room_can_be_asked_for_in_passing():
    peer = make_peer(sized=True)
    peer.page[ROOM], peer.page[ROOM_BYTES] = UNLIMITED, 10
    peer.begin_put(1, 10)
    peer.ask_room_for(30)
    assert wire.decode_need(flush(peer)[0]) == (2, 40)
    peer.wait_to_put(Waiter(size=20))
    assert wire.decode_need(flush(peer)[0]) == (2, 30)
    peer.ask_room_for(30)
    assert flush(peer) == [], "somebody waits, and has asked"
