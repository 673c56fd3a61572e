"""One process's side of its connection."""

import errno

import pytest

from aioprocq.errors import ProtocolError
from aioprocq.machines.peer import Peer
from aioprocq.machines.record import DeadRecord, Waiter
from aioprocq.wire import frames as wire
from aioprocq.wire.batch import Batch
from aioprocq.wire.frames import Ask, Kind
from aioprocq.wire.page import (
    ALERT,
    ANNOUNCE_WAITS,
    EPOCH,
    HANDED,
    PUT,
    RECALLED,
    RETURNS,
    ROOM,
    ROOM_BYTES,
    SETTLED,
    UNLIMITED,
    WAITS,
    State,
    new_page,
)
from aioprocq.wire.payload import Descriptor, Parcel

from .simulation import PausingPage

NOW = 1.0


def make_peer(*, joinable: bool = False, sized: bool = False) -> Peer:
    page = new_page()
    page[ROOM] = page[ROOM_BYTES] = 0 if sized else UNLIMITED
    return Peer(page, joinable=joinable, sized=sized)


def receives(
    peer: Peer, start: int, text: str, attempts: int = 0, now: float = NOW
) -> None:
    """A batch of items of one letter comes."""
    payloads = [f"{letter}.".encode() for letter in text]
    peer.receive(wire.encode_items(start, attempts, payloads), now)
    peer.check_invariants()


def parcel_comes(peer: Peer, index: int) -> Parcel:
    parcel = Parcel(b"\0", (Descriptor(-1),), 5)
    frame = wire.decode_parcel(wire.encode_parcel(index, 2, 5, b"\0"))
    peer.receive_parcel(frame, parcel, NOW)
    peer.check_invariants()
    return parcel


def flush(peer: Peer) -> list[bytes]:
    """What is in the outbox goes."""
    frames = list(peer.outbox)
    peer.outbox.clear()
    peer.check_invariants()
    return frames


def kinds(peer: Peer) -> list[int]:
    return [frame[-1] for frame in flush(peer)]


def waits(peer: Peer, *, linger: bool = False) -> Waiter:
    waiter = Waiter(linger=linger)
    peer.wait_to_get(waiter)
    peer.check_invariants()
    return waiter


def woken(peer: Peer) -> list[Waiter]:
    found = list(peer.woken)
    peer.woken.clear()
    return found


def recall(peer: Peer, counted: int = 0) -> None:
    """What the hub stores when it takes back what has been read."""
    peer.page[RECALLED] = counted
    peer.page[EPOCH] += 1
    peer.page[ALERT] = 1


def holds(peer: Peer, count: int, holder: str | None = "me") -> None:
    """So many items come, and are handed out."""
    receives(peer, peer.received, "x" * count)
    for _ in range(count):
        assert peer.take() == b"x."
        peer.hold(holder)
    flush(peer)


# Getting


def test_at_first_there_is_nothing():
    peer = make_peer()
    assert peer.take() is None
    assert peer.available() == 0
    assert not peer.outbox


def test_items_are_handed_out_in_order():
    peer = make_peer()
    receives(peer, 0, "ab")
    receives(peer, 5, "c", attempts=2)
    assert peer.available() == 3
    assert peer.take() == b"a."
    assert (peer.page[HANDED], peer.handed, peer.attempts) == (1, 1, 0)
    assert peer.take() == b"b."
    assert peer.take() == b"c."
    assert (peer.page[HANDED], peer.handed, peer.attempts) == (6, 6, 2)
    assert peer.take() is None
    peer.check_invariants()


def test_a_parcel_is_handed_out():
    peer = make_peer()
    receives(peer, 0, "a")
    parcel = parcel_comes(peer, 1)
    assert peer.take() == b"a."
    assert peer.take() is parcel
    assert peer.attempts == 2


def opened(peer: Peer) -> None:
    """The batch that is here is opened: its items are in capitals then."""
    batch = peer.next_sealed()
    assert batch is not None
    peer.opened(batch, peer.handed, capitals(batch))
    peer.check_invariants()


def capitals(batch: Batch) -> list[object]:
    return [payload.decode()[0].upper() for payload in batch]


