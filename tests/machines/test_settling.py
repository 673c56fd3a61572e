"""What one process holds, settles and gives back."""

from collections.abc import Callable
from threading import get_ident
from typing import Any

import pytest

from aioprocq.machines import settling as module
from aioprocq.machines.peer import Peer
from aioprocq.wire import frames as wire
from aioprocq.wire import page as words
from aioprocq.wire.frames import Kind
from aioprocq.wire.page import (
    ABSORBED,
    ALERT,
    ARRIVED,
    COUNTED,
    EPOCH,
    HANDED,
    RECALLED,
    RETURNS,
    SETTLED,
    State,
)

from .simulation import PausingPage
from .test_peer import flush, holds, kinds, make_peer, recall, receives

ME = get_ident()


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


@pytest.mark.parametrize("how", ["first", "this one", "without the lock"])
def test_who_settles_the_last_it_holds_gives_back_what_was_recalled(how: str):
    """Or nobody would hear that nothing is held, until it comes for more."""
    peer = with_a_run() if how == "without the lock" else make_peer(joinable=True)
    if peer.free is None:
        receives(peer, 0, "abcd")
        peer.take()
        peer.hold(ME)
    recall(peer, counted=1)
    if how == "first":
        assert peer.settle_first(ME)
    elif how == "this one":
        assert peer.settle(0)
    else:
        assert peer.free is not None
        assert peer.free.settling is not None
        assert next(peer.free.settling) is False, "there is a new alert"
        peer.yield_if_asked()
    assert peer.page[SETTLED] == 1
    assert kinds(peer) == [Kind.YIELD]
    assert not peer.available()
    peer.check_invariants()


def test_while_it_holds_something_it_goes_on_with_what_was_recalled():
    peer = make_peer(joinable=True)
    receives(peer, 0, "abc")
    for _ in range(2):
        peer.take()
        peer.hold("me")
    recall(peer, counted=2)
    assert peer.settle(1)
    assert kinds(peer) == [Kind.SETTLE]
    assert peer.available() == 1
    assert peer.settle(0)
    assert kinds(peer) == [Kind.YIELD]


def test_an_alert_that_asks_for_nothing_back_leaves_what_is_here():
    peer = with_a_run()
    peer.page[ALERT] = 4
    assert peer.free is not None
    assert peer.free.settling is not None
    assert next(peer.free.settling) is False
    peer.yield_if_asked()
    assert flush(peer) == []
    assert peer.available() == 3


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


def test_what_the_published_figures_do_not_know_of():
    peer = make_peer(joinable=True)
    holds(peer, 3)
    peer.begin_put(5, 0)
    assert peer.corrections() == (5 - 3, 5)
    peer.page[ARRIVED], peer.page[ABSORBED] = 4, 2
    assert peer.corrections() == (1 - 1, 1)
    peer.settle(0)
    peer.settle(1)
    assert peer.corrections() == (1 - 1, 1 - 2)
    peer.page[COUNTED] = 1
    assert peer.corrections() == (1 - 1, 1 - 1)


def test_what_was_handed_out_of_a_plain_queue_is_finished():
    peer = make_peer()
    receives(peer, 0, "abc")
    for _ in range(3):
        peer.take()
    peer.begin_put(5, 0)
    assert peer.corrections() == (5 - 3, 5 - 3)
    peer.page[ABSORBED] = peer.page[COUNTED] = 2
    assert peer.corrections() == (5 - 1, 5 - 1)


# Without the lock


def with_a_run(*, joinable: bool = True, holder: object = ME, **page: int) -> Peer:
    """Four items of an opened batch, of which one was got, and the others are free."""
    peer = make_peer(joinable=joinable)
    opens(peer, 0, "abcd")
    for word, value in page.items():
        peer.page[getattr(words, word)] = value
    peer.take()
    if joinable:
        peer.hold(holder)
    set_free(peer)
    peer.check_invariants()
    return peer


def set_free(peer: Peer, caller: Any = get_ident) -> bool:
    run = peer.run_to_free(caller)
    return run is not None and peer.set_free(run)


def opens(peer: Peer, start: int, text: str) -> None:
    receives(peer, start, text)
    batch = peer.next_sealed()
    assert batch is not None
    peer.opened(batch, start, list(text))


