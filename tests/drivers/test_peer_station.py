from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from aioprocq import OwnerLost, QueueClosed, QueueShutDown
from aioprocq.drivers import peer_station as module
from aioprocq.drivers.peer_station import PeerStation
from aioprocq.drivers.threads import thread_number
from aioprocq.machines import settling
from aioprocq.wire.ahead import Opened, open_ahead
from aioprocq.wire.batch import Batch
from aioprocq.wire.frames import REPORT, Ask
from aioprocq.wire.page import ALERT, ANNOUNCE_WAITS, HANDED, SETTLED, State
from aioprocq.wire.payload import pack_item

from .stations import (
    LARGE,
    Stations,
    Thread,
    ask,
    connected,
    drive,
    get,
    load,
    put,
    take,
    until,
)

pytestmark = pytest.mark.timeout(30)


def parcel(station: Any, item: object = "x" * LARGE) -> Any:
    return station.pack(pack_item(item))


def hand(hub: Any, peer: PeerStation, *items: object, holder: object = None) -> None:
    """Put items at the hub, and hand them out at the peer."""
    put(hub, *items)
    for item in items:
        peer.refresh()
        drive(hub)
        peer.refresh()
        assert take(peer, holder) == item


# Getting


def test_what_has_come_is_handed_out_in_order(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1, 2, 3)
    assert [load(get(peer)) for _ in range(3)] == [1, 2, 3]
    assert hub.qsize() == 0


def with_a_batch(stations: Stations, *items: object, **changes: Any) -> Any:
    """A peer to which several items have come in one batch, and its hub."""
    hub, peer = connected(stations, **changes)
    put(hub, *items)
    peer.machine.pace.window = len(items)
    waiter = peer.new_waiter()
    peer.begin_get(waiter)
    drive(hub)
    peer.end_get(waiter, took=False)
    peer.refresh()
    assert peer.machine.available() == len(items)
    return hub, peer


def test_a_batch_is_opened_when_its_first_item_is_handed_out(
    stations: Stations,
) -> None:
    _hub, peer = with_a_batch(stations, 1, [2], b"3", None)
    first, second, third, fourth = (peer.take(None) for _ in range(4))
    assert (first, second) == (1, [2])
    assert isinstance(third, Opened)
    assert isinstance(fourth, Opened)
    assert (third.item, fourth.item) == (b"3", None)
    assert peer.take(None) is None


def test_what_cannot_be_opened_ahead_is_handed_out_as_it_is(
    stations: Stations,
) -> None:
    _hub, peer = with_a_batch(stations, 1, 1j, 2)
    assert [load(peer.take(None)) for _ in range(3)] == [1, 1j, 2]


def test_several_items_are_handed_out_at_once(stations: Stations) -> None:
    hub, peer = with_a_batch(stations, *range(5), joinable=True)
    assert peer.take_many("me", 9) == []
    assert peer.take("me") == 0
    assert peer.take_many("me", 3) == [1, 2, 3]
    assert peer.take_many("me", 3) == [4]
    for _ in range(5):
        assert peer.settle_held("me")
    assert not peer.settle_held("me")
    drive(hub)
    assert hub.statistics().unfinished == 0


def test_hand_outs_at_once_are_told_when_that_is_due(stations: Stations) -> None:
    _hub, peer = with_a_batch(stations, *range(5))
    assert peer.take(None) == 0
    peer.machine.outbox.append(REPORT)
    assert peer.take_many(None, 2) == [1, 2]
    assert not peer.machine.outbox