def test_a_batch_is_sealed_until_somebody_tries_to_open_it():
    peer = make_peer()
    receives(peer, 0, "a")
    assert peer.next_sealed() is None, "one item is not worth it"
    assert peer.take() == b"a."
    receives(peer, 1, "bcd")
    receives(peer, 4, "ef")
    assert peer.available() == 5
    assert not peer.open
    opened(peer)
    assert [peer.take() for _ in "bcd"] == ["B", "C", "D"]
    batch = peer.next_sealed()
    assert batch is not None
    assert not peer.open, "the next batch is another one"
    peer.opened(batch, peer.handed, None)
    assert [peer.take(), peer.take(), peer.take()] == [b"e.", b"f.", None]


def test_a_batch_is_opened_by_one_at_a_time():
    peer = make_peer()
    receives(peer, 0, "ab")
    batch = peer.next_sealed()
    assert batch is not None
    assert peer.next_sealed() is None
    assert peer.take() == b"a.", "who comes meanwhile does not wait for that"
    peer.opened(batch, 0, capitals(batch))
    assert peer.take() == "B"
    receives(peer, 2, "cd")
    opened(peer)
    assert peer.take() == "C"


def test_what_was_handed_out_while_the_batch_was_opened_is_not_handed_out_again():
    peer = make_peer()
    receives(peer, 5, "abc")
    batch = peer.next_sealed()
    assert batch is not None
    assert peer.take() == b"a."
    peer.opened(batch, 5, ["A", "B", "C"])
    peer.check_invariants()
    assert [peer.take() for _ in range(3)] == ["B", "C", None]


@pytest.mark.parametrize("text", ["", "xy", "xyz"])
def test_what_was_given_back_while_it_was_opened_is_not_handed_out(text):
    peer = make_peer()
    receives(peer, 5, "abc")
    batch = peer.next_sealed()
    assert batch is not None
    recall(peer, counted=5)
    peer.starving(NOW)
    if text:
        receives(peer, 8, text)
    peer.opened(batch, 5, ["A", "B", "C"])
    assert not peer.open
    assert [peer.take() for _ in text] == [f"{letter}.".encode() for letter in text]
    assert peer.take() is None


def test_items_of_an_open_batch_are_handed_out_at_once():
    peer = make_peer(joinable=True)
    receives(peer, 5, "abcd")
    receives(peer, 9, "e")
    assert peer.take_many(9) == [], "who takes it has to open it first"
    opened(peer)
    assert peer.take_many(3) == ["A", "B", "C"]
    assert peer.page[HANDED] == 8
    peer.hold_many(3, "me")
    assert [peer.holdings.drop_first("me") for _ in range(3)] == [5, 6, 7]
    assert peer.take_many(3) == ["D"]
    assert peer.take_many(3) == []
    assert peer.take() == b"e."


def test_the_last_of_several_asks_ahead():
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1  # one who is alone has asked for more
    receives(peer, 0, "a")
    assert peer.take() == b"a."
    peer.starving(NOW + 0.01)
    receives(peer, 1, "bc", now=NOW + 0.01)
    opened(peer)
    flush(peer)
    assert peer.take_many(2) == ["B", "C"]
    assert kinds(peer) == [Kind.WANT]


def test_hand_outs_that_are_watched_are_made_one_by_one():
    peer = make_peer()
    receives(peer, 0, "abcd")
    opened(peer)
    peer.page[ALERT] = 3
    assert peer.take_many(4) == ["A", "B"]
    assert peer.take_many(4) == []
    assert peer.take() == "C"
    assert kinds(peer) == [Kind.REPORT]


def test_what_is_recalled_in_the_middle_of_taking_several_is_given_back():
    class Page(list[int]):
        def __setitem__(self, word, value):
            super().__setitem__(word, value)
            if word == HANDED and value == 3:
                recall(peer)

    peer = make_peer()
    receives(peer, 0, "abcd")
    opened(peer)
    peer.page = Page(peer.page)
    assert peer.take_many(3) == []
    assert peer.page[HANDED] == 0
    assert kinds(peer) == [Kind.YIELD]
    assert not peer.items


