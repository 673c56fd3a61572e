"""The hub: what happens on the lanes, and when it looks at the pages."""

from typing import Any

import pytest

from aioprocq.errors import ProtocolError
from aioprocq.machines.dealer import PATIENCE
from aioprocq.machines.hub import Hub
from aioprocq.machines.record import Frame, Loaded, PeerRecord, Waiter
from aioprocq.machines.room import GRACE
from aioprocq.wire import frames as wire
from aioprocq.wire.frames import Ask, Kind
from aioprocq.wire.page import (
    ALERT,
    ANNOUNCE_WAITS,
    BEGUN,
    EPOCH,
    HANDED,
    PUT,
    RETURNS,
    ROOM,
    SETTLED,
    State,
    new_page,
)
from aioprocq.wire.payload import Descriptor, Parcel, Payload


class Driver:
    """A hub with a clock."""

    def __init__(
        self,
        maxsize: float = 0,
        *,
        joinable: bool = False,
        max_deliveries: int = 3,
        max_bytes: int | None = None,
    ) -> None:
        self.now = 1.0
        self.hub = Hub(
            maxsize=maxsize,
            max_bytes=max_bytes,
            joinable=joinable,
            max_deliveries=max_deliveries,
            page=new_page(),
        )

    @property
    def state(self) -> State:
        return self.hub.state

    def settle(self) -> list[Waiter]:
        """The event is over: who was woken."""
        self.hub.settle_down(self.now)
        self.hub.check_invariants()
        woken = list(self.hub.dealer.woken)
        self.hub.dealer.woken.clear()
        return woken

    def put(self, text: str) -> None:
        for letter in text:
            self.hub.put(f"{letter}.".encode())
        self.settle()

    def connect(self) -> PeerRecord:
        peer = self.hub.connect(7, new_page())
        self.settle()
        return peer

    def receive(self, peer: PeerRecord, *frames: bytes) -> list[Waiter]:
        for frame in frames:
            self.hub.receive(peer, frame)
        return self.settle()

    def wants(
        self, peer: PeerRecord, more: int = 1, *, blocked: bool = True, **flags: bool
    ) -> None:
        limit = peer.lane.sent + more
        self.receive(peer, wire.encode_want(limit, blocked=blocked, **flags))

    def consumer(self, text: str) -> PeerRecord:
        """A peer that was sent these items, and has read them."""
        peer = self.connect()
        self.wants(peer, len(text) or 1)
        self.put(text)
        flush(peer)
        return peer

    def tick(self) -> None:
        assert self.hub.deadline is not None
        self.now = max(self.now, self.hub.deadline)
        self.hub.tick(self.now)
        self.settle()

    def reclaim(self, peer: PeerRecord, *frames: Frame) -> None:
        assert peer in self.hub.reclaims
        self.hub.reclaimed(peer, list(frames), self.now)
        self.settle()

    def tick_until_reclaims(self) -> None:
        for _ in range(50):
            if self.hub.reclaims:
                return
            self.tick()
        raise AssertionError("nothing is reclaimed")


def flush(peer: PeerRecord) -> list[Frame]:
    """What is in a peer's outbox goes."""
    frames = list(peer.outbox)
    peer.outbox.clear()
    return frames


def kinds(peer: PeerRecord) -> list[int]:
    frames = flush(peer)
    return [f.data[-1] if isinstance(f, Loaded) else f[-1] for f in frames]


def items(peer: PeerRecord) -> list[bytes]:
    """The items that a peer is sent."""
    frames = [f for f in flush(peer) if isinstance(f, bytes)]
    batches = [wire.decode_items(f) for f in frames if f[-1] == Kind.ITEMS]
    return [payload for batch in batches for payload in batch.payloads]


def replies(peer: PeerRecord) -> list[tuple[int, int]]:
    frames = [f for f in flush(peer) if isinstance(f, bytes)]
    return [wire.decode_reply(f) for f in frames if f[-1] == Kind.REPLY]


def yields(driver: Driver, peer: PeerRecord) -> None:
    driver.receive(peer, wire.encode_yield(peer.page[EPOCH]))


# Frames