def with_a_run(stations: Stations, count: int = 9, **changes: Any) -> Any:
    """A peer whose user has got one item of a batch, and a second one."""
    hub, peer = with_a_batch(stations, *range(count), **changes)
    assert peer.take(thread_number()) == 0
    assert peer.free_items is None, "the rest may be wanted in one go"
    assert peer.take(thread_number()) == 1
    return hub, peer


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some items are many."""
    monkeypatch.setattr(module, "_MANY", 3)


@pytest.mark.usefixtures("few")
def test_who_gets_one_by_one_goes_on_without_the_lock(stations: Stations) -> None:
    hub, peer = with_a_run(stations)
    assert list(peer.free_items) == [2, 3, 4, 5, 6, 7]
    assert hub.qsize() == 1, "the page has said so"
    assert peer.free_settling is None
    assert peer.take(None) == 8
    assert peer.take(None) is None
    assert peer.free_items is None


@pytest.mark.usefixtures("few")
def test_what_was_got_without_the_lock_is_settled_without_it(
    stations: Stations,
) -> None:
    hub, peer = with_a_run(stations, joinable=True)
    for item in range(2, 8):
        assert next(peer.free_settling) is True
        assert next(peer.free_items) == item
    drive(hub)
    assert (hub.statistics().unfinished, hub.statistics().held) == (3, 2)
    assert peer.statistics().unfinished == 3
    assert peer.settle_held(thread_number())
    assert peer.settle_held(thread_number())
    assert not peer.settle_held(thread_number())
    assert peer.take("me") == 8
    assert peer.settle_held("me")
    drive(hub)
    assert hub.statistics().unfinished == 0


@pytest.mark.usefixtures("few")
def test_few_items_are_handed_out_with_the_lock(stations: Stations) -> None:
    _hub, peer = with_a_batch(stations, *range(5))
    assert [peer.take(None) for _ in range(5)] == list(range(5))
    assert peer.machine.free_once == -1


@pytest.mark.usefixtures("few")
def test_a_batch_is_set_free_once(stations: Stations) -> None:
    """Who does something else with the queue between two gets does so all the time."""
    _hub, peer = with_a_run(stations)
    peer.machine.catch_up()
    assert peer.take(None) == 2
    assert peer.free_items is None


@pytest.mark.usefixtures("few")
def test_who_gets_several_at_once_sets_nothing_free(stations: Stations) -> None:
    """One at a time is got at the beginning of each call."""
    _hub, peer = with_a_batch(stations, *range(20))
    for item in (0, 5, 10):
        assert peer.take(None) == item
        assert len(peer.take_many(None, 4)) == 4
    assert peer.take(None) == 15
    assert peer.free_items is None


@pytest.mark.usefixtures("few")
def test_a_full_lane_ends_it(stations: Stations) -> None:
    """Each get tries again to send what is to be sent."""
    hub, peer = with_a_run(stations)
    machine = peer.machine
    machine.outbox.extend([REPORT] * 10_000)
    with peer.lock:
        assert not peer._flush()
    assert machine.outbox
    assert next(peer.free_items, None) is None
    drive(hub)
    assert peer.take(None) == 2


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("how", ["close", "lose"])
def test_the_end_of_the_connection_ends_it(stations: Stations, how: str) -> None:
    hub, peer = with_a_run(stations)
    free, machine = peer.free_items, peer.machine
    assert next(free) == 2
    machine.page[ALERT] = 1
    assert next(free, None) is None
    if how == "close":
        peer.dispose()
    else:
        hub.dispose()
        with peer.lock:
            peer._lose()
    assert next(free, None) is None
    assert machine.page[HANDED] == machine.handed == 3, "what was announced in vain"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("what", ["close", "qsize", "get"])
def test_while_a_run_is_made_the_queue_may_be_used(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """By a finalizer, for example: it takes memory, and so may collect garbage."""
    _hub, peer = with_a_batch(stations, *range(9))
    assert peer.take(None) == 0
    calls = {"close": peer.dispose, "qsize": peer.qsize, "get": lambda: peer.take(None)}
    make = settling.LockFreeRun

    def making(*args: Any) -> Any:
        monkeypatch.undo()
        calls[what]()
        return make(*args)

    monkeypatch.setattr(settling, "LockFreeRun", making)
    assert peer.take(None) == 1
    if what == "qsize":
        assert next(peer.free_items) == 2
    else:
        assert peer.free_items is None


@pytest.mark.usefixtures("few")
def test_in_a_forked_child_nothing_is_announced(stations: Stations) -> None:
    """The page is the parent's."""
    _hub, peer = with_a_run(stations)
    page, free = peer.machine.page, peer.free_items
    stations.made[stations.made.index(peer)] = peer.inherit()
    assert next(free, None) is None
    assert page[HANDED] == 2


@pytest.mark.usefixtures("few")
def test_what_was_got_last_without_the_lock_is_what_fails(stations: Stations) -> None:
    hub, peer = with_a_run(stations, joinable=True)
    assert next(peer.free_items) == 2
    peer.fail_latest(thread_number(), "it rained")
    drive(hub)
    assert [letter.payload for letter in hub.hub.store.dead] == [pack_item(2)]


