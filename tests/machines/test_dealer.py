"""Who gets the waiting items, and what is taken back from whom."""

from collections.abc import Callable

import pytest

from aioprocq.machines.dealer import Dealer
from aioprocq.machines.lane import Lane
from aioprocq.machines.record import DeadRecord, Loaded, PeerRecord, Waiter
from aioprocq.machines.store import Store
from aioprocq.wire.frames import (
    BATCH_ITEMS,
    Kind,
    decode_dead,
    decode_flag,
    decode_items,
    decode_number,
    decode_parcel,
    encode_reply,
)
from aioprocq.wire.page import (
    ALERT,
    ANNOUNCE_WAITS,
    EPOCH,
    HANDED,
    RECALLED,
    RETURNS,
    SETTLED,
    WAITS,
    new_page,
)
from aioprocq.wire.payload import Descriptor, Parcel, Payload


def make_dealer(*payloads: Payload, joinable: bool = False) -> Dealer:
    dealer = Dealer(Store(joinable=joinable, max_deliveries=3, sized=False))
    dealer.store.put_many(payloads)
    return dealer


def join(dealer: Dealer, want: int = 0, *, blocked: bool = False) -> PeerRecord:
    """A peer that wants so many items."""
    page = new_page()
    peer = PeerRecord(1, page, Lane(page, joinable=dealer.store.joinable))
    dealer.peers[peer] = None
    wants(dealer, peer, want, blocked=blocked)
    return peer


def wants(
    dealer: Dealer, peer: PeerRecord, want: int, *, blocked: bool = False
) -> None:
    peer.lane.want = peer.lane.sent + want
    if blocked:
        dealer.promote(peer)
    else:
        dealer.enlist(peer)


def hands_out(dealer: Dealer, peer: PeerRecord, index: int) -> int:
    peer.page[HANDED] = index
    return dealer.absorb(peer)


def sent(peer: PeerRecord) -> list[list[bytes]]:
    """The batches in a peer's outbox."""
    frames = (frame for frame in peer.outbox if isinstance(frame, bytes))
    return [list(decode_items(f).payloads) for f in frames if f[-1] == Kind.ITEMS]


def deliver(peer: PeerRecord) -> list[bytes]:
    """Empty a peer's outbox: the frames."""
    frames = [frame for frame in peer.outbox if isinstance(frame, bytes)]
    peer.outbox.clear()
    return frames


def parcel(name: bytes = b"big") -> Parcel:
    return Parcel(b"\0" + name, (Descriptor(-1), Descriptor(-1)), 99)


# Dealing


def test_without_wanting_nothing_is_sent():
    dealer = make_dealer(b"a.")
    peer = join(dealer)
    dealer.deal()
    assert not peer.outbox
    dealer.check_invariants()


def test_items_are_sent_against_credit():
    dealer = make_dealer(b"a.", b"b.", b"c.")
    peer = join(dealer, 2)
    dealer.deal()
    assert sent(peer) == [[b"a.", b"b."]]
    assert dealer.flying == 2
    assert dealer.available == 1
    assert list(dealer.outgoing) == [peer]
    assert not peer.listed
    dealer.check_invariants()


def test_what_waits_is_shared():
    dealer = make_dealer(*[b"x."] * 10)
    peers = [join(dealer, 99) for _ in range(3)]
    dealer.deal()
    batches = [list(map(len, sent(peer))) for peer in peers]
    assert batches == [[4], [3], [3]]
    dealer.check_invariants()


def test_each_in_its_turn():
    dealer = make_dealer()
    peers = [join(dealer, 9) for _ in range(2)]
    for letter in (b"a.", b"b.", b"c."):
        dealer.store.put(letter)
        dealer.deal()
    assert [sent(peer) for peer in peers] == [[[b"a."], [b"c."]], [[b"b."]]]


def test_those_who_are_blocked_come_before_those_who_ask_ahead():
    dealer = make_dealer(b"a.")
    ahead, blocked = join(dealer, 9), join(dealer, 9, blocked=True)
    dealer.deal()
    assert sent(blocked) == [[b"a."]]
    assert not sent(ahead)
    dealer.check_invariants()