def test_items_come_from_peers():
    driver = Driver()
    peer = driver.connect()
    parcel = Parcel(b"\0", (Descriptor(-1),), 9)
    driver.receive(peer, b"a.", wire.encode_batch([b"b.", b"c."]))
    driver.hub.receive_parcel(peer, b"", parcel)
    driver.settle()
    assert list(driver.hub.store.fresh) == [b"a.", b"b.", b"c.", parcel]
    assert peer.received == 4
    driver.hub.put_from(peer, [b"d.", b"e."])
    assert driver.hub.qsize() == 6


def test_bytes_are_counted_as_they_came():
    driver = Driver(max_bytes=100)
    peer = driver.connect()
    driver.receive(peer, b"a.")
    driver.hub.receive_parcel(peer, b"", Parcel(b"\0", (), 9))
    assert peer.received_bytes == driver.hub.store.size == 11


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        bytes([Kind.ITEMS]),
        bytes([Kind.PUT_MANY]),
        bytes([Kind.WANT]),
        bytes([Kind.NEED]),
        bytes([Kind.SETTLE]),
        bytes([Kind.RETURN]),
        bytes([Kind.BOUNCE]),
        bytes([Kind.YIELD]),
        bytes([Kind.REQUEST]),
        bytes([Kind.SHUTDOWN]),
    ],
)
def test_what_is_not_of_the_protocol(data):
    driver = Driver()
    peer = driver.connect()
    with pytest.raises(ProtocolError):
        driver.hub.receive(peer, data)
    driver.settle()


def test_numbers_out_of_all_reason():
    driver = Driver(joinable=True)
    peer = driver.consumer("abc")
    huge = 2**64 - 1
    peer.page[HANDED] = peer.page[SETTLED] = huge
    driver.receive(
        peer,
        wire.encode_settle(huge),
        wire.encode_return(huge, False, ""),
        wire.encode_bounce(huge),
        wire.encode_yield(huge),
        wire.encode_want(huge),
        wire.encode_need(huge, huge),
        wire.REPORT,
    )
    assert driver.hub.store.unfinished == 0
    driver.hub.lost(peer)
    driver.settle()


def test_a_peer_is_sent_what_it_wants():
    driver = Driver()
    driver.put("abc")
    peer = driver.connect()
    driver.wants(peer, 2)
    assert items(peer) == [b"a.", b"b."]
    driver.wants(peer, 1, blocked=False)
    assert items(peer) == [b"c."]


def test_credit_does_not_shrink():
    driver = Driver()
    peer = driver.connect()
    driver.receive(peer, wire.encode_want(5), wire.encode_want(3))
    assert peer.lane.credit == 5


def test_a_full_lane():
    driver = Driver()
    peer = driver.connect()
    assert not driver.hub.sent(peer, stalled=False), "nothing new"
    assert driver.hub.sent(peer, stalled=True)
    driver.wants(peer, 5)
    driver.put("a")
    assert items(peer) == []
    assert driver.hub.sent(peer, stalled=False)
    driver.settle()
    assert items(peer) == [b"a."]


def test_a_report_has_the_hub_look_at_the_page():
    driver = Driver()
    peer, other = driver.consumer("ab"), driver.consumer("cd")
    peer.page[HANDED] = other.page[HANDED] = 1
    driver.receive(peer, wire.REPORT)
    assert driver.hub.dealer.flying == 3
    driver.receive(peer, wire.LOOK)
    assert driver.hub.dealer.flying == 2


# Settling


def test_an_item_that_is_settled_out_of_order():
    driver = Driver(joinable=True)
    peer = driver.consumer("abc")
    peer.page[HANDED] = 2
    driver.receive(peer, wire.encode_settle(1))
    assert driver.hub.store.unfinished == 2
    driver.receive(peer, wire.encode_settle(1), wire.encode_settle(2))
    assert driver.hub.store.unfinished == 2
    peer.page[SETTLED] = 2
    driver.receive(peer, wire.REPORT)
    assert driver.hub.store.unfinished == 1


def test_an_item_that_is_returned():
    driver = Driver(joinable=True, max_deliveries=2)
    peer = driver.consumer("ab")
    peer.page[HANDED] = 2
    driver.receive(
        peer,
        wire.encode_return(0, False, "it rained"),
        wire.encode_return(1, True, "no use"),
    )
    assert peer.page[RETURNS] == 2
    assert driver.hub.qsize() == 1
    assert [record.reason for record in driver.hub.news()] == ["no use"]
    driver.receive(peer, wire.encode_return(0, False, "it rained"))
    assert driver.hub.qsize() == 1, "it is not held any more"
    assert peer.page[RETURNS] == 3, "the peer waits for that all the same"


