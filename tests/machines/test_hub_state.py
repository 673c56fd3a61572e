"""What the owner's process does with its hub."""

import pytest

from aioprocq.machines.hub import Hub
from aioprocq.machines.lane import Stray
from aioprocq.machines.record import DeadRecord, PeerRecord, Waiter
from aioprocq.machines.statistics import QueueStatistics
from aioprocq.wire import frames as wire
from aioprocq.wire.page import (
    ABSORBED,
    ARRIVED,
    BEGUN,
    COUNTED,
    HANDED,
    PUBLISHED,
    PUT,
    QSIZE,
    SETTLED,
    STATE,
    UNFINISHED,
    State,
    new_page,
)

NOW = 1.0


def make_hub(
    maxsize: float = 0,
    *,
    joinable: bool = False,
    max_deliveries: int = 3,
    max_bytes: int | None = None,
) -> Hub:
    return Hub(
        maxsize=maxsize,
        max_bytes=max_bytes,
        joinable=joinable,
        max_deliveries=max_deliveries,
        page=new_page(),
    )


def settle(hub: Hub) -> list[Waiter]:
    """The event is over: who was woken."""
    hub.settle_down(NOW)
    hub.check_invariants()
    woken = list(hub.dealer.woken)
    hub.dealer.woken.clear()
    return woken


def state(hub: Hub) -> State:
    return hub.state


def consumer(hub: Hub, count: int) -> PeerRecord:
    """A peer that was sent so many items and has handed them out."""
    peer = hub.connect(7, new_page())
    for number in range(count):
        hub.put(b"item %d" % number)
    hub.receive(peer, wire.encode_want(count, blocked=True))
    settle(hub)
    peer.page[HANDED] = count
    return peer


# Putting and getting


def test_what_is_put_is_taken_in_order():
    hub = make_hub()
    hub.put(b"a.")
    hub.put(b"b.")
    assert hub.qsize() == 2
    assert hub.take() == Stray(0, 0, b"a.")
    assert hub.take() == Stray(1, 0, b"b.")
    assert hub.take() is None
    assert hub.qsize() == 0


def test_the_size_is_exact_at_the_moment_of_the_call():
    hub = make_hub()
    peer = consumer(hub, 3)
    peer.page[HANDED] = 1
    assert hub.qsize() == 2
    peer.page[HANDED] = 2
    assert hub.qsize() == 1


@pytest.mark.parametrize(
    ("maxsize", "max_bytes", "fits"),
    [(0, None, True), (2, None, True), (1, None, False), (0, 5, True), (0, 4, False)],
)
def test_whether_an_item_fits(maxsize, max_bytes, fits):
    hub = make_hub(maxsize, max_bytes=max_bytes)
    hub.put(b"xxx")
    assert hub.fits(2) == fits


def test_what_was_handed_out_makes_room():
    hub = make_hub(1, max_bytes=6)
    peer = consumer(hub, 1)
    assert hub.fits(6)
    peer.page[HANDED] = 0
    hub = make_hub(1)
    peer = consumer(hub, 1)
    peer.page[HANDED] = 0
    assert not hub.fits(1)


def test_a_getter_waits_for_an_item():
    hub = make_hub()
    first, second = Waiter(), Waiter()
    hub.wait_to_get(first)
    hub.wait_to_get(second)
    hub.put(b"a.")
    assert settle(hub) == [first]
    assert hub.dealer.available == 0
    hub.stop_getting(first)
    assert hub.take() is not None
    assert settle(hub) == []
    hub.put(b"b.")
    assert settle(hub) == [second]


def test_a_getter_that_was_woken_and_cancelled_passes_its_turn_on():
    hub = make_hub()
    first, second = Waiter(), Waiter()
    hub.wait_to_get(first)
    hub.wait_to_get(second)
    hub.put(b"a.")
    assert settle(hub) == [first]
    hub.stop_getting(first)
    hub.stop_getting(first)
    assert settle(hub) == [second]


def test_a_getter_that_waits_no_longer():
    hub = make_hub()
    waiter = Waiter()
    hub.wait_to_get(waiter)
    hub.stop_getting(waiter)
    hub.put(b"a.")
    assert settle(hub) == []
    assert hub.dealer.available == 1


def test_a_putter_waits_for_room():
    hub = make_hub(1)
    hub.put(b"a.")
    first, second = Waiter(), Waiter()
    hub.wait_to_put(first)
    hub.wait_to_put(second)
    assert hub.local_waiters() == [first, second]
    assert settle(hub) == []
    hub.take()
    assert settle(hub) == [first]
    assert not hub.fits(1), "the place is kept"
    hub.stop_putting(first)
    assert hub.fits(1)
    hub.put(b"b.")
    assert settle(hub) == []