def test_a_peer_that_asked_ahead_can_become_blocked():
    dealer = make_dealer()
    one, other = join(dealer, 9), join(dealer, 9)
    dealer.promote(other)
    dealer.promote(other)
    assert list(dealer.blocked) == [other]
    assert list(dealer.ahead) == [one]
    dealer.check_invariants()


def test_waiters_of_the_owner_come_first():
    dealer = make_dealer(b"a.", b"b.")
    first, second = Waiter(), Waiter()
    peer = join(dealer, 9, blocked=True)
    dealer.getters.append(first)
    dealer.deal()
    assert dealer.woken == [first]
    assert first.woken
    assert dealer.reserved == 1
    assert sent(peer) == [[b"b."]] or sent(peer) == [[b"a."]]
    dealer.getters.append(second)
    dealer.deal()
    assert not second.woken, "what waits is kept for the first"
    dealer.check_invariants()


@pytest.mark.parametrize("hindrance", ["stalled", "gone"])
def test_a_peer_that_cannot_be_sent_items_loses_its_turn(hindrance):
    dealer = make_dealer(b"a.")
    peer, other = join(dealer, 9), join(dealer, 9)
    setattr(peer, hindrance, True)
    dealer.deal()
    assert not sent(peer)
    assert sent(other) == [[b"a."]]
    assert not peer.listed
    dealer.enlist(peer)
    assert not peer.listed


def test_a_peer_stands_in_line_once():
    dealer = make_dealer()
    peer = join(dealer, 9)
    dealer.enlist(peer)
    assert list(dealer.ahead) == [peer]


def test_a_parcel_is_announced():
    big = parcel()
    dealer = make_dealer(b"a.", big, b"b.")
    peer = join(dealer, 9)
    dealer.deal()
    items, announce, loaded, more = peer.outbox
    assert isinstance(announce, bytes)
    assert announce[-1] == Kind.ANNOUNCE
    assert decode_flag(announce) == 2
    assert isinstance(loaded, Loaded)
    assert loaded.descriptors == big.descriptors
    assert decode_parcel(loaded.data) == (1, 0, 99, big.head)
    assert isinstance(items, bytes)
    assert isinstance(more, bytes)
    assert decode_items(items).payloads == [b"a."]
    assert decode_items(more).payloads == [b"b."]
    dealer.check_invariants()


def test_dead_letters():
    dealer = make_dealer()
    peer, big = join(dealer), parcel()
    dealer.post_dead(peer, 7, DeadRecord(b"item", 3, "why"))
    dealer.post_dead(peer, 7, DeadRecord(big, 1, "too big"))
    small, announce, loaded = peer.outbox
    assert isinstance(small, bytes)
    assert decode_dead(small) == (7, 3, "why", b"item")
    assert isinstance(announce, bytes)
    assert decode_flag(announce) == 2
    assert isinstance(loaded, Loaded)
    assert decode_dead(loaded.data) == (7, 1, "too big", big.head)
    assert loaded.descriptors == big.descriptors


# What the pages say


def test_absorbing_in_a_plain_queue():
    dealer = make_dealer(b"a.", b"b.", b"c.")
    peer = join(dealer, 9)
    dealer.deal()
    assert hands_out(dealer, peer, 2) == 4, "handed out, and finished"
    assert dealer.flying == 1
    assert dealer.store.finished == 2
    assert hands_out(dealer, peer, 2) == 0
    dealer.check_invariants()


def test_absorbing_in_a_joinable_queue():
    dealer = make_dealer(b"a.", b"b.", b"c.", joinable=True)
    peer = join(dealer, 9)
    dealer.deal()
    assert hands_out(dealer, peer, 2) == 2
    assert dealer.store.finished == 0
    peer.page[SETTLED] = 1
    assert dealer.absorb(peer) == 1
    assert dealer.store.finished == 1
    dealer.check_invariants()