def test_what_is_returned_or_settled_during_a_recall():
    # The peer had handed it out just before it could see the alert.
    driver = Driver(joinable=True)
    peer = driver.consumer("abcd")
    peer.lane.frozen = True
    peer.page[HANDED] = 2
    driver.receive(peer, wire.encode_settle(1), wire.encode_return(0, False, "why"))
    assert driver.hub.store.redelivered == 1
    assert driver.hub.store.finished == 1
    peer.page[HANDED] = peer.page[SETTLED] = 3
    driver.receive(peer, wire.REPORT)
    assert driver.hub.store.finished == 2


def test_an_item_that_bounced_waits_again():
    driver = Driver()
    peer = driver.consumer("abc")
    driver.receive(peer, wire.encode_bounce(1))
    assert driver.hub.store.waiting == 2
    assert peer.lane.credit == 0
    driver.wants(peer, 2)
    assert items(peer) == [b"b.", b"c."]


# Requests


def test_flushing():
    driver = Driver()
    peer = driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.FLUSH))
    assert replies(peer) == [(5, 0)]


def test_joining():
    driver = Driver(joinable=True)
    peer = driver.consumer("a")
    peer.page[HANDED] = 1
    driver.receive(
        peer,
        wire.encode_request(5, Ask.JOIN),
        wire.encode_request(6, Ask.JOIN),
        wire.encode_request(6, Ask.CANCEL),
    )
    assert replies(peer) == []
    peer.page[SETTLED] = 1
    driver.receive(peer, wire.REPORT)
    assert replies(peer) == [(5, 0)]
    driver.receive(peer, wire.encode_request(7, Ask.JOIN))
    assert replies(peer) == [(7, 0)]


def test_settling_what_somebody_holds():
    driver = Driver(joinable=True)
    peer, other = driver.consumer("a"), driver.connect()
    peer.page[HANDED] = 1
    ask = wire.encode_request(5, Ask.TASK_DONE)
    driver.receive(other, ask, ask)
    assert replies(other) == [(5, 0), (5, 1)]


def test_dead_letters():
    driver = Driver(joinable=True, max_deliveries=1)
    peer = driver.consumer("ab")
    peer.page[HANDED] = 2
    driver.receive(
        peer,
        wire.encode_return(0, False, "why"),
        wire.encode_return(1, False, "why not"),
        wire.encode_request(5, Ask.DEAD_LETTERS),
    )
    *letters, reply = flush(peer)
    assert [wire.decode_dead(f) for f in letters if isinstance(f, bytes)] == [
        (5, 1, "why", b"a."),
        (5, 1, "why not", b"b."),
    ]
    assert isinstance(reply, bytes)
    assert wire.decode_reply(reply) == (5, 2), "so many to wait for"


def test_a_poll_that_finds_something():
    driver = Driver()
    driver.put("ab")
    peer = driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    assert kinds(peer) == [Kind.ITEMS, Kind.REPLY]
    assert driver.hub.deadline is None
    driver.receive(peer, wire.encode_request(6, Ask.POLL))
    driver.receive(peer, wire.encode_request(7, Ask.POLL))
    assert replies(peer)[-1] == (7, 0) or driver.hub.deadline is not None


def test_a_poll_that_finds_nothing():
    driver = Driver()
    peer = driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    assert replies(peer) == [(5, 0)]


def test_a_poll_takes_back_what_others_have_not_started_on():
    driver = Driver()
    owner, peer = driver.consumer("ab"), driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    assert replies(peer) == []
    owner.waking = False
    driver.tick()
    driver.tick()
    driver.reclaim(owner, wire.encode_items(0, 0, [b"a.", b"b."]))
    assert items(peer) == [b"a."]
    assert driver.hub.store.waiting == 1


def test_what_is_new_does_not_overtake_a_poll():
    driver = Driver()
    owner, peer = driver.consumer("ab"), driver.connect()
    driver.wants(owner, 9, blocked=False)
    new: list[Payload] = [b"c.", b"d."]
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    assert not driver.hub.pass_on(list(new), None)
    driver.hub.store.put_many(new)
    driver.settle()
    assert kinds(peer) == [Kind.ITEMS, Kind.REPLY]
    more: list[Payload] = [b"e.", b"f."]
    assert driver.hub.pass_on(more, None)