def test_a_getter_asks_for_an_item():
    peer = make_peer()
    waiter = waits(peer)
    (frame,) = flush(peer)
    assert wire.decode_want(frame) == (1, True, False)
    receives(peer, 0, "a")
    assert woken(peer) == [waiter]
    assert waiter.woken
    peer.stop_getting(waiter)
    assert not waiter.woken
    assert peer.take() == b"a."


def test_a_getter_for_whom_enough_is_on_its_way_asks_for_nothing():
    peer = make_peer()
    peer.pace.window = 8
    waits(peer)
    assert wire.decode_want(flush(peer)[0]).limit == 8
    waits(peer)
    assert flush(peer) == []


def test_in_a_crowd_a_getter_says_that_it_waits():
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1
    peer.pace.window = 8
    waits(peer)
    waits(peer)
    assert [wire.decode_want(f).blocked for f in flush(peer)] == [True, True]


def test_who_says_late_that_it_waits_says_it_in_the_page_at_once():
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1
    peer.limit = 3  # the hub owes it some already
    waiter = Waiter()
    peer.wait_to_get(waiter, late=True)
    assert flush(peer) == []
    assert peer.page[WAITS] == 1
    peer.announce()
    (want,) = flush(peer)
    assert wire.decode_want(want) == (3, True, False)
    assert peer.page[WAITS] == 0
    peer.announce()
    assert flush(peer) == [], "once"


@pytest.mark.parametrize("end", ["comes", "leaves"])
def test_who_waits_no_longer_says_nothing(end):
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1
    peer.limit = 3
    waiter = Waiter()
    peer.wait_to_get(waiter, late=True)
    if end == "comes":
        receives(peer, 0, "a")
        assert woken(peer) == [waiter]
    peer.stop_getting(waiter)
    assert peer.page[WAITS] == 0
    peer.announce()
    assert flush(peer) == []


def test_who_looks_for_a_moment_says_so_in_the_page():
    peer = make_peer()
    peer.limit = 3
    assert peer.begin_look(NOW)
    peer.check_invariants()
    assert peer.page[WAITS] == 1
    assert not peer.begin_look(NOW), "one at a time"
    peer.end_look()
    peer.check_invariants()
    assert peer.page[WAITS] == 0
    assert flush(peer) == []


def test_it_is_no_use_to_look_when_the_hub_owes_nothing():
    peer = make_peer()
    assert not peer.begin_look(NOW)
    peer.check_invariants()


def test_who_looks_hears_of_a_recall():
    peer = make_peer()
    receives(peer, 0, "ab")
    peer.limit = 4
    recall(peer)
    assert not peer.begin_look(NOW), "what was owed until now belongs to the hub"
    assert kinds(peer) == [Kind.YIELD]


def test_another_one_who_waits_does_not_end_the_look():
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1
    peer.limit = 3
    assert peer.begin_look(NOW)
    waiter = Waiter()
    peer.wait_to_get(waiter, late=True)
    peer.stop_getting(waiter)
    assert peer.page[WAITS] == 1
    peer.check_invariants()
    peer.wait_to_get(waiter, late=True)
    peer.end_look()
    assert peer.page[WAITS] == 1, "it still waits"
    peer.check_invariants()


def test_who_is_owed_nothing_cannot_say_so_late():
    peer = make_peer()
    peer.wait_to_get(Waiter(), late=True)
    (want,) = flush(peer)
    assert wire.decode_want(want).blocked
    assert peer.page[WAITS] == 0


def test_in_a_crowd_those_say_so_who_wait_still_when_something_has_come():
    # The hub takes nobody for blocked that it has sent something.
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1
    first, second = waits(peer), waits(peer)
    flush(peer)
    receives(peer, 0, "a")
    assert woken(peer) == [first]
    assert [wire.decode_want(frame) for frame in flush(peer)] == [(2, True, False)]
    receives(peer, 1, "b")
    assert woken(peer) == [second]
    assert flush(peer) == []