def test_bytes_are_free_when_they_are_handed_out():
    dealer = Dealer(Store(joinable=False, max_deliveries=1, sized=True))
    dealer.store.put_many([b"1", b"22"])
    page = new_page()
    peer = PeerRecord(1, page, Lane(page, joinable=False, sized=True))
    dealer.peers[peer] = None
    wants(dealer, peer, 9)
    dealer.deal()
    assert dealer.store.size == 3
    hands_out(dealer, peer, 1)
    assert dealer.store.size == 2
    hands_out(dealer, peer, 2)
    assert dealer.store.size == 0


# From the second consumer on


def test_a_single_consumer_need_not_say_that_it_is_blocked():
    dealer = make_dealer()
    peer = join(dealer, 1)
    dealer.crowd(join(dealer))
    assert not peer.page[ANNOUNCE_WAITS]


def test_a_crowd_says_when_it_is_blocked():
    dealer = make_dealer(b"a.")
    one = join(dealer, 2)
    dealer.deal()
    assert one.lane.in_air == 1
    other = join(dealer, 1, blocked=True)
    dealer.crowd(other)
    assert one.page[ANNOUNCE_WAITS] == other.page[ANNOUNCE_WAITS] == 1
    # It may have been blocked all along, even for more than is on its way.
    assert list(dealer.blocked) == [other, one]
    dealer.crowd(one)
    assert list(dealer.blocked) == [other, one], "they are told once"
    dealer.check_invariants()


# Whose turn it is


def waits_in_its_page(dealer: Dealer, *, want: int = 3) -> PeerRecord:
    peer = join(dealer, want)
    peer.page[WAITS] = 1
    return peer


def test_who_has_just_begun_to_wait_comes_first():
    dealer = make_dealer()
    join(dealer, 3, blocked=True)
    waits_in_its_page(dealer)
    last = waits_in_its_page(dealer)
    busy = join(dealer, 3)
    dealer.store.put(b"a.")
    dealer.deal()
    assert sent(last) == [[b"a."]]
    assert sent(busy) == []
    dealer.check_invariants()


def test_who_has_something_else_in_hand_does_not():
    dealer = make_dealer(b"held", joinable=True)
    other = waits_in_its_page(dealer, want=4)
    dealer.deal()
    other.page[HANDED] = 1
    blocked = join(dealer, 3, blocked=True)
    dealer.store.put(b"a.")
    dealer.deal()
    assert sent(blocked) == [[b"a."]]
    other.page[SETTLED] = 1
    dealer.store.put(b"b.")
    dealer.deal()
    assert sent(other) == [[b"held"], [b"b."]]


def test_who_has_not_read_what_it_was_sent_does_not():
    dealer = make_dealer(b"a.")
    first = waits_in_its_page(dealer)
    dealer.deal()
    second = join(dealer, 3, blocked=True)
    dealer.store.put(b"b.")
    dealer.deal()
    assert sent(first) == [[b"a."]]
    assert sent(second) == [[b"b."]]


# Passing on


NEW: list[Payload] = [b"a.", b"b."]


def test_what_is_new_goes_to_the_only_one_that_wants_it():
    dealer = make_dealer()
    peer = join(dealer, 3)
    assert dealer.pass_on(list(NEW), [2, 2])
    assert sent(peer) == [NEW]
    assert (dealer.flying, dealer.store.tail, peer.lane.credit) == (2, 2, 1)
    assert dealer.store.average == 2
    assert list(dealer.ahead) == [peer], "it takes one more"
    dealer.store.put(b"c.")
    dealer.deal()
    assert sent(peer) == [NEW, [b"c."]]
    assert decode_items(peer.outbox[1]).start == 2  # type: ignore[arg-type]
    assert not peer.listed
    dealer.check_invariants()


def test_who_takes_no_more_leaves_the_line():
    dealer = make_dealer()
    peer = join(dealer, 2)
    assert dealer.pass_on(list(NEW), None)
    assert not peer.listed
    assert not dealer.ahead
    dealer.check_invariants()