@pytest.mark.usefixtures("few")
def test_a_recall_ends_it(stations: Stations) -> None:
    hub, peer = with_a_run(stations)
    assert next(peer.free_items) == 2
    waiter = hub.new_waiter()
    hub.begin_get(waiter)
    until(lambda: (hub.refresh(), hub.hub.store.waiting)[1])
    assert next(peer.free_items, None) is None
    assert peer.take(None) is None
    hub.end_get(waiter, took=False)
    assert take(hub) == 3


@pytest.mark.usefixtures("few")
def test_an_owner_that_waits_for_the_last_hand_out_hears_of_it(
    stations: Stations,
) -> None:
    hub, peer = with_a_run(stations)
    assert hub.begin_ask(Ask.JOIN, waiter := hub.new_waiter()) is not None
    drive(hub)
    assert next(peer.free_items, None) is None, "there is an alert now"
    for item in range(2, 9):
        assert peer.take(None) == item
    drive(hub)
    assert waiter.signalled


def meanwhile(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Have something happen while a batch is unpickled."""

    def opening(batch: Batch) -> list[object] | None:
        monkeypatch.undo()
        then()
        return open_ahead(batch)

    monkeypatch.setattr(module, "open_ahead", opening)


def test_a_finalizer_may_use_the_queue_while_a_batch_is_unpickled(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hub, peer = with_a_batch(stations, 1, 2, 3)
    seen: list[object] = []
    meanwhile(monkeypatch, lambda: seen.append(load(peer.take(None))))
    assert peer.take(None) == 2
    assert (seen, peer.take(None)) == ([1], 3)


def test_what_is_taken_back_while_a_batch_is_unpickled_stays_with_the_hub(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, peer = with_a_batch(stations, 1, 2, 3)
    meanwhile(monkeypatch, hub.refresh)
    assert peer.take(None) is None
    assert not peer.machine.available()
    drive(hub)
    assert [take(hub) for _ in range(3)] == [1, 2, 3]


def test_an_owner_lost_while_a_batch_is_unpickled_is_lost(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hub, peer = with_a_batch(stations, 1, 2, 3)
    meanwhile(monkeypatch, peer._lose)
    with pytest.raises(OwnerLost):
        peer.take(None)


def test_a_queue_that_is_closed_while_a_batch_is_unpickled_is_closed(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hub, peer = with_a_batch(stations, 1, 2, 3)
    meanwhile(monkeypatch, peer.dispose)
    with pytest.raises(QueueClosed, match="is closed; use it before"):
        peer.take(None)


def test_a_look_asks_for_one_more_and_leaves_what_is_here(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1, 2)
    peer.refresh()
    drive(hub)
    peer.refresh()
    peer.refresh()
    assert len(peer.machine.items) == 1
    assert [take(peer), take(peer)] == [1, None]


def test_all_that_has_come_is_gathered(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1)
    peer.refresh()
    drive(hub)
    peer.gather()
    assert take(peer) == 1


def test_a_getter_finds_what_has_come_meanwhile(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1)
    peer.refresh()
    drive(hub)
    peer.fetch()
    waiter = peer.new_waiter()
    peer.begin_get(waiter)
    assert waiter.woken
    assert take(peer) == 1
    peer.end_get(waiter, took=True)


def test_a_getter_that_gives_up_passes_its_turn_on(stations: Stations) -> None:
    hub, peer = connected(stations)
    first, second = peer.new_waiter(), peer.new_waiter()
    peer.begin_get(first)
    peer.begin_get(second)
    drive(hub)
    put(hub, 1)
    peer.fetch()
    assert (first.woken, second.woken) == (True, False)
    peer.end_get(first, took=False)
    assert second.woken
    assert take(peer) == 1
    peer.end_get(second, took=True)


def test_the_failure_to_receive_an_item_is_raised_once(stations: Stations) -> None:
    _, peer = connected(stations, joinable=True)
    for call in (lambda: peer.take(None), peer.take_delivery):
        peer.machine.failure = OSError("none free")
        with pytest.raises(OSError, match="none free"):
            call()
        assert call() is None


def test_the_failure_of_another_item_takes_none_away(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True, max_deliveries=3)
    peer.refresh()
    drive(hub)
    put(hub, "small")
    drive(hub)
    peer.fetch()
    peer.machine.failure = OSError("none free")
    got = peer.take_delivery()
    assert load(got[0]) == "small"
    with pytest.raises(OSError, match="none free"):
        peer.take_delivery()
    assert peer.settle(got[1])


def test_a_delivery_is_held_by_its_token(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True, max_deliveries=3)
    assert peer.take_delivery() is None
    put(hub, "x")
    for attempt in (1, 2):
        peer.refresh()
        drive(hub)
        peer.refresh()
        data, token, number = peer.take_delivery()
        assert (load(data), number) == ("x", attempt)
        assert not peer.settle_held("me")
        if attempt == 1:
            assert peer.fail(token, "once more", final=False)
            drive(hub)
    assert peer.settle(token)
    assert not peer.settle(token)
    drive(hub)
    assert hub.statistics().unfinished == 0


def test_a_recall_is_answered_when_the_next_item_would_be_handed_out(
    stations: Stations,
) -> None:
    hub, peer = connected(stations, joinable=True)
    put(hub, "x")
    peer.refresh()
    drive(hub)
    peer.refresh()
    hub.refresh()
    assert peer.take_delivery() is None
    until(lambda: (hub.refresh(), hub.hub.store.waiting)[1])
    assert take(hub) == "x"


def test_when_a_get_has_nothing_to_wait_for(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True, max_deliveries=2)
    assert not peer.take_ended(linger=False)
    hand(hub, peer, "x", holder="me")
    put(hub, "y")
    hub.shutdown(immediate=False)
    assert not peer.take_ended(linger=False), "one is left"
    peer.refresh()
    drive(hub)
    assert not peer.take_ended(linger=False), "it is on its way"
    peer.refresh()
    assert take(peer, "me") == "y"
    assert peer.take_ended(linger=False)
    assert peer.take_ended(linger=True), "who holds it itself waits for nobody"
    peer.settle_held("me")
    peer.settle_held("me")
    assert peer.take_ended(linger=True)
    late = peer.new_waiter()
    peer.begin_get(late)
    assert late.ended


def test_who_lingers_waits_for_what_others_hold(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True, max_deliveries=2)
    put(hub, "x")
    assert take(hub, "there") == "x"
    hub.shutdown(immediate=False)
    assert peer.take_ended(linger=False)
    assert not peer.take_ended(linger=True)


# Settling


def test_what_is_settled_in_order_needs_no_frame(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True)
    hand(hub, peer, 1, 2, holder="me")
    assert peer.settle_held("me")
    assert peer.machine.page[SETTLED] == 1
    assert peer.settle_held("me")
    assert not peer.settle_held("me")
    drive(hub)
    assert hub.statistics().unfinished == 0


def test_what_is_settled_out_of_order_is_told(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True)
    hand(hub, peer, 1, holder="first")
    hand(hub, peer, 2, holder="second")
    assert peer.settle_held("second")
    assert peer.machine.page[SETTLED] == 0
    drive(hub)
    assert hub.statistics().held == 1


def test_each_item_of_a_batch_is_settled_at_once(stations: Stations) -> None:
    hub, peer = with_a_batch(stations, *range(3), joinable=True)
    for settled in (1, 2, 3):
        take(peer, "me")
        drive(hub)
        assert peer.settle_held("me")
        assert not peer.settle_held("me")
        assert peer.machine.page[SETTLED] == settled
        told = len(hub._readiness.ready())
        assert bool(told) == (settled == 3), "the last one, where nothing is left"
    drive(hub)
    assert hub.statistics().unfinished == 0


def test_nothing_is_settled_in_place_of_a_delivery(stations: Stations) -> None:
    hub, peer = with_a_batch(stations, *range(4), joinable=True)
    _, token, _ = peer.take_delivery()
    take(peer, "me")
    assert peer.settle_held("me")
    assert peer.machine.page[SETTLED] == 0
    assert peer.settle(token)
    assert peer.machine.page[SETTLED] == 2
    drive(hub)
    assert hub.statistics().unfinished == 2


def test_what_failed_is_not_called_settled_by_what_comes_after_it(
    stations: Stations,
) -> None:
    hub, peer = with_a_batch(stations, *range(4), joinable=True, max_deliveries=9)
    take(peer, "me")
    peer.fail_latest("me", "it rained")
    take(peer, "me")
    assert peer.settle_held("me")
    assert peer.machine.page[SETTLED] == 0, "the hub has not read of the failure yet"
    drive(hub)
    statistics = hub.statistics()
    assert (statistics.unfinished, statistics.redelivered) == (3, 1)


def test_what_fails_is_the_latest_of_its_holder(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True, max_deliveries=9)
    hand(hub, peer, 1, 2, holder="me")
    peer.fail_latest("nobody", "why")
    peer.fail_latest("me", "why")
    drive(hub)
    assert load(get(peer)) == 2
    assert hub.statistics().redelivered == 1


def test_task_done_of_who_holds_nothing_tells_of_an_owner_that_is_gone(
    stations: Stations,
) -> None:
    hub, peer = connected(stations, joinable=True)
    hub.dispose()
    for _ in range(2):
        with pytest.raises(OwnerLost):
            peer.settle_anywhere()


def test_task_done_settles_what_another_process_holds(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True)
    assert not peer.settle_anywhere(), "nothing is unfinished"
    put(hub, 1)
    take(hub, "there")
    assert peer.settle_anywhere()
    drive(hub)
    assert hub.statistics().unfinished == 0
    assert not peer.settle_anywhere()


# Requests, shutdown, figures


@pytest.mark.parametrize("what", [Ask.FLUSH, Ask.POLL])
def test_requests_are_answered(stations: Stations, what: Ask) -> None:
    _, peer = stations.pair()
    assert ask(peer, what) == (0, [])
    assert peer.machine is not None
    assert not peer.machine.answers


def test_a_poll_brings_an_item(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(hub, "x")
    assert ask(peer, Ask.POLL) == (1, [])
    assert take(peer) == "x"


def test_a_request_that_is_given_up_is_taken_back(stations: Stations) -> None:
    hub, peer = connected(stations, joinable=True)
    put(hub, 1)
    ident = peer.begin_ask(Ask.JOIN, peer.new_waiter())
    drive(hub)
    assert hub.hub.peer_joins
    assert peer.end_ask(ident) == (None, [])
    drive(hub)
    assert not hub.hub.peer_joins


def test_a_shutdown_holds_here_at_once_and_there_when_it_is_read(
    stations: Stations,
) -> None:
    hub, peer = connected(stations, maxsize=1)
    waiter = peer.new_waiter(size=1)
    peer.begin_put(waiter)
    peer.shutdown(immediate=False)
    assert waiter.ended
    peer.end_put(waiter)
    with pytest.raises(QueueShutDown):
        peer.put(b".")
    put_before = hub.put(pickle.dumps(1))
    drive(hub)
    with pytest.raises(QueueShutDown):
        hub.put(b"")
    assert put_before


def test_an_immediate_shutdown_throws_away_what_waits(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1, 2)
    peer.shutdown(immediate=True)
    drive(hub)
    assert hub.statistics().unfinished == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda peer: peer.shutdown(immediate=False),
        lambda peer: peer.settle_held(None),
        lambda peer: peer.settle_anywhere(),
        lambda peer: peer.begin_ask(Ask.FLUSH, peer.new_waiter()),
        lambda peer: peer.qsize(),
        lambda peer: peer.statistics(),
        lambda peer: peer.fail(0, "", final=True),
        lambda peer: peer.take(None),
    ],
)
def test_every_call_tells_of_an_owner_that_is_gone(
    stations: Stations, call: Any
) -> None:
    hub, peer = connected(stations, joinable=True)
    hub.dispose()
    with pytest.raises(OwnerLost):
        call(peer)
        get(peer)  # the calls that say nothing to the owner hear of it here
    with pytest.raises(OwnerLost):
        call(peer)


def test_after_the_owner_is_gone_waits_can_still_be_left(stations: Stations) -> None:
    hub, peer = connected(stations)
    getter, putter = peer.new_waiter(), peer.new_waiter()
    peer.begin_get(getter)
    peer.begin_put(putter)
    hub.dispose()
    with pytest.raises(OwnerLost):
        peer.qsize()
    assert getter.ended
    peer.end_get(getter, took=False)
    peer.end_put(putter)


@pytest.mark.parametrize("joinable", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_an_owner_that_left_in_order_has_shut_the_queue_down(
    stations: Stations, joinable: bool, used: bool
) -> None:
    hub, peer = connected(stations, joinable=joinable)
    if used:
        hand(hub, peer, 1, 2, holder="me")
        for _ in range(2 * joinable):
            peer.settle_held("me")
        drive(hub)
    hub.shutdown(immediate=False)
    hub.dispose()
    with pytest.raises(QueueShutDown):
        get(peer)
    with pytest.raises(QueueShutDown):
        peer.put(b".")


def test_the_figures_are_those_that_the_owner_published(stations: Stations) -> None:
    hub, peer = connected(stations)
    put(hub, 1, 2)
    figures = peer.statistics()
    assert (figures.qsize, figures.unfinished, figures.state) == (2, 2, "open")
    assert figures.held is None
    take(hub)
    assert hub.qsize() == 1
    drive(hub)
    assert peer.qsize() == 1


@pytest.mark.parametrize("joinable", [False, True])
def test_the_figures_know_what_this_process_has_put_and_got(
    stations: Stations, joinable: bool
) -> None:
    hub, peer = connected(stations, joinable=joinable)

    def figures() -> tuple[int, int]:
        return peer.statistics().qsize, peer.statistics().unfinished

    hand(hub, peer, 1, 2, 3, holder="me")
    for _ in range(3 * joinable):
        peer.settle_held("me")
    assert figures() == (0, 0)
    drive(hub)
    assert figures() == (0, 0), "nor when the owner knows of it"
    peer.put(b"one more.")
    assert figures() == (1, 1)
    drive(hub)
    assert figures() == (1, 1)


def test_who_settles_what_another_process_has_settled_knows_what_is_left(
    stations: Stations,
) -> None:
    hub, peer = connected(stations, joinable=True)
    hand(hub, peer, 1, 2, holder="me")
    put(hub, 3)
    assert hub.settle_anywhere()
    assert peer.settle_held("me")
    assert peer.settle_held("me")
    drive(hub)
    assert (hub.statistics().unfinished, peer.statistics().unfinished) == (1, 1)


def test_who_reads_the_figures_has_the_owner_look_at_others(
    stations: Stations,
) -> None:
    hub, peer = connected(stations)
    other = stations.peer(hub)
    put(hub, 1, 2)
    other.refresh()
    drive(hub)
    other.refresh()
    take(other)
    assert peer.qsize() == 2, "the owner has not been told"
    drive(hub)
    assert peer.qsize() == 1


def test_before_it_dials_a_peer_knows_the_figures(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(hub, 1)
    assert peer.qsize() == 1
    assert peer.machine is None


# Saying less


def test_a_thread_that_waits_for_long_says_so(stations: Stations) -> None:
    hub, peer = connected(stations)
    peer.machine.page[ANNOUNCE_WAITS] = 1
    peer.machine.pace.window = 3
    put(hub, 1)
    assert load(get(peer)) == 1
    drive(hub)
    (record,) = hub._by_record
    assert not record.blocked
    assert record.lane.credit > 0
    waiting = Thread(get, peer)

    def is_known_to_wait() -> bool:
        hub.drive()
        return bool(record.blocked)

    until(is_known_to_wait)
    put(hub, 2)
    drive(hub)
    assert load(waiting.result()) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_was_settled_without_a_word_does_not_hold_up_the_end(
    stations: Stations, when: str
) -> None:
    hub, peer = connected(stations, joinable=True)
    put(hub, 1)
    peer.refresh()
    drive(hub)
    peer.refresh()
    _, token, _ = peer.take_delivery()
    assert hub.qsize() == 0, "the owner knows that it was handed out"
    if when == "before":
        assert peer.settle(token, report=False)
    hub.shutdown(immediate=False)
    if when == "after":
        assert hub.hub.state is State.DRAINED
        assert peer.settle(token, report=False)
        hub.drive()
    assert hub.hub.state is State.OVER


def test_what_the_owner_has_put_itself_is_known(stations: Stations) -> None:
    hub, peer = connected(stations)
    other = stations.peer(hub)
    put(hub, 1, 2)
    peer.put(b"a.")
    for _ in range(2):
        other.put(b"b.")
    drive(hub)
    assert hub.put_here() == 2
    other.dispose()
    drive(hub)
    assert (hub.put_here(), hub.statistics().put) == (2, 5)