def test_a_getter_for_whom_nothing_is_on_its_way_any_more_asks():
    # Somebody was robbed of an item, and will take the next one.
    peer = make_peer()
    robbed, waiting = waits(peer), waits(peer)
    receives(peer, 0, "a")
    assert peer.take() == b"a."
    flush(peer)
    receives(peer, 1, "b")
    assert woken(peer) == [robbed]
    assert not waiting.woken
    assert wire.decode_want(flush(peer)[0]) == (3, True, False)


def test_one_getter_is_woken_for_each_item():
    peer = make_peer()
    waiters = [waits(peer) for _ in range(3)]
    receives(peer, 0, "ab")
    assert woken(peer) == waiters[:2]
    peer.hand_on()
    assert woken(peer) == []


def test_a_getter_that_was_woken_and_cancelled_passes_its_turn_on():
    peer = make_peer()
    first, second = waits(peer), waits(peer)
    receives(peer, 0, "a")
    assert woken(peer) == [first]
    peer.stop_getting(first)
    peer.hand_on()
    assert woken(peer) == [second]
    peer.check_invariants()


def test_a_getter_that_was_cancelled_waits_no_longer():
    peer = make_peer()
    waiter = waits(peer)
    peer.stop_getting(waiter)
    peer.stop_getting(waiter)
    receives(peer, 0, "a")
    assert woken(peer) == []
    assert peer.take() == b"a."


def test_a_getter_that_was_robbed_asks_again():
    peer = make_peer()
    waiter = waits(peer)
    receives(peer, 0, "a")
    flush(peer)
    assert peer.take() == b"a."
    peer.stop_getting(waiter)
    assert peer.take() is None
    peer.starving(NOW)
    waits(peer)
    assert kinds(peer) == [Kind.WANT]


def test_lingering_is_said_and_unsaid():
    peer = make_peer()
    peer.pace.window = 8
    waits(peer, linger=True)
    assert wire.decode_want(flush(peer)[0]) == (8, True, True)
    # The hub must learn that not all linger, or it would not end the other one.
    waits(peer)
    assert wire.decode_want(flush(peer)[0]) == (8, True, False)
    waits(peer)
    assert flush(peer) == []


def test_asking_ahead():
    peer = make_peer()
    peer.ask_ahead()
    assert wire.decode_want(flush(peer)[0]) == (1, False, False)
    peer.ask_ahead()
    assert flush(peer) == []


def test_a_steady_consumer_asks_ahead_with_its_last_item():
    peer = make_peer()
    peer.page[ANNOUNCE_WAITS] = 1  # one who is alone has asked for more
    receives(peer, 0, "a")
    peer.take()
    assert flush(peer) == [], "its pace is not known"
    peer.starving(NOW + 0.01)
    receives(peer, 1, "bc", now=NOW)
    peer.take()
    assert flush(peer) == []
    peer.take()
    assert wire.decode_want(flush(peer)[0]) == (4, False, False)


def test_a_fast_consumer_asks_for_many():
    peer = make_peer()
    receives(peer, 0, "a")
    peer.take()
    peer.starving(NOW)
    assert peer.pace.window == 4
    receives(peer, 1, "b")
    assert wire.decode_want(flush(peer)[0]) == (6, False, False)
    receives(peer, 2, "cd")
    assert flush(peer) == []


def test_watched_hand_outs_are_reported():
    peer = make_peer()
    receives(peer, 0, "ab")
    peer.page[ALERT] = 2
    assert peer.take() == b"a."
    assert flush(peer) == []
    assert peer.take() == b"b."
    assert flush(peer) == [wire.REPORT]


@pytest.mark.parametrize("most", [1, 3])
def test_an_alert_that_comes_later_is_reported_later(most: int):
    """It may come between the look at the first one and the report of that."""
    peer = make_peer()
    peer.page = page = PausingPage()
    peer.receive(wire.encode_items(0, 0, [b"a.", b"b.", b"c.", b"d."]), NOW)
    if most > 1:
        batch = peer.next_sealed()
        assert batch is not None
        peer.opened(batch, 0, list("abcd"))
    page[ALERT] = 4 if most > 1 else 1

    def next_alert() -> None:
        page[ALERT] = most + 1

    page.before_load[EPOCH] = next_alert
    if most > 1:
        page.before_store[HANDED] = lambda: page.__setitem__(ALERT, 1)
        assert len(peer.take_many(most)) == most
    else:
        assert peer.take() is not None
    assert flush(peer) == [wire.REPORT]
    assert peer.take() is not None
    assert flush(peer) == [wire.REPORT], "as it was not for the first one"