def test_a_poll_gives_up_when_others_are_busy():
    driver = Driver()
    driver.consumer("ab")
    peer = driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    for _ in range(3):
        driver.tick()
    assert replies(peer) == [(5, 0)]


def test_a_second_poll_answers_the_first():
    driver = Driver()
    driver.consumer("ab")
    peer = driver.connect()
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    driver.receive(peer, wire.encode_request(6, Ask.POLL))
    assert replies(peer) == [(5, 0)]
    driver.receive(peer, wire.encode_request(6, Ask.CANCEL))
    driver.receive(peer, wire.encode_request(9, Ask.CANCEL))
    assert peer.poll is None
    assert driver.hub._polls == 0


@pytest.mark.parametrize("hindrance", ["stalled", "frozen"])
def test_a_poll_waits_while_nothing_can_be_sent(hindrance):
    driver = Driver()
    driver.put("a")
    peer = driver.connect()
    setattr(peer if hindrance == "stalled" else peer.lane, hindrance, True)
    driver.receive(peer, wire.encode_request(5, Ask.POLL))
    assert replies(peer) == []
    assert driver.hub.deadline is None, "it says when it can be sent something"


def test_who_polls_belongs_to_the_crowd():
    driver = Driver()
    peer = driver.consumer("a")
    driver.put("b")
    poller = driver.connect()
    driver.receive(poller, wire.encode_request(5, Ask.POLL))
    assert items(poller) == [b"b."]
    assert peer.page[ANNOUNCE_WAITS] == poller.page[ANNOUNCE_WAITS] == 1


# Nobody waits while somebody else is busy


def test_from_the_second_consumer_on_peers_say_that_they_are_blocked():
    driver = Driver()
    one, other = driver.connect(), driver.connect()
    driver.wants(one)
    assert not one.page[ANNOUNCE_WAITS]
    driver.wants(other)
    assert one.page[ANNOUNCE_WAITS] == other.page[ANNOUNCE_WAITS] == 1


def test_items_of_a_busy_peer_go_to_one_that_is_blocked():
    driver = Driver()
    busy = driver.consumer("abc")
    busy.waking = False
    busy.page[HANDED] = 1
    idle = driver.connect()
    driver.wants(idle, 9)
    assert driver.hub.deadline == driver.now + PATIENCE
    driver.tick()
    assert not driver.hub.reclaims, "it has handed one out meanwhile"
    driver.tick()
    driver.reclaim(busy)
    assert items(idle) == []
    driver.tick()
    assert items(idle) == [b"b.", b"c."]
    assert driver.hub.deadline is None
    yields(driver, busy)
    assert not busy.lane.frozen


def test_a_recall_is_given_its_time():
    # Even when the hub was about to look at the pages anyway.
    driver = Driver()
    busy = driver.consumer("abc")
    driver.hub.wait_to_get(Waiter())
    driver.settle()
    soon = driver.hub.deadline
    assert soon is not None
    driver.now = soon - PATIENCE / 1000
    driver.hub.shutdown(immediate=True)
    driver.settle()
    driver.reclaim(busy)
    assert driver.hub.dealer.recalls == 1
    assert driver.hub.deadline == driver.now + PATIENCE


def test_who_holds_something_and_knows_what_it_has_says_when_it_is_done():
    driver = Driver(joinable=True)
    peer = driver.consumer("a")
    peer.page[HANDED] = 1
    driver.receive(peer, wire.REPORT)
    driver.hub.wait_to_join(Waiter())
    driver.settle()
    assert peer.lane.holding == 1
    assert driver.hub.deadline is None, "nobody has to look"