@pytest.mark.parametrize("want", [2, 9])
def test_who_is_blocked_is_not_when_something_new_was_passed_on(want: int):
    dealer = make_dealer()
    peer = join(dealer, want, blocked=True)
    assert dealer.pass_on(list(NEW), None)
    assert not peer.blocked
    assert not dealer.blocked
    assert peer.waking, "it will read as soon as it runs"
    assert list(dealer.ahead) == ([peer] if want > 2 else [])
    dealer.check_invariants()


def with_credit_for_one(dealer: Dealer) -> None:
    join(dealer, 1)


def with_two(dealer: Dealer) -> None:
    join(dealer, 9)
    join(dealer, 9, blocked=True)


def with_a_getter(dealer: Dealer) -> None:
    join(dealer, 9)
    dealer.getters.append(Waiter())


def with_a_getter_that_was_woken_and_robbed(dealer: Dealer) -> None:
    dealer.getters.append(Waiter())
    dealer.store.put(b"x.")
    dealer.deal()
    assert dealer.store.take() is not None
    join(dealer, 9)


def with_something_that_waits(dealer: Dealer) -> None:
    join(dealer, 9)
    dealer.store.put(b"x.")


def with_something_that_came_back(dealer: Dealer) -> None:
    dealer.store.put(b"x.")
    stray = dealer.store.take()
    assert stray is not None
    join(dealer, 9)
    dealer.store.restore(stray)


def when_all_is_discarded(dealer: Dealer) -> None:
    join(dealer, 9)
    dealer.store.discard()


def with_a_full_lane(dealer: Dealer) -> None:
    join(dealer, 9).stalled = True


def with_a_recall(dealer: Dealer) -> None:
    join(dealer, 9).lane.frozen = True


def with_nobody(dealer: Dealer) -> None:
    pass


@pytest.mark.parametrize(
    "case",
    [
        with_nobody,
        with_credit_for_one,
        with_two,
        with_a_getter,
        with_a_getter_that_was_woken_and_robbed,
        with_something_that_waits,
        with_something_that_came_back,
        when_all_is_discarded,
        with_a_full_lane,
        with_a_recall,
    ],
)
def test_otherwise_it_has_to_be_put(case: Callable[[Dealer], None]):
    dealer = make_dealer()
    case(dealer)
    tail = dealer.store.tail
    assert not dealer.pass_on(list(NEW), None)
    assert not any(peer.outbox for peer in dealer.peers)
    assert (dealer.flying, dealer.store.tail) == (0, tail)


@pytest.mark.parametrize(
    "payloads",
    [
        [b"alone."],
        [parcel(), b"a."],
        [b"." * 30_000, b"." * 30_000],
        [b"."] * (BATCH_ITEMS + 1),
    ],
    ids=["one", "a parcel", "too long", "too many"],
)
def test_what_is_no_batch_has_to_be_put(payloads: list[Payload]):
    dealer = make_dealer()
    peer = join(dealer, 9999)
    assert not dealer.pass_on(payloads, None)
    assert not peer.outbox
    assert list(dealer.ahead) == [peer]


def test_in_a_queue_that_counts_bytes_nothing_is_passed_on():
    dealer = Dealer(Store(joinable=False, max_deliveries=1, sized=True))
    join(dealer, 9)
    assert not dealer.pass_on(list(NEW), None)


def test_what_was_passed_on_comes_back_in_order():
    dealer = make_dealer()
    peer = join(dealer, 5)
    dealer.pass_on(list(NEW), None)
    dealer.pass_on([b"c.", b"d."], [2, 2])
    hands_out(dealer, peer, 1)
    dealer.lost(peer, "it died")
    dealer.store.put(b"e.")
    taken = [stray.payload for stray in iter(dealer.store.take, None)]
    assert taken == [b"b.", b"c.", b"d.", b"e."]


@pytest.mark.parametrize(
    ("wanted", "count", "enough"),
    [([], 1, False), ([1], 1, True), ([1], 2, False), ([1, 1], 9, True)],
)
def test_how_much_is_wanted(wanted: list[int], count: int, enough: bool):
    dealer = make_dealer()
    for at, want in enumerate(wanted):
        join(dealer, want, blocked=at > 0)
    assert dealer.wants(count) is enough