def test_one_report_is_made_for_each_alert():
    peer = make_peer()
    receives(peer, 0, "abcdefg")
    for alert in (1, 4):
        peer.page[ALERT] = alert
        for reports in ([wire.REPORT], [], []):
            peer.take()
            assert flush(peer) == reports
    peer.page[ALERT] = 0
    peer.take()
    assert flush(peer) == []


# Taking back


def test_what_was_read_is_given_back():
    peer = make_peer()
    receives(peer, 0, "ab")
    receives(peer, 2, "c")
    assert peer.take() == b"a."
    recall(peer, counted=1)
    assert peer.take() is None
    assert peer.page[HANDED] == 1
    (frame,) = flush(peer)
    assert frame[-1] == Kind.YIELD
    assert wire.decode_number(frame) == 1
    assert peer.available() == 0
    assert peer.take() is None
    assert flush(peer) == []


def test_a_hand_out_that_the_hub_has_counted_is_not_taken_back():
    peer = make_peer()
    receives(peer, 0, "abc")
    recall(peer, counted=1)
    assert peer.take() == b"a.", "its announcement was there before the recall"
    assert flush(peer) == [wire.REPORT]
    assert peer.take() is None
    assert kinds(peer) == [Kind.YIELD]
    assert peer.page[HANDED] == 1


@pytest.mark.parametrize("how", ["starving", "void"])
def test_who_has_nothing_to_give_back_says_so(how):
    peer = make_peer()
    recall(peer)
    if how == "starving":
        peer.starving(NOW)
    else:
        peer.receive(wire.encode_void(3), NOW)
        assert peer.received == 3
    assert kinds(peer) == [Kind.YIELD]


def test_getters_ask_again_when_items_were_given_back():
    peer = make_peer()
    waits(peer)
    receives(peer, 0, "ab")
    waits(peer)
    waits(peer)
    flush(peer)
    recall(peer)
    assert peer.take() is None
    gave_back, want = flush(peer)
    assert gave_back[-1] == Kind.YIELD
    assert wire.decode_want(want) == (4, True, False)
    assert peer.limit - peer.received == len(peer.getters)


def test_after_a_void_getters_ask_again():
    peer = make_peer()
    waits(peer)
    flush(peer)
    peer.receive(wire.encode_void(7), NOW)
    assert wire.decode_want(flush(peer)[0]) == (8, True, False)
    receives(peer, 7, "a")
    peer.receive(wire.encode_void(2), NOW)
    assert peer.received == 8, "older than what has come"


def test_a_void_for_whom_nobody_waits():
    peer = make_peer()
    peer.ask_ahead()
    flush(peer)
    peer.receive(wire.encode_void(7), NOW)
    assert flush(peer) == []
    peer.ask_ahead()
    assert wire.decode_want(flush(peer)[0]).limit == 8


# Items that cannot be received


def bounced(peer: Peer, index: int) -> None:
    """The hub has heard of what bounced, and has it again up to an index."""
    peer.page[RETURNS] += 1
    peer.receive(wire.encode_bounced(index), NOW)


def test_an_item_that_bounced():
    peer = make_peer()
    waiter = waits(peer)
    flush(peer)
    peer.bounce(0, None)
    (bounce,) = flush(peer)
    assert bounce[-1] == Kind.BOUNCE
    assert wire.decode_number(bounce) == 0
    assert not waiter.woken
    assert peer.failure is None
    bounced(peer, 1)
    (want,) = flush(peer)
    assert wire.decode_want(want) == (2, True, False)


def test_a_failure_is_raised_by_a_get():
    peer = make_peer()
    first, second = waits(peer), waits(peer)
    flush(peer)
    failure = OSError(errno.EMFILE, "none free")
    peer.bounce(0, failure)
    assert peer.failure is failure
    assert woken(peer) == [first]
    peer.stop_getting(first)
    receives(peer, 1, "a")
    assert not second.woken, "the hub sends it again, behind what bounced"
    bounced(peer, 2)
    receives(peer, 2, "a")
    assert woken(peer) == [second]