@pytest.mark.parametrize("who", ["owner", "peer", "shutdown"])
def test_the_last_thing_that_is_settled_after_a_recall_is_found(who: str):
    """Its consumer thinks that it has more, and gives that back when it settles it."""
    driver = Driver(joinable=True)
    hub, busy = driver.hub, driver.consumer("abc")
    busy.page[HANDED] = 1
    hub.wait_to_get(getter := Waiter())
    driver.settle()
    driver.tick_until_reclaims()
    driver.reclaim(busy)
    driver.tick()
    while hub.finish(stray.seq) if (stray := hub.take()) else False:
        pass
    hub.stop_getting(getter)
    driver.settle()
    assert busy.lane.frozen
    assert hub.store.unfinished == 1
    assert driver.hub.deadline is None, "nobody asks"
    joiner = Waiter()
    if who == "owner":
        hub.wait_to_join(joiner)
        driver.settle()
    elif who == "peer":
        other = driver.connect()
        driver.receive(other, wire.encode_request(1, Ask.JOIN))
    else:
        hub.shutdown(immediate=False)
        driver.settle()
    assert driver.hub.deadline is None, "nobody has to look"
    busy.page[SETTLED] = 1
    yields(driver, busy)
    assert not hub.store.unfinished
    if who == "owner":
        assert joiner.woken
    elif who == "peer":
        assert wire.encode_reply(1, 0) in flush(other)
    else:
        assert driver.state is State.OVER
    assert driver.hub.deadline is None


def test_what_is_handed_out_just_before_a_recall_is_found_when_it_is_settled():
    driver = Driver(joinable=True)
    hub, busy = driver.hub, driver.consumer("ab")
    hub.wait_to_get(getter := Waiter())
    driver.settle()
    driver.tick_until_reclaims()
    driver.reclaim(busy)
    busy.page[HANDED] = 1  # it had looked for an alert before
    driver.tick()
    assert (busy.lane.frozen, busy.lane.in_air, busy.lane.holding) == (True, 1, 0)
    hub.stop_getting(getter)
    stray = hub.take()
    assert stray is not None
    hub.finish(stray.seq)
    hub.wait_to_join(joiner := Waiter())
    driver.settle()
    assert driver.hub.deadline is None, "nobody has to look"
    busy.page[SETTLED] = 1
    yields(driver, busy)
    assert joiner.woken


def test_taking_room_back_is_given_its_time():
    driver = Driver(2)
    assert driver.hub.fits(1)
    idle = driver.connect()
    driver.receive(idle, wire.encode_need(1, 0))
    for _ in range(GRACE):
        driver.hub.tick(driver.now)
        driver.settle()
    driver.consumer("x")
    driver.hub.wait_to_get(Waiter())
    driver.settle()
    soon = driver.hub.deadline
    assert soon is not None
    driver.now = soon - PATIENCE / 1000
    driver.hub.wait_to_put(Waiter())
    driver.settle()
    assert driver.hub.room.revoking
    assert driver.hub.deadline == driver.now + PATIENCE


def test_a_peer_that_is_gone_has_nothing_to_take_back():
    driver = Driver()
    busy = driver.consumer("abc")
    driver.hub.wait_to_get(Waiter())
    driver.settle()
    driver.tick_until_reclaims()
    driver.hub.lost(busy)
    assert not driver.hub.reclaims
    driver.hub.reclaimed(busy, [], driver.now)
    driver.settle()
    assert driver.hub.dealer.available == 2


def test_a_want_during_a_recall_does_not_count():
    driver = Driver()
    busy = driver.consumer("abc")
    driver.hub.wait_to_get(Waiter())
    driver.settle()
    driver.tick_until_reclaims()
    driver.reclaim(busy)
    driver.wants(busy, 50)
    assert busy.lane.credit == 0
    yields(driver, busy)
    driver.wants(busy, 5)
    assert busy.lane.credit


def test_an_idle_hub_is_not_woken():
    driver = Driver(joinable=True)
    driver.consumer("abc")
    idle = driver.connect()
    driver.wants(idle, blocked=False)
    assert driver.hub.deadline is None, "it asks ahead, and is not blocked"
    assert idle.page[ANNOUNCE_WAITS], "it would say so"


# Room


def test_a_producer_is_granted_room():
    driver = Driver(1)
    peer = driver.connect()
    driver.receive(peer, wire.encode_need(3, 0))
    assert kinds(peer) == [Kind.ROOM]
    assert peer.page[ROOM] == 1
    assert peer in driver.hub.dealer.outgoing
    driver.receive(peer, b"a.", wire.encode_need(2, 0))
    assert kinds(peer) == []
    driver.hub.take()
    driver.settle()
    assert peer.page[ROOM] == 2