def test_a_putter_that_was_woken_and_cancelled_passes_its_turn_on():
    hub = make_hub(1)
    hub.put(b"a.")
    first, second = Waiter(), Waiter()
    hub.wait_to_put(first)
    hub.wait_to_put(second)
    hub.take()
    assert settle(hub) == [first]
    hub.stop_putting(first)
    assert settle(hub) == [second]


def test_a_putter_that_waits_no_longer():
    hub = make_hub(1)
    hub.put(b"a.")
    waiter = Waiter()
    hub.wait_to_put(waiter)
    hub.stop_putting(waiter)
    hub.take()
    assert settle(hub) == []
    assert hub.local_waiters() == []


# Settling


def test_what_the_owner_holds():
    hub = make_hub(joinable=True)
    hub.put(b"a.")
    hub.take()
    assert hub.finish(0)
    assert not hub.finish(0)
    assert not hub.fail(0, "too late")


def test_what_the_owner_could_not_do():
    hub = make_hub(joinable=True, max_deliveries=2)
    hub.put(b"a.")
    hub.take()
    assert hub.fail(0, "it rained")
    assert hub.take() == Stray(0, 1, b"a.")
    assert hub.fail(0, "it rained again")
    assert hub.news() == [DeadRecord(b"a.", 2, "it rained again")]
    assert hub.news() == []
    assert hub.take() is None


def test_the_oldest_item_that_is_held_anywhere():
    hub = make_hub(joinable=True)
    peer = consumer(hub, 3)
    hub.put(b"mine")
    hub.take()
    assert hub.store.unfinished == 4
    assert hub.finish_oldest()
    assert [stray.seq for stray in peer.lane.unsettled()] == [1, 2]
    hub.finish_oldest()
    hub.finish_oldest()
    assert list(hub.store.held) == [3]
    assert hub.finish_oldest()
    assert not hub.finish_oldest()
    assert hub.store.unfinished == 0
    settle(hub)


def test_a_delivery_of_the_owner_is_not_the_oldest():
    hub = make_hub(joinable=True)
    hub.put(b"a.")
    hub.put(b"b.")
    hub.take()
    hub.take()
    assert hub.finish_oldest({0})
    assert list(hub.store.held) == [0]
    assert not hub.finish_oldest({0})


def test_the_oldest_is_the_one_that_was_put_first():
    # Not the one that was handed out first, and not one of the owner's.
    hub = make_hub(joinable=True)
    hub.put(b"a.")
    hub.put(b"b.")
    hub.take()
    hub.take()
    hub.fail(0, "it rained")
    peer = hub.connect(7, new_page())
    hub.receive(peer, wire.encode_want(9, blocked=True))
    settle(hub)
    peer.page[HANDED] = 1
    assert hub.finish_oldest()
    assert list(peer.lane.unsettled()) == []
    assert list(hub.store.held) == [1]


def test_waiting_until_everything_is_done():
    hub = make_hub(joinable=True)
    waiter, other = Waiter(), Waiter()
    hub.wait_to_join(waiter)
    assert settle(hub) == [waiter]
    assert waiter.woken
    hub.put(b"a.")
    hub.wait_to_join(other)
    assert settle(hub) == []
    hub.take()
    assert settle(hub) == []
    hub.finish(0)
    assert settle(hub) == [other]


def test_waiting_no_longer_until_everything_is_done():
    hub = make_hub(joinable=True)
    waiter = Waiter()
    hub.put(b"a.")
    hub.wait_to_join(waiter)
    hub.stop_joining(waiter)
    hub.stop_joining(waiter)
    hub.take()
    hub.finish(0)
    assert settle(hub) == []


# Shutting down


def test_a_shutdown_lets_gets_drain():
    hub = make_hub(1)
    hub.put(b"a.")
    putter, getter = Waiter(), Waiter()
    hub.wait_to_put(putter)
    hub.shutdown(immediate=False)
    assert settle(hub) == [putter]
    assert putter.ended
    assert state(hub) == State.SHUT
    assert hub.take() is not None
    hub.wait_to_get(getter)
    assert settle(hub) == [getter]
    assert getter.ended
    assert state(hub) == State.OVER
    hub.shutdown(immediate=False)
    assert settle(hub) == []


def test_an_immediate_shutdown_throws_away_what_waits():
    hub = make_hub(joinable=True)
    hub.put(b"a.")
    hub.put(b"b.")
    hub.take()
    hub.shutdown(immediate=True)
    settle(hub)
    assert (hub.qsize(), hub.store.unfinished) == (0, 1)
    assert state(hub) == State.OVER, "what fails now is not delivered again"
    hub.finish(0)
    settle(hub)
    assert (hub.store.unfinished, state(hub)) == (0, State.OVER)