def goes_on(peer: Peer) -> object:
    """The next item goes without the lock."""
    assert peer.free is not None
    peer.check_invariants()
    item = next(peer.free.items, None)
    peer.check_invariants()
    return item


def done(peer: Peer) -> bool:
    """The oldest item held is settled without the lock."""
    assert peer.free is not None
    assert peer.free.settling is not None
    return next(peer.free.settling, None) is not None


@pytest.mark.parametrize("joinable", [False, True])
def test_what_went_without_the_lock_is_caught_up_with(joinable: bool) -> None:
    peer = with_a_run(joinable=joinable)
    assert [goes_on(peer) for _ in range(3)] == ["b", "c", None]
    assert (peer.handed, peer.page[HANDED]) == (1, 3)
    peer.catch_up()
    peer.check_invariants()
    assert peer.free is None
    assert (peer.handed, list(peer.items)) == (3, ["d"])
    assert len(peer.holdings) == (3 if joinable else 0)
    peer.catch_up()
    assert peer.take() == "d"


def test_each_call_with_the_lock_begins_with_that() -> None:
    calls: dict[str, Callable[[Peer], object]] = {
        "take": lambda peer: peer.take(),
        "take_many": lambda peer: peer.take_many(1),
        "settle": lambda peer: peer.settle(0),
        "settle_first": lambda peer: peer.settle_first(ME),
        "fail": lambda peer: peer.fail(0, "it rained", final=False),
        "corrections": lambda peer: peer.corrections(),
        "end": lambda peer: peer.receive(wire.encode_flag(Kind.END, State.SHUT), 1.0),
    }
    for name, call in calls.items():
        peer = with_a_run()
        goes_on(peer)
        call(peer)
        assert peer.free is None, name
        assert peer.handed >= 2, name
        peer.check_invariants()


def test_what_was_settled_without_the_lock_is_counted() -> None:
    peer = with_a_run()
    assert done(peer)
    assert not peer.settled
    goes_on(peer)
    goes_on(peer)
    assert done(peer)
    assert peer.corrections()[1] == -2
    assert len(peer.holdings) == 1
    assert (peer.page[SETTLED], peer.holdings.choose(ME)) == (2, 2)
    assert not flush(peer), "it goes on"


def test_nothing_is_settled_that_was_not_handed_out() -> None:
    peer = with_a_run()
    assert [done(peer), done(peer)] == [True, False]
    goes_on(peer)
    assert not done(peer), "it has ended"
    assert peer.settle_first(ME)
    assert peer.settled == 2
    assert not peer.settle_first(ME)


def test_a_gap_in_the_lane_is_no_item_that_is_held() -> None:
    peer = make_peer(joinable=True)
    opens(peer, 7, "abc")
    peer.take()
    peer.hold(ME)
    set_free(peer)
    peer.catch_up()
    peer.check_invariants()
    assert (peer.holdings.choose(ME), peer.settled) == (7, 0)


def test_what_was_announced_and_not_taken_is_not_settled() -> None:
    """By somebody whose call is for what another process holds."""
    peer = with_a_run()
    peer.page[ALERT] = 1
    assert goes_on(peer) is None
    assert [done(peer), done(peer)] == [True, False]
    assert peer.page[SETTLED] == 1
    peer.catch_up()
    peer.check_invariants()
    assert not peer.settle_first(ME)


@pytest.mark.parametrize(
    "what",
    ["got", "settled", "filed", "returned", "gone", "set", "moved", "full", "failed"],
)
def test_a_run_that_is_late_is_not_set_free(what: str) -> None:
    """It is made without the lock."""
    peer = make_peer(joinable=True)
    opens(peer, 0, "abcdef")
    peer.take()
    peer.hold(ME)
    run = peer.run_to_free(get_ident)
    assert run is not None
    if what == "gone":
        peer.page[EPOCH], peer.page[RECALLED] = 1, 1
        peer.receive(wire.encode_void(6), 1.0)
    elif what == "settled":
        peer.settle_first(ME)
    elif what == "returned":
        peer.fail(0, "it rained", final=False)
        run.settled = peer.holdings.first
    elif what == "filed":
        peer.holdings.hold(7, None)
        run.settled = peer.holdings.first
    elif what == "set":
        assert peer.set_free(run)
    elif what == "full":
        peer.outbox.append(wire.REPORT)  # each get is to try to send it
    elif what == "failed":
        peer.holdings.hold(1, "you")
        peer.holdings.drop(1)
        run.settling = None
    elif what == "moved":
        peer.items = peer.items.copy()
    else:
        peer.take()
        peer.hold(ME)
    assert not peer.set_free(run)