def test_a_busy_producer_is_granted_room_ahead():
    driver = Driver(20)
    peer = driver.connect()
    driver.receive(peer, wire.encode_need(1, 0))
    assert peer.page[ROOM] == 1
    driver.receive(peer, b"a.")
    assert peer.page[ROOM] == 20, "all that there is"
    driver.receive(peer, b"b.")
    assert driver.hub.fits(1) is False
    driver.hub.take()
    driver.settle()
    assert peer.page[ROOM] == 20, "but no more since the owner puts too"


def test_a_producer_that_asks_for_room_it_has_is_told_so():
    driver = Driver(5)
    peer = driver.connect()
    driver.receive(peer, wire.encode_need(2, 0))
    assert kinds(peer) == [Kind.ROOM]
    driver.receive(peer, wire.encode_need(2, 0))
    assert kinds(peer) == [Kind.ROOM]
    assert not driver.hub.room.line


def test_room_that_is_not_used_is_taken_back_for_who_waits():
    driver = Driver(4)
    assert driver.hub.fits(1)
    idle = driver.connect()
    driver.receive(idle, wire.encode_need(1, 0))
    driver.receive(idle, b"a.")
    assert idle.granted == 2
    for _ in range(3):
        driver.hub.wait_to_put(Waiter())
    assert len(driver.settle()) == 1
    for _ in range(GRACE):
        assert idle.page[ROOM] == 3, "it has asked for room not long ago"
        driver.tick()
    assert idle.page[ROOM] == 1
    idle.page[PUT] = 2
    driver.hub.tick(driver.now)
    assert len(driver.settle()) == 1, "one place is in use"
    assert len(driver.hub.room.line) == 1
    driver.receive(idle, b"b.")
    driver.hub.take()
    assert len(driver.settle()) == 1
    driver.tick()
    assert driver.hub.deadline is None


def test_two_producers_do_not_take_the_same_place_from_each_other_forever():
    driver = Driver(1)
    one, other = driver.connect(), driver.connect()
    driver.receive(one, wire.encode_need(1, 0))
    driver.receive(other, wire.encode_need(1, 0))
    assert one.page[ROOM] == 1
    assert kinds(one) == [Kind.ROOM]
    driver.tick()
    assert one.page[ROOM] == 1
    one.page[PUT] = 1
    driver.receive(one, b"a.")
    driver.hub.take()
    driver.settle()
    assert other.page[ROOM] == 1


def test_a_hand_out_that_makes_room_is_reported():
    driver = Driver(2)
    peer = driver.consumer("ab")
    assert peer.page[ALERT] == 0
    waiter = Waiter()
    driver.hub.wait_to_put(waiter)
    driver.settle()
    assert peer.page[ALERT] == 1
    assert driver.hub.deadline is not None, "one may just have missed the alert"
    driver.tick()
    assert driver.hub.deadline is None
    peer.page[HANDED] = 1
    assert driver.receive(peer, wire.REPORT) == [waiter]
    assert peer.page[ALERT] == 0


def test_a_report_is_asked_for_once():
    """Until it is dealt with each hand-out would be reported, and each be read."""
    driver = Driver(3)
    peer = driver.consumer("abc")
    for number in (1, 2):
        waiter = Waiter()
        driver.hub.wait_to_put(waiter)
        driver.settle()
        assert peer.page[ALERT] == number, "the next one; not one that was reported"
        peer.page[HANDED] = number
        driver.hub.receive(peer, wire.REPORT)
        assert peer.page[ALERT] == 0
        assert driver.settle() == [waiter]
        driver.hub.put(b"x.")
        driver.hub.stop_putting(waiter)
        driver.settle()


def test_what_is_delivered_again_comes_on_top():
    driver = Driver(1, joinable=True)
    driver.put("a")
    driver.hub.take()
    driver.put("b")
    driver.hub.fail(0, "it rained")
    driver.settle()
    assert driver.hub.qsize() == 2
    peer = driver.connect()
    driver.wants(peer, 9)
    assert items(peer) == [b"a.", b"b."]
    driver.settle()


# Shutting down


