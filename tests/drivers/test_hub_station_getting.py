from __future__ import annotations

import pickle
from typing import Any

import pytest

from aioprocq import QueueShutDown
from aioprocq.drivers import hub_station as module
from aioprocq.drivers import peer_putting
from aioprocq.drivers.hub_station import HubStation, len_of
from aioprocq.drivers.ring import RINGS
from aioprocq.wire.frames import Ask
from aioprocq.wire.page import STATE, UNLIMITED, State
from aioprocq.wire.payload import Parcel, pack_item

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


def payload(item: object) -> Any:
    return pickle.dumps(item, 5)


def hand(hub: HubStation, peer: Any, *items: object) -> None:
    """Put items, and have them in the peer's lane."""
    put(hub, *items)
    peer.refresh()
    drive(hub)


# Getting


def test_bytes_are_counted_also_where_their_bound_is_never_reached(
    stations: Stations,
) -> None:
    hub = stations.hub(max_bytes=UNLIMITED)
    put(hub, "one", "two")
    assert [take(hub), take(hub)] == ["one", "two"]
    assert hub.hub.store.size == 0


def awake(stations: Stations, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A hub that looks at its rings anyway, soon, and a peer in a burst."""
    monkeypatch.setattr(peer_putting, "_BURST", 1000.0)
    hub, peer = stations.pair()
    peer.fetch()
    drive(hub)
    put(peer, 0, 1)
    drive(hub)
    stay_awake(hub)
    return hub, peer


def stay_awake(hub: HubStation) -> None:
    hub._rings.update(dict.fromkeys(hub._by_record.values()))


@pytest.mark.skipif(not RINGS, reason="there are no rings here")
def test_a_getter_finds_what_a_burst_has_brought_meanwhile(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, peer = awake(stations, monkeypatch)
    assert not hub.fetch(), "nothing has come"
    put(peer, 2, 3)
    assert hub.fetch()
    assert [take(hub) for _ in range(5)] == [0, 1, 2, 3, None]


@pytest.mark.skipif(not RINGS, reason="there are no rings here")
@pytest.mark.parametrize("count", [1, 200])
def test_a_getter_does_not_do_so_for_ever(
    stations: Stations, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    hub, peer = awake(stations, monkeypatch)
    looks = 0
    put(peer, *[None] * count)
    while hub.fetch():
        looks += 1
        put(peer, *[None] * count)
    assert looks == module._MOST_FETCHES if count == 1 else looks < 6
    hub._on_ready()  # a turn of the loop, which takes in what is there
    stay_awake(hub)
    put(peer, None)
    assert hub.fetch()


def test_a_getter_has_its_turn_before_who_comes_later(stations: Stations) -> None:
    hub = stations.hub()
    first, second = hub.new_waiter(), hub.new_waiter()
    hub.begin_get(first)
    hub.begin_get(second)
    put(hub, 1)
    assert (first.woken, second.woken) == (True, False)
    hub.end_get(first, took=False)
    assert second.woken, "a turn that is not used is passed on"
    assert take(hub) == 1
    hub.end_get(second, took=True)


def test_an_item_for_a_delivery_is_held_by_nobody_in_particular(
    stations: Stations,
) -> None:
    hub = stations.hub(joinable=True, max_deliveries=3, maxsize=5)
    assert hub.take_delivery() is None
    put(hub, "x")
    got = hub.take_delivery()
    assert got is not None
    data, token, attempt = got
    assert (load(data), attempt) == ("x", 1)
    assert not hub.settle_held("me"), "task_done does not settle deliveries"
    assert hub.fail(token, "again", final=False)
    again = hub.take_delivery()
    assert again is not None
    assert again[2] == 2
    assert hub.settle(again[1])
    assert not hub.settle(again[1])
    assert not hub.fail(again[1], "late", final=True)


def test_what_a_peer_has_not_read_is_taken_back_by_a_look(stations: Stations) -> None:
    hub, peer = stations.pair(joinable=True)
    hand(hub, peer, "x")
    assert hub.take(None) is None
    assert hub.hub.dealer.flying == 1
    hub.refresh()
    assert take(hub) == "x"
    peer.refresh()
    assert take(peer) is None


def test_what_a_peer_has_read_and_not_started_is_taken_back(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    hand(hub, peer, "x")
    peer.refresh()
    assert peer.machine is not None
    assert len(peer.machine.items) == 1
    hub.refresh()
    assert take(peer) is None, "it sees that it was asked to yield"
    until(lambda: (hub.refresh(), hub.hub.store.waiting)[1])
    assert take(hub) == "x"


def test_a_look_leaves_what_waits_here(stations: Stations) -> None:
    hub = stations.hub()
    hub.refresh()
    put(hub, 1)
    hub.refresh()
    assert take(hub) == 1


def test_what_was_taken_back_goes_to_those_who_want_it_as_well(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    hand(hub, peer, "x", "y")
    hub.refresh()
    peer.refresh()
    assert take(hub) in ("x", "y")
    assert load(get(peer)) in ("x", "y")


def test_all_that_peers_have_put_is_gathered(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, 1, 2)
    hub.gather()
    assert [take(hub), take(hub), take(hub)] == [1, 2, None]


def test_when_a_get_has_nothing_to_wait_for(stations: Stations) -> None:
    hub = stations.hub(joinable=True, max_deliveries=2)
    assert not hub.take_ended(linger=False)
    put(hub, "x")
    hub.shutdown(immediate=False)
    assert not hub.take_ended(linger=False), "one is left"
    take(hub, "me")
    assert hub.hub.state is State.SHUT
    assert hub.take_ended(linger=False), "it may come again, but not to this one"
    assert hub.hub.state is State.DRAINED
    assert hub.take_ended(linger=True), "who holds it itself waits for nobody"
    hub.settle_held("me")
    assert hub.hub.state is State.OVER
    assert hub.take_ended(linger=True)


def test_who_lingers_waits_for_what_others_hold(stations: Stations) -> None:
    hub, peer = stations.pair(joinable=True, max_deliveries=2)
    hand(hub, peer, "x")
    peer.refresh()
    assert take(peer) == "x"
    hub.shutdown(immediate=False)
    assert hub.take_ended(linger=False)
    assert not hub.take_ended(linger=True)
    peer.dispose()
    until(lambda: (hub.drive(), hub.hub.deaths)[1])
    assert take(hub) == "x"


def test_getters_end_with_the_queue(stations: Stations) -> None:
    hub = stations.hub()
    waiting = [Thread(get, hub) for _ in range(3)]
    until(lambda: hub.statistics().getters_waiting == 3)
    hub.shutdown(immediate=False)
    assert [t.result() for t in waiting] == [None] * 3
    late = hub.new_waiter()
    hub.begin_get(late)
    assert late.ended


# Settling


def test_task_done_settles_what_the_holder_has_then_what_the_process_has(
    stations: Stations,
) -> None:
    hub = stations.hub(joinable=True)
    put(hub, 1, 2)
    take(hub, "a")
    take(hub, "b")
    assert hub.settle_held("b")
    assert hub.statistics().held == 1
    assert hub.settle_held("b"), "the oldest of the process"
    assert not hub.settle_held("a")
    assert not hub.settle_anywhere()


def test_task_done_settles_what_another_process_holds(stations: Stations) -> None:
    hub, peer = stations.pair(joinable=True)
    hand(hub, peer, "x")
    peer.refresh()
    take(peer, "there")
    assert not hub.settle_held("here")
    assert hub.settle_anywhere()
    assert hub.statistics().unfinished == 0


def test_what_fails_is_the_latest_of_its_holder(stations: Stations) -> None:
    hub = stations.hub(joinable=True, max_deliveries=5)
    put(hub, 1, 2)
    take(hub, "me")
    take(hub, "me")
    hub.fail_latest("nobody", "why")
    assert hub.qsize() == 0
    hub.fail_latest("me", "why")
    assert take(hub) == 2
    assert hub.statistics().redelivered == 1


# Requests


def test_join_waits_until_nothing_is_unfinished(stations: Stations) -> None:
    hub = stations.hub(joinable=True)
    put(hub, 1)
    joiner = Thread(ask, hub, Ask.JOIN)
    until(lambda: hub.hub.joiners)
    take(hub, "me")
    hub.settle_held("me")
    joiner.result()
    assert ask(hub, Ask.JOIN) == (0, [])


def test_join_counts_what_was_put_right_after_a_dial(stations: Stations) -> None:
    hub, peer = stations.pair(joinable=True)
    put(peer, 1)
    ident = hub.begin_ask(Ask.JOIN, hub.new_waiter())
    assert ident is not None
    hub.end_ask(ident)


def test_a_look_finds_what_was_put_right_after_a_dial(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, 1)
    hub.refresh()
    assert take(hub) == 1


def test_a_join_that_is_given_up_is_forgotten(stations: Stations) -> None:
    hub = stations.hub(joinable=True)
    put(hub, 1)
    waiter = hub.new_waiter()
    ident = hub.begin_ask(Ask.JOIN, waiter)
    assert ident is not None
    hub.end_ask(ident)
    assert not hub.hub.joiners


def test_what_was_given_up_on_is_told(stations: Stations) -> None:
    hub = stations.hub(joinable=True, max_deliveries=9)
    put(hub, "x")
    got = hub.take_delivery()
    assert got is not None
    hub.fail(got[1], "no use", final=True)
    _, (record,) = ask(hub, Ask.DEAD_LETTERS)
    assert (load(record.payload), record.attempts, record.reason) == ("x", 1, "no use")


# Shutdown and figures


def test_a_shutdown_wakes_those_who_wait_for_room(stations: Stations) -> None:
    hub = stations.hub(maxsize=1)
    put(hub, 1)
    waiter = hub.new_waiter()
    hub.begin_put(waiter)
    hub.shutdown(immediate=False)
    assert waiter.ended
    assert take(hub) == 1


def test_an_immediate_shutdown_throws_away_what_waits_everywhere(
    stations: Stations,
) -> None:
    hub, peer = stations.pair(joinable=True)
    hand(hub, peer, "in the lane", "here")
    hub.shutdown(immediate=True)
    until(lambda: (hub.drive(), hub.statistics().unfinished == 0)[1])
    assert take(hub) is None
    assert hub.hub.page[STATE] == State.OVER


def test_a_shutdown_looks_again_for_who_looked_before_it_was_over(
    stations: Stations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner may only block after this."""
    hub, peer = connected(stations)
    waiter = peer.new_waiter()

    def and_meanwhile() -> None:
        with peer.lock:
            peer.machine.wait_to_get(waiter)
            peer._flush()

    monkeypatch.setattr(hub, "_finish_recalls", and_meanwhile)
    hub.shutdown(immediate=True)
    peer.fetch()
    assert waiter.ended


def test_a_shutdown_counts_what_was_put_before_it(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, "before")
    hub.shutdown(immediate=False)
    hub.drive()
    assert take(hub) == "before"
    with pytest.raises(QueueShutDown):
        peer.put(payload("after"))


def test_a_shutdown_says_that_it_is_over_when_all_was_handed_out(
    stations: Stations,
) -> None:
    hub, peer = stations.pair()
    hand(hub, peer, "x")
    peer.refresh()
    assert take(peer) == "x"
    hub.shutdown(immediate=False)
    assert hub.hub.page[STATE] == State.OVER


def test_the_number_of_waiting_items_is_exact(stations: Stations) -> None:
    hub, peer = stations.pair()
    put(peer, 1, 2)  # it dials for that
    assert hub.qsize() == 2
    peer.refresh()
    assert hub.qsize() == 2
    peer.refresh()
    take(peer)
    assert hub.qsize() == 1


def test_the_figures_of_an_owner_are_complete(stations: Stations) -> None:
    hub = stations.hub(joinable=True)
    put(hub, 1, 2)
    take(hub)
    figures = hub.statistics()
    assert (figures.qsize, figures.held, figures.put) == (1, 1, 2)
    assert (figures.unfinished, figures.state) == (2, "open")


def test_the_bytes_of_a_payload_in_a_batch(stations: Stations) -> None:
    parcel = stations.hub().pack(pack_item("x" * LARGE))
    assert isinstance(parcel, Parcel)
    assert len_of(b"123") == 3
    assert LARGE < len_of(parcel) < UNLIMITED