def test_an_announcement_that_found_an_alert_is_taken_back() -> None:
    peer = with_a_run()
    peer.page[ALERT] = 1
    assert goes_on(peer) is None
    assert peer.page[HANDED] == 2
    peer.catch_up()
    assert peer.page[HANDED] == peer.handed == 1
    assert peer.take() == "b"
    assert kinds(peer) == [Kind.REPORT]


def test_what_is_held_out_of_order_is_not_settled_without_the_lock() -> None:
    peer = make_peer(joinable=True)
    holds(peer, 2, holder="you")
    opens(peer, 2, "abcd")
    peer.take()
    peer.hold(ME)
    set_free(peer)
    assert goes_on(peer) == "b"
    assert peer.free is not None
    assert peer.free.settling is None
    peer.catch_up()
    assert peer.holdings.latest(ME) == 3
    assert peer.holdings.choose("you") == 0


def test_nothing_is_settled_without_the_lock_while_a_return_is_unread() -> None:
    peer = make_peer(joinable=True)
    opens(peer, 0, "abcd")
    peer.take()
    peer.hold(ME)
    peer.fail(0, "it rained", final=False)
    flush(peer)
    peer.take()
    peer.hold(ME)
    set_free(peer)
    assert peer.free is not None
    assert peer.free.settling is None


@pytest.mark.parametrize("why", ["again", "alert", "holder", "impossible"])
def test_when_nothing_is_set_free(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = make_peer(joinable=True)
    opens(peer, 0, "abcd")
    peer.take()
    peer.hold(ME)
    if why == "alert":
        peer.page[ALERT] = 3
    elif why == "again":
        assert set_free(peer)
        peer.catch_up()
    elif why == "impossible":
        monkeypatch.setattr(module, "POSSIBLE", False)
    assert not set_free(peer, None if why == "holder" else get_ident)
    assert peer.free is None


def test_an_alert_for_the_last_item_is_none_for_the_others() -> None:
    peer = with_a_run(ALERT=4)
    assert [goes_on(peer) for _ in range(3)] == ["b", "c", None]
    assert not flush(peer)
    peer.take()
    assert kinds(peer) == [Kind.REPORT]


def test_an_alert_that_comes_while_a_run_is_set_free_is_found() -> None:
    peer = make_peer()
    peer.page = page = PausingPage()
    opens(peer, 0, "abcd")
    peer.take()

    def first() -> None:
        page.before_load[ALERT] = lambda: page.__setitem__(ALERT, 1)

    page.before_load[ALERT] = first
    assert set_free(peer, None)
    assert goes_on(peer) is None


def test_in_a_plain_queue_it_matters_not_who_gets() -> None:
    peer = with_a_run(joinable=False, holder=None)
    assert [goes_on(peer) for _ in range(2)] == ["b", "c"]
    assert peer.free is not None
    assert peer.free.settling is None


def test_an_announcement_that_the_hub_has_counted_stands() -> None:
    """It was taken back here, and the hub asks for the rest: not for this one."""
    peer = with_a_run(joinable=False)
    peer.page[ALERT] = 2
    assert goes_on(peer) is None
    peer.page[EPOCH], peer.page[RECALLED], peer.page[ALERT] = 1, 2, 1
    peer.receive(wire.encode_void(4), 1.0)  # before its getter comes for it
    peer.check_invariants()
    (frame,) = flush(peer)
    assert frame[-1] == Kind.YIELD
    assert (peer.available(), peer.open) == (1, True)
    assert peer.take() == "b"
    assert peer.handed == peer.page[HANDED] == 2
    assert peer.take() is None


def test_an_announcement_that_the_hub_has_not_counted_is_given_back() -> None:
    peer = with_a_run(joinable=False)
    peer.page[EPOCH], peer.page[RECALLED], peer.page[ALERT] = 1, 1, 1
    assert goes_on(peer) is None
    assert peer.take() is None
    assert peer.page[HANDED] == 1
    assert kinds(peer) == [Kind.YIELD]