def test_a_failure_waits_for_a_get():
    peer = make_peer()
    peer.bounce(0, OSError(errno.EMFILE, "none free"))
    assert woken(peer) == []
    assert peer.failure is not None
    assert kinds(peer) == [Kind.BOUNCE]


def test_what_comes_behind_a_bounced_item_is_dropped_until_the_hub_knows():
    peer = make_peer()
    receives(peer, 0, "ab")
    peer.bounce(2, None)
    receives(peer, 3, "c")
    assert peer.available() == 2
    assert [peer.take() for _ in range(3)] == [b"a.", b"b.", None]
    assert peer.page[HANDED] == 2
    waiter = waits(peer)
    peer.hand_on()
    assert woken(peer) == []
    bounced(peer, 4)
    receives(peer, 4, "!c")
    assert woken(peer) == [waiter]
    assert [peer.take() for _ in range(3)] == [b"!.", b"c.", None]
    assert peer.page[HANDED] == 6


def test_what_bounces_behind_a_bounced_item_is_dropped_like_the_rest():
    peer = make_peer()
    receives(peer, 0, "a")
    peer.bounce(1, None)
    peer.bounce(2, OSError(errno.EMFILE, "none free"))
    assert kinds(peer) == [Kind.BOUNCE]
    assert peer.failure is None
    bounced(peer, 3)
    receives(peer, 3, "bc")
    assert [peer.take() for _ in range(4)] == [b"a.", b"b.", b"c.", None]


def test_a_peer_in_which_something_bounced_can_be_recalled():
    peer = make_peer()
    peer.bounce(0, None)
    receives(peer, 1, "a")
    recall(peer)
    assert peer.take() is None
    peer.starving(NOW)
    assert kinds(peer) == [Kind.BOUNCE, Kind.YIELD]
    assert peer.available() == 0


# Requests


def test_a_request_and_its_answer():
    peer = make_peer()
    waiter = Waiter()
    ident = peer.request(Ask.JOIN, waiter)
    assert wire.decode_request(flush(peer)[0]) == (ident, Ask.JOIN)
    answer = peer.answers[ident]
    assert not answer.complete
    peer.receive(wire.encode_reply(ident + 1, 0), NOW)
    assert woken(peer) == []
    peer.receive(wire.encode_reply(ident, 7), NOW)
    assert answer.complete
    assert answer.value == 7
    assert woken(peer) == [waiter]
    peer.forget(ident, cancel=True)
    assert flush(peer) == []
    assert not peer.answers


def test_a_request_that_is_cancelled():
    peer = make_peer()
    ident = peer.request(Ask.JOIN, Waiter())
    flush(peer)
    peer.forget(ident, cancel=True)
    assert wire.decode_request(flush(peer)[0]) == (ident, Ask.CANCEL)
    peer.forget(ident, cancel=True)
    assert flush(peer) == []
    peer.receive(wire.encode_reply(ident, 0), NOW)
    assert woken(peer) == []


def test_a_request_whose_answer_does_not_matter():
    peer = make_peer()
    ident = peer.request(Ask.TASK_DONE, Waiter())
    peer.forget(ident)
    assert kinds(peer) == [Kind.REQUEST]


def test_numbers_of_requests_begin_anew():
    peer = make_peer()
    peer._ident = 0xFFFFFFFE
    idents = [peer.request(Ask.FLUSH, Waiter()) for _ in range(3)]
    assert idents == [0xFFFFFFFF, 0, 1]


def test_dead_letters():
    peer = make_peer()
    waiter = Waiter()
    ident = peer.request(Ask.DEAD_LETTERS, waiter)
    one, other = DeadRecord(b"a.", 3, "why"), DeadRecord(b"b.", 1, "why not")
    peer.receive_dead(ident, one)
    peer.receive_dead(ident + 1, one)
    peer.receive_dead(ident, other)
    assert woken(peer) == []
    peer.receive(wire.encode_reply(ident, 2), NOW)
    assert woken(peer) == [waiter]
    assert peer.answers[ident].letters == [one, other]