# Taking back


def busy(*payloads: Payload, joinable: bool = False) -> tuple[Dealer, PeerRecord]:
    """A dealer that has sent everything to one peer."""
    dealer = make_dealer(*payloads, joinable=joinable)
    peer = join(dealer, 99)
    dealer.deal()
    assert not dealer.available
    return dealer, peer


def test_nobody_starves_while_nobody_waits():
    dealer, _ = busy(b"a.", b"b.")
    assert not dealer.starved()
    assert dealer.starved(polls=True)


def test_a_waiter_of_the_owner_starves_while_a_peer_has_items():
    dealer, _ = busy(b"a.", b"b.")
    dealer.getters.append(Waiter())
    assert dealer.starved()


def test_nobody_starves_while_something_waits():
    dealer, _ = busy(b"a.")
    other = join(dealer, 1, blocked=True)
    assert dealer.starved()
    dealer.store.put(b"b.")
    assert not dealer.starved()
    dealer.deal()
    assert sent(other) == [[b"b."]]


def test_nobody_starves_while_nothing_is_on_its_way():
    dealer, peer = busy(b"a.")
    join(dealer, 1, blocked=True)
    hands_out(dealer, peer, 1)
    assert not dealer.starved()


def test_a_peer_that_cannot_be_sent_items_does_not_starve():
    dealer, _ = busy(b"a.")
    other = join(dealer, 1, blocked=True)
    other.stalled = True
    assert not dealer.starved()


def test_nobody_starves_for_what_is_on_its_way_to_it():
    dealer, peer = busy(b"a.")
    dealer.promote(peer)
    assert not dealer.starved()
    other = join(dealer, 1, blocked=True)
    assert dealer.starved()
    assert peer.open
    dealer.blocked.remove(other)
    other.listed = False
    dealer.victims()
    assert dealer.victims() == []


def test_victims_are_those_who_have_not_handed_out_anything_for_a_while():
    dealer, peer = busy(*[b"x."] * 5)
    join(dealer, 1, blocked=True)
    assert dealer.victims() == []
    assert dealer.victims() == [peer]
    hands_out(dealer, peer, 1)
    assert dealer.victims() == []
    assert dealer.victims() == [peer]
    peer.lane.frozen = True
    assert dealer.victims() == []


def test_who_has_most_is_taken_from_first():
    dealer = make_dealer(*[b"x."] * 5)
    one, other = join(dealer, 2), join(dealer, 3)
    dealer.deal()
    dealer.victims()
    assert dealer.victims() == [other, one]


def test_who_was_blocked_is_given_time_to_read():
    dealer = make_dealer(b"a.", b"b.")
    peer = join(dealer, 2, blocked=True)
    dealer.deal()
    dealer.getters.append(Waiter())
    rounds = 0
    while not dealer.victims():
        rounds += 1
    assert 10 < rounds < 50
    hands_out(dealer, peer, 1)
    dealer.victims()
    assert dealer.victims() == [peer], "it runs, so it is as busy as any"


def test_what_was_not_read_waits_again():
    dealer, peer = busy(b"a.", b"b.")
    lane = deliver(peer)
    dealer.store.put(b"c.")
    dealer.deal()
    assert sent(peer) == [[b"c."]], "another one is still in the outbox"
    dealer.reclaimed(peer, [*lane], recall=True)
    assert dealer.flying == 0
    assert dealer.store.waiting == 3
    (void,) = deliver(peer)
    assert void[-1] == Kind.VOID
    assert decode_number(void) == peer.lane.sent == peer.lane.want == 3
    assert not peer.lane.frozen, "there was nothing that it had read"
    dealer.check_invariants()