def test_a_shutdown_can_become_immediate():
    hub = make_hub()
    hub.put(b"a.")
    hub.shutdown(immediate=False)
    settle(hub)
    hub.shutdown(immediate=True)
    settle(hub)
    assert state(hub) == State.OVER
    hub.shutdown(immediate=True)


def test_after_a_putter_was_woken_a_shutdown_frees_its_place():
    hub = make_hub(1)
    waiter = Waiter()
    hub.wait_to_put(waiter)
    assert settle(hub) == [waiter]
    hub.shutdown(immediate=False)
    hub.stop_putting(waiter)
    assert not waiter.ended
    assert hub.room.kept == 0
    settle(hub)


# Figures


def test_statistics():
    hub = make_hub(2, joinable=True, max_deliveries=1)
    peer = consumer(hub, 2)
    hub.put(b"c.")
    hub.put(b"d.")
    hub.take()
    hub.fail(2, "it rained")
    hub.take()
    gone = hub.connect(8, new_page())
    hub.lost(gone)
    peer.page[SETTLED] = 1
    hub.wait_to_get(Waiter())
    assert hub.statistics() == QueueStatistics(
        qsize=0,
        unfinished=2,
        state="open",
        held=2,
        put=4,
        returned=0,
        redelivered=0,
        dead_letters=1,
        peers=1,
        peers_gone=1,
        getters_waiting=1,
        putters_waiting=0,
    )
    hub.shutdown(immediate=False)
    assert hub.statistics().state == "shut"


def test_what_is_published():
    hub = make_hub(joinable=True)
    assert hub.page[BEGUN]
    peer = consumer(hub, 2)
    hub.put(b"mine")
    hub.receive(peer, b"theirs.")
    settle(hub)
    assert (hub.page[QSIZE], hub.page[UNFINISHED], hub.page[STATE]) == (4, 4, 0)
    assert (peer.page[ABSORBED], peer.page[ARRIVED], peer.page[COUNTED]) == (0, 1, 0)
    peer.page[SETTLED] = 1
    hub.receive(peer, wire.REPORT)
    settle(hub)
    assert (hub.page[QSIZE], hub.page[UNFINISHED]) == (2, 3)
    assert (peer.page[ABSORBED], peer.page[ARRIVED], peer.page[COUNTED]) == (2, 1, 1)
    assert not hub.page[PUBLISHED] % 2, "odd while it is written"


@pytest.mark.parametrize("how", ["page", "all in the page", "frame"])
def test_who_settles_what_another_one_has_settled_is_told_that_it_counts(how: str):
    """Or it takes what is unfinished for one too few, for ever."""
    hub = make_hub(joinable=True)
    peer = consumer(hub, 3)
    assert hub.finish_oldest()
    settle(hub)
    assert (hub.page[UNFINISHED], peer.page[COUNTED]) == (2, 0)
    if how == "frame":
        hub.receive(peer, wire.encode_settle(0))
    else:
        peer.page[SETTLED] = 1 if how == "page" else 3
        hub.receive(peer, wire.REPORT)
    settle(hub)
    left = 0 if how == "all in the page" else 2
    assert (hub.page[UNFINISHED], peer.page[COUNTED]) == (left, 3 - left)
    peer.page[SETTLED] = 3
    hub.receive(peer, wire.REPORT)
    settle(hub)
    assert (hub.page[UNFINISHED], peer.page[COUNTED]) == (0, 3)


def test_who_fails_at_what_another_one_has_settled_has_settled_nothing():
    hub = make_hub(joinable=True)
    peer = consumer(hub, 2)
    assert hub.finish_oldest()
    hub.receive(peer, wire.encode_return(0, False, "it rained"))
    peer.page[SETTLED] = 2
    hub.receive(peer, wire.REPORT)
    settle(hub)
    assert (hub.page[UNFINISHED], peer.page[COUNTED]) == (0, 1)


def test_whether_a_put_is_still_to_come_is_published():
    hub = make_hub()
    peer = hub.connect(7, new_page())
    peer.page[PUT] = 1
    hub.shutdown(immediate=False)
    settle(hub)
    assert (hub.page[BEGUN], hub.page[STATE]) == (1, State.SHUT)
    hub.receive(peer, b"x.")
    settle(hub)
    assert (hub.page[BEGUN], hub.page[STATE]) == (0, State.SHUT)
    hub.take()
    settle(hub)
    assert hub.page[STATE] == State.OVER