def test_a_peer_can_shut_the_queue_down():
    driver = Driver(1)
    driver.put("a")
    peer, other = driver.connect(), driver.connect()
    driver.receive(other, wire.encode_need(1, 0))
    driver.receive(peer, wire.encode_flag(Kind.SHUTDOWN, 0))
    assert driver.state == State.SHUT
    assert kinds(other) == [Kind.END]
    driver.receive(peer, wire.encode_need(1, 0))
    assert kinds(peer) == [Kind.END]
    driver.receive(peer, wire.encode_flag(Kind.SHUTDOWN, 1))
    assert driver.state == State.OVER


def test_getters_end_when_nothing_is_left():
    driver = Driver()
    one, other = driver.consumer("ab"), driver.connect()
    driver.wants(other)
    driver.hub.shutdown(immediate=False)
    driver.settle()
    assert kinds(other) == []
    one.page[HANDED] = 2
    driver.receive(one, wire.REPORT)
    assert kinds(other) == [Kind.END]
    assert other.lane.credit == 0
    assert driver.state == State.OVER
    driver.wants(other)
    assert kinds(other) == [Kind.END], "each time"


def test_the_last_hand_out_before_the_end_is_reported():
    # Nothing else would tell the hub, when the peer goes on waiting.
    driver = Driver()
    peer = driver.connect()
    driver.wants(peer, 64)
    driver.put("abc")
    driver.receive(peer, wire.encode_bounce(2))
    assert peer.page[ALERT] == 0
    driver.hub.take()
    driver.hub.shutdown(immediate=False)
    driver.settle()
    assert peer.page[ALERT] == 2
    driver.tick()
    assert driver.hub.deadline is None
    peer.page[HANDED] = 2
    driver.receive(peer, wire.REPORT)
    assert driver.state == State.OVER


def test_the_end_waits_for_puts_that_were_begun():
    driver = Driver()
    producer, peer = driver.connect(), driver.connect()
    driver.wants(peer, blocked=False)
    producer.page[PUT] = 1
    driver.hub.shutdown(immediate=False)
    driver.settle()
    assert driver.state == State.SHUT
    driver.tick()
    assert kinds(peer) == []
    producer.page[PUT] = 0  # it could not be sent; nothing will tell
    driver.tick()
    assert kinds(peer) == [Kind.END]
    assert driver.hub.deadline is None


def test_a_put_that_is_given_up_while_the_hub_looks_holds_nobody_up():
    driver = Driver()
    producer, peer = driver.connect(), driver.connect()
    driver.wants(peer)
    producer.page = producer.lane.page = Flickering()
    driver.hub.shutdown(immediate=False)
    driver.settle()
    assert driver.state == State.SHUT
    driver.tick()
    assert kinds(peer) == [Kind.END]


class Flickering(list[int]):
    """A page in which a put is begun, and given up when it has been looked at."""

    def __init__(self) -> None:
        super().__init__(new_page())
        self.looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += index == PUT
        return self.looks == 1 if index == PUT else super().__getitem__(index)


def test_lingering_getters_wait_for_what_may_fail():
    driver = Driver(joinable=True)
    busy, peer = driver.consumer("a"), driver.connect()
    busy.page[HANDED] = 1
    driver.receive(busy, wire.REPORT)
    waiter, plain = Waiter(linger=True), Waiter()
    driver.hub.wait_to_get(waiter)
    driver.hub.wait_to_get(plain)
    driver.wants(peer, linger=True)
    driver.hub.shutdown(immediate=False)
    assert driver.settle() == [plain]
    assert driver.state == State.DRAINED
    assert kinds(peer) == []
    driver.receive(busy, wire.encode_return(0, False, "it rained"))
    assert driver.state == State.SHUT
    assert waiter.woken
    driver.hub.stop_getting(waiter)
    driver.hub.take()
    assert driver.settle() == []
    driver.hub.finish(0)
    driver.settle()
    assert driver.state == State.OVER
    assert kinds(peer) == [Kind.END]


def test_who_holds_something_itself_does_not_linger():
    driver = Driver(joinable=True)
    peer = driver.consumer("a")
    peer.page[HANDED] = 1
    driver.wants(peer, linger=True)
    driver.put("b")
    driver.hub.take()
    waiter = Waiter(linger=True)
    driver.hub.wait_to_get(waiter)
    driver.hub.shutdown(immediate=False)
    driver.settle()
    assert waiter.woken or waiter.ended or driver.state == State.SHUT