def test_what_else_was_in_the_lane_is_sent_again():
    big = parcel()
    dealer = make_dealer(big)
    peer = join(dealer, 99)
    dealer.post(peer, encode_reply(1, 0))
    dealer.deal()
    dealer.post_dead(peer, 2, DeadRecord(parcel(), 1, "why"))
    dealer.post(peer, encode_reply(2, 1))
    frames = list(peer.outbox)
    assert len(frames) == 6
    peer.outbox.clear()
    peer.outbox.append(frames.pop())
    dealer.reclaimed(peer, frames, recall=True)
    assert dealer.store.waiting == 1
    kinds = [f.data[-1] if isinstance(f, Loaded) else f[-1] for f in peer.outbox]
    assert kinds == [Kind.REPLY, Kind.ANNOUNCE, Kind.DEAD, Kind.REPLY, Kind.VOID]
    dealer.check_invariants()


def test_without_a_recall_what_was_read_is_left_alone():
    dealer, peer = busy(b"a.")
    deliver(peer)
    dealer.reclaimed(peer, [], recall=False)
    assert not peer.lane.frozen
    assert peer.lane.in_air == 1


def recalled(*payloads: Payload, joinable: bool = False) -> tuple[Dealer, PeerRecord]:
    """A dealer that takes back from a peer which has read everything."""
    dealer, peer = busy(*payloads, joinable=joinable)
    deliver(peer)
    dealer.reclaimed(peer, [], recall=True)
    deliver(peer)
    return dealer, peer


def test_a_recall():
    dealer, peer = recalled(b"a.", b"b.", b"c.")
    assert (peer.page[EPOCH], peer.page[ALERT], peer.page[RECALLED]) == (1, 1, 0)
    assert peer.lane.frozen
    assert dealer.recalls == 1
    assert dealer.store.waiting == 0, "not before it is certain"
    dealer.check_invariants()
    dealer.verify()
    assert dealer.recalls == 0
    assert dealer.store.waiting == 3
    assert peer.lane.frozen, "until it has yielded"
    dealer.check_invariants()
    dealer.verify()
    dealer.yielded(peer, 1)
    assert not peer.lane.frozen
    assert peer.page[ALERT] == 0
    assert peer.lane.credit == 0
    dealer.check_invariants()


def test_nothing_is_recalled_when_everything_was_handed_out():
    dealer, peer = busy(b"a.")
    deliver(peer)
    peer.page[HANDED] = 1
    dealer.reclaimed(peer, [], recall=True)
    assert not peer.lane.frozen
    assert not dealer.recalls
    assert dealer.flying == 0
    dealer.check_invariants()


def test_what_was_counted_before_the_recall_is_not_to_be_taken_back():
    dealer, peer = busy(b"a.", b"b.")
    deliver(peer)
    peer.page[HANDED] = 1
    dealer.reclaimed(peer, [], recall=True)
    assert peer.page[RECALLED] == 1
    assert dealer.flying == 1


def test_what_is_announced_during_a_recall_is_in_doubt_until_the_peer_yields():
    dealer, peer = recalled(b"a.", b"b.", b"c.")
    peer.page[HANDED] = 1
    dealer.verify()
    assert [stray.seq for stray in dealer.store.returned] == [1, 2]
    assert dealer.flying == 1
    assert hands_out(dealer, peer, 1) == 0
    dealer.check_invariants()
    peer.page[HANDED] = 0
    dealer.yielded(peer, 1)
    assert dealer.store.waiting == 3, "it was taken back"
    dealer.check_invariants()


def test_what_was_handed_out_during_a_recall_counts_when_the_peer_yields():
    dealer, peer = recalled(b"a.", b"b.", b"c.")
    peer.page[HANDED] = 1
    dealer.yielded(peer, 1)
    assert dealer.recalls == 0
    assert dealer.store.finished == 1
    assert dealer.store.waiting == 2
    dealer.check_invariants()