def test_dead_letters_that_come_after_the_answer():
    # The hub had taken one back from the lane, and has sent it again.
    peer = make_peer()
    waiter = Waiter()
    ident = peer.request(Ask.DEAD_LETTERS, waiter)
    peer.receive_dead(ident, DeadRecord(b"a.", 3, "why"))
    peer.receive(wire.encode_reply(ident, 2), NOW)
    assert woken(peer) == []
    peer.receive_dead(ident, DeadRecord(b"b.", 3, "why"))
    assert woken(peer) == [waiter]


# Room


def test_a_room_frame_wakes_putters():
    peer = make_peer()
    peer.page[ROOM] = 0
    putter = Waiter()
    peer.wait_to_put(putter)
    flush(peer)
    peer.page[ROOM] = 1
    peer.receive(wire.encode_room(1, UNLIMITED), NOW)
    assert woken(peer) == [putter]


def test_room_that_was_taken_back_is_asked_for_again():
    peer = make_peer()
    peer.page[ROOM] = 0
    peer.wait_to_put(Waiter())
    flush(peer)
    peer.receive(wire.encode_room(1, UNLIMITED), NOW)
    assert woken(peer) == []
    assert wire.decode_need(flush(peer)[0]) == (1, 0)


# The end


def test_a_shutdown_ends_putters_only():
    peer = make_peer()
    peer.page[ROOM] = 0
    putter = Waiter()
    peer.wait_to_put(putter)
    getter = waits(peer)
    peer.receive(wire.encode_flag(Kind.END, State.SHUT), NOW)
    assert woken(peer) == [putter]
    assert putter.ended
    assert not getter.ended


def test_when_nothing_is_left_getters_end():
    peer = make_peer()
    plain, lingering = waits(peer), waits(peer, linger=True)
    flush(peer)
    peer.receive(wire.encode_flag(Kind.END, State.DRAINED), NOW)
    assert woken(peer) == [plain]
    assert not lingering.ended
    assert wire.decode_want(flush(peer)[0]) == (1, True, True)
    peer.receive(wire.encode_flag(Kind.END, State.OVER), NOW)
    assert woken(peer) == [lingering]
    assert flush(peer) == []


def test_who_holds_something_itself_does_not_linger():
    peer = make_peer(joinable=True)
    holds(peer, 1)
    waiter = waits(peer, linger=True)
    flush(peer)
    peer.receive(wire.encode_flag(Kind.END, State.DRAINED), NOW)
    assert woken(peer) == [waiter]
    assert flush(peer) == []


def test_after_the_end_the_hub_owes_nothing():
    peer = make_peer()
    peer.pace.window = 8
    waits(peer)
    peer.receive(wire.encode_flag(Kind.END, State.DRAINED), NOW)
    flush(peer)
    waits(peer)
    assert kinds(peer) == [Kind.WANT], "something may have failed, and wait again"


def test_everyone_who_waits():
    peer = make_peer()
    peer.page[ROOM] = 0
    getter, putter, asker = waits(peer), Waiter(), Waiter()
    peer.wait_to_put(putter)
    peer.request(Ask.FLUSH, asker)
    assert peer.everyone() == [getter, putter, asker]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes([Kind.WANT]),
        bytes([Kind.ITEMS]),
        bytes([Kind.VOID]),
        bytes([Kind.END]),
        bytes([Kind.REPLY]),
    ],
)
def test_what_is_not_of_the_protocol(data):
    with pytest.raises(ProtocolError):
        make_peer().receive(data, NOW)


@pytest.mark.parametrize(
    "harm",
    [
        lambda peer: peer.page.__setitem__(PUT, 3),
        lambda peer: setattr(peer, "limit", -1),
        lambda peer: setattr(peer, "_called", -1),
        lambda peer: peer.getters.append(Waiter()),
        lambda peer: peer.page.__setitem__(SETTLED, 9),
        lambda peer: peer.page.__setitem__(HANDED, 9),
    ],
)
def test_invariants_are_checked(harm):
    peer = make_peer(joinable=True)
    receives(peer, 0, "a")
    harm(peer)
    with pytest.raises(AssertionError):
        peer.check_invariants()