def test_an_immediate_shutdown_takes_back_what_was_not_started_on():
    driver = Driver(joinable=True)
    driver.put("z")
    peer = driver.consumer("ab")
    driver.hub.shutdown(immediate=True)
    driver.settle()
    driver.reclaim(peer)
    driver.tick()
    yields(driver, peer)
    assert driver.hub.store.unfinished == 0
    assert driver.state == State.OVER


def test_one_whose_credit_was_taken_back_is_told_of_the_end():
    driver = Driver()
    peer = driver.consumer("ab")
    driver.hub.shutdown(immediate=True)
    driver.settle()
    driver.reclaim(peer, *flush(peer))
    driver.settle()
    driver.tick()
    assert driver.state == State.OVER
    assert kinds(peer) == [Kind.END, Kind.VOID], "it may have asked again meanwhile"
    driver.settle()
    assert kinds(peer) == [], "once"


def test_an_immediate_end_does_not_wait_for_one_who_may_be_taking_back():
    # It announced a hand-out just as it was asked for what it has, and then it may
    # work for long on that item before it says so.
    driver = Driver()
    busy, other = driver.consumer("ab"), driver.connect()
    driver.wants(other, linger=True)
    flush(busy)
    busy.page[HANDED] = 1
    driver.hub.shutdown(immediate=True)
    driver.settle()
    driver.reclaim(busy)
    busy.page[HANDED] = 2
    driver.tick()
    assert driver.hub.dealer.flying == 1
    assert kinds(other) == [Kind.END]
    driver.wants(other)
    assert kinds(other) == [Kind.END], "each time"


def test_after_an_immediate_end_it_is_seen_what_becomes_of_puts_that_were_begun():
    driver = Driver()
    producer = driver.connect()
    producer.page[PUT] = 1
    driver.hub.shutdown(immediate=True)
    driver.settle()
    assert (driver.state, driver.hub.page[BEGUN]) == (State.OVER, 1)
    producer.page[PUT] = 0  # it could not be sent; nothing will tell
    driver.tick()
    assert driver.hub.page[BEGUN] == 0
    assert driver.hub.deadline is None


# The death of a peer


def test_what_a_dead_peer_leaves():
    driver = Driver(5, joinable=True)
    peer = driver.consumer("abc")
    peer.page[HANDED], peer.page[SETTLED] = 2, 1
    driver.receive(
        peer,
        wire.encode_request(5, Ask.JOIN),
        wire.encode_request(6, Ask.POLL),
        wire.encode_need(2, 0),
    )
    waiter = Waiter()
    driver.hub.wait_to_join(waiter)
    driver.hub.lost(peer)
    assert driver.settle() == []
    assert not driver.hub.peer_joins
    assert driver.hub._polls == 0
    assert driver.hub.room.granted == 0
    assert driver.hub.deaths == 1
    assert driver.hub.qsize() == 2
    driver.hub.lost(peer)
    assert driver.hub.deaths == 1
    for seq in (1, 2):
        driver.hub.take()
        driver.hub.finish(seq)
    assert driver.settle() == [waiter]


def test_an_item_that_kills_its_consumers_ends_as_a_dead_letter():
    driver = Driver(joinable=True, max_deliveries=2)
    for _ in range(2):
        peer = driver.connect()
        driver.wants(peer)
        if not driver.hub.store.tail:
            driver.put("a")
        peer.page[HANDED] = peer.lane.sent
        driver.hub.lost(peer)
        driver.settle()
    (record,) = driver.hub.news()
    assert record.attempts == 2
    assert record.reason == "its consumer, process 7, is gone"
    assert driver.hub.store.unfinished == 0


@pytest.mark.parametrize(
    "harm",
    [
        lambda hub: hub.joiners.append(Waiter()),
        lambda hub: hub.put(b"one too many"),
        lambda hub: (hub.shutdown(immediate=True), hub.room.line.append(Waiter())),
    ],
)
def test_invariants_are_checked(harm):
    hub = Driver(1).hub
    hub.put(b"a.")
    hub.take()
    hub.put(b"b.")
    hub.check_invariants()
    if harm.__code__.co_names[0] == "joiners":
        hub.take()
    harm(hub)
    with pytest.raises(AssertionError):
        hub.check_invariants()