def test_what_was_settled_during_a_recall_is_not_in_doubt():
    dealer, peer = recalled(b"a.", b"b.", joinable=True)
    peer.page[HANDED] = 1
    assert dealer.absorb(peer) == 0
    assert dealer.absorb(peer, 1) == 1
    peer.page[HANDED] = peer.page[SETTLED] = 2
    assert dealer.absorb(peer) == 3
    assert dealer.store.finished == 2
    dealer.check_invariants()


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_yield_of_another_epoch(epoch):
    dealer, peer = recalled(b"a.")
    dealer.yielded(peer, epoch)
    assert peer.lane.frozen


def test_a_yield_that_nobody_has_asked_for():
    dealer, peer = busy(b"a.")
    dealer.yielded(peer, 0)
    assert dealer.flying == 1


def test_a_lane_can_be_emptied_again_during_a_recall():
    dealer, peer = recalled(b"a.")
    dealer.reclaimed(peer, [], recall=True)
    assert peer.page[EPOCH] == 1
    assert dealer.recalls == 1
    dealer.check_invariants()


def test_a_peer_is_sent_nothing_before_it_has_yielded():
    dealer, peer = recalled(b"a.")
    dealer.verify()
    peer.lane.want = 99
    dealer.promote(peer)
    dealer.deal()
    assert dealer.store.waiting == 1
    dealer.yielded(peer, 1)
    wants(dealer, peer, 1, blocked=True)
    dealer.deal()
    assert sent(peer) == [[b"a."]]


def test_a_bounced_item_waits_again_and_all_behind_it():
    dealer, peer = busy(b"a.", b"b.", b"c.")
    deliver(peer)
    dealer.bounced(peer, 1)
    assert [stray.seq for stray in dealer.store.returned] == [1, 2]
    assert dealer.flying == 1
    assert peer.page[RETURNS] == 1
    assert [frame[-1] for frame in deliver(peer)] == [Kind.BOUNCED]
    dealer.check_invariants()


def test_a_bounced_item_that_was_taken_back_already():
    dealer, peer = busy(b"a.")
    dealer.bounced(peer, 7)
    assert dealer.flying == 1
    assert peer.page[RETURNS] == 1, "the peer waits for that"


# The death of a peer


def test_what_a_dead_peer_had_not_started_on_waits_again():
    dealer, peer = busy(b"a.", b"b.", b"c.", joinable=True)
    peer.page[HANDED], peer.page[SETTLED] = 2, 1
    wants(dealer, peer, 5)
    dealer.lost(peer, "it died")
    assert dealer.store.finished == 1
    assert [(s.seq, s.attempts) for s in sorted(dealer.store.returned)] == [
        (1, 1),
        (2, 0),
    ]
    assert peer.gone
    assert not dealer.ahead
    assert not dealer.outgoing
    assert not peer.outbox
    dealer.check_invariants()


def test_a_peer_that_dies_during_a_recall():
    dealer, peer = recalled(b"a.", b"b.", joinable=True)
    peer.page[HANDED] = 1
    dealer.lost(peer, "it died")
    assert dealer.recalls == 0
    assert [(s.seq, s.attempts) for s in sorted(dealer.store.returned)] == [
        (0, 1),
        (1, 0),
    ]
    dealer.check_invariants()


def test_a_blocked_peer_that_dies():
    dealer = make_dealer()
    peer = join(dealer, 1, blocked=True)
    dealer.lost(peer, "it died")
    assert not dealer.blocked


@pytest.mark.parametrize(
    "harm",
    [
        lambda dealer, peer: setattr(dealer, "flying", 7),
        lambda dealer, peer: setattr(dealer, "recalls", 7),
        lambda dealer, peer: setattr(dealer, "reserved", -1),
        lambda dealer, peer: setattr(peer, "listed", False),
        lambda dealer, peer: dealer.blocked.append(peer),
        lambda dealer, peer: dealer.ahead.clear(),
        lambda dealer, peer: (
            dealer.getters.append(Waiter()),
            dealer.store.put(b"x."),
        ),
    ],
)
def test_invariants_are_checked(harm):
    dealer = make_dealer()
    peer = join(dealer, 1)
    dealer.check_invariants()
    harm(dealer, peer)
    with pytest.raises(AssertionError):
        dealer.check_invariants()
