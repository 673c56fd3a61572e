"""The account of one down lane."""

from aioprocq.machines.lane import Flight, Lane, Stray
from aioprocq.wire.page import HANDED, SETTLED, new_page
from aioprocq.wire.payload import Payload


def items(text: str) -> list[Payload]:
    return [letter.encode() for letter in text]


def make(*flights: str, joinable: bool = True, sized: bool = False) -> Lane:
    """A lane to which the flights were sent, places as in the queue."""
    lane = Lane(new_page(), joinable=joinable, sized=sized)
    for flight in flights:
        lane.launch(lane.sent, items(flight), 0)
    lane.check_invariants()
    return lane


def handed(lane: Lane, index: int) -> int:
    lane.page[HANDED] = index
    count = lane.absorb()
    lane.check_invariants()
    return count


def settled(lane: Lane, index: int) -> int:
    lane.page[SETTLED] = index
    count = lane.absorb_settled()
    lane.check_invariants()
    return count


def seqs(strays: list[Stray]) -> list[int]:
    return [stray.seq for stray in strays]


def test_a_flight():
    flight = Flight(10, 100, items("abc"), 2)
    assert flight.end == 13
    assert flight.overlap(0, 99) == 3
    assert flight.overlap(11, 12) == 1
    assert flight.overlap(13, 20) == flight.overlap(0, 10) == 0
    assert flight.item(12) == Stray(102, 2, b"c")


def test_credit_is_what_is_wanted_and_not_sent():
    lane = make("ab")
    assert lane.credit == 0
    lane.want = 5
    assert lane.credit == 3


def test_launch_gives_indexes_that_are_never_used_again():
    lane = make()
    assert lane.launch(7, items("ab"), 0) == 0
    assert lane.launch(3, items("c"), 1) == 2
    assert lane.retract(2) == [Stray(3, 1, b"c")]
    assert lane.launch(3, items("c"), 1) == 3
    assert lane.in_air == 3
    lane.check_invariants()


def test_absorbing_what_was_handed_out():
    lane = make("abc", "de")
    assert handed(lane, 0) == 0
    assert handed(lane, 2) == 2
    assert (lane.in_air, lane.holding) == (3, 2)
    assert handed(lane, 4) == 2
    assert handed(lane, 4) == 0
    assert handed(lane, 3) == 0, "it never goes back"
    assert handed(lane, 5) == 1
    assert (lane.in_air, lane.holding) == (0, 5)


def test_no_more_is_handed_out_than_was_sent():
    lane = make("abc")
    assert handed(lane, 1 << 60) == 3


def test_what_a_plain_queue_handed_out_is_gone():
    lane = make("abc", "de", joinable=False)
    assert handed(lane, 4) == 4
    assert (lane.in_air, lane.holding) == (1, 0)
    assert not lane.held
    assert list(lane.unsettled()) == []
    assert lane.oldest() is None


def test_bytes_that_were_handed_out_are_added_up():
    lane = make(sized=True)
    lane.launch(0, [b"1", b"22", b"333"], 0)
    handed(lane, 1)
    assert lane.freed == 1
    handed(lane, 3)
    assert lane.freed == 6


def test_items_that_failed_before_are_counted_apart():
    lane = make("ab")
    lane.launch(2, items("cd"), 1)
    assert lane.in_air_again == 2
    handed(lane, 3)
    assert lane.in_air_again == 1


def test_absorbing_what_was_settled():
    lane = make("abc", "de")
    handed(lane, 4)
    assert settled(lane, 2) == 2
    assert lane.holding == 2
    assert settled(lane, 1) == 0
    assert settled(lane, 9) == 2, "no more than was handed out"
    assert lane.holding == 0
    assert handed(lane, 5) == 1
    assert settled(lane, 5) == 1
    assert not lane.held


def test_resolving_one_out_of_order():
    lane = make("abc", "de")
    handed(lane, 4)
    assert lane.resolve(1) == Stray(1, 0, b"b")
    assert lane.resolve(3) == Stray(3, 0, b"d")
    assert lane.resolve(1) is None, "once"
    assert lane.resolve(4) is None, "not handed out"
    assert lane.resolve(99) is None
    assert lane.holding == 2
    lane.check_invariants()
    assert seqs(list(lane.unsettled())) == [0, 2]
    assert settled(lane, 4) == 2, "what was resolved does not count again"
    assert lane.resolved == set()


def test_what_is_settled_cannot_be_resolved():
    lane = make("abc")
    handed(lane, 3)
    settled(lane, 2)
    assert lane.resolve(1) is None


def test_a_flight_is_remembered_until_all_of_it_is_settled():
    lane = make("abc", "d")
    handed(lane, 4)
    settled(lane, 2)
    assert len(lane.held) == 2
    settled(lane, 3)
    assert len(lane.held) == 1


def test_retracting_a_message_that_was_not_read():
    lane = make("abc", "de", "f")
    assert lane.retract(3) == [Stray(3, 0, b"d"), Stray(4, 0, b"e")]
    assert lane.in_air == 4
    assert lane.retract(3) == []
    assert lane.retract(1) == []
    lane.check_invariants()
    assert handed(lane, 6) == 4, "a gap is not handed out"


def test_retracting_all_that_was_not_handed_out():
    lane = make("abc", "de", "f")
    handed(lane, 1)
    assert seqs(lane.retract_from(0)) == [1, 2, 3, 4, 5]
    assert (lane.in_air, lane.holding) == (0, 1)
    lane.check_invariants()
    assert seqs(list(lane.unsettled())) == [0]
    assert settled(lane, 1) == 1


def test_retracting_from_an_index_on():
    lane = make("abc", "de", "f", joinable=False)
    assert seqs(lane.retract_from(4)) == [4, 5]
    assert lane.in_air == 4
    lane.check_invariants()
    assert lane.retract_from(99) == []
    assert handed(lane, 6) == 4


def test_retracting_where_a_flight_ends():
    lane = make("ab", "cd")
    handed(lane, 2)
    assert seqs(lane.retract_from(2)) == [2, 3]
    assert not lane.air
    lane.check_invariants()


def test_retracting_the_rest_of_a_flight_that_was_begun():
    lane = make("ab", "c")
    handed(lane, 1)
    assert lane.retract_from(1) == [Stray(1, 0, b"b"), Stray(2, 0, b"c")]
    assert [flight.payloads for flight in lane.held] == [[b"a"]]
    lane.check_invariants()


def test_the_oldest_is_the_one_with_the_oldest_place():
    lane = Lane(new_page(), joinable=True)
    lane.launch(7, items("ab"), 0)
    lane.launch(3, items("c"), 1)
    assert lane.oldest() is None
    handed(lane, 3)
    assert lane.oldest() == (3, 2)
    lane.resolve(2)
    assert lane.oldest() == (7, 0)
    settled(lane, 1)
    assert lane.oldest() == (8, 1)
    settled(lane, 3)
    assert lane.oldest() is None


# While a recall is pending


def test_a_frozen_lane_absorbs_nothing():
    lane = make("abc")
    lane.frozen = True
    assert handed(lane, 2) == 0
    assert (lane.in_air, lane.holding) == (3, 0)
    assert lane.thaw() == 2
    assert not lane.frozen
    lane.check_invariants()


def test_a_frozen_lane_absorbs_what_was_settled():
    lane = make("abc")
    handed(lane, 1)
    lane.frozen = True
    lane.page[SETTLED] = 2
    assert handed(lane, 3) == 1, "what is settled is past being taken back"
    assert settled(lane, 2) == 2
    assert (lane.in_air, lane.holding) == (1, 0)


def test_a_frozen_lane_absorbs_what_is_certain():
    lane = make("abc")
    lane.frozen = True
    lane.page[HANDED] = 3
    assert lane.absorb(2) == 2
    assert lane.absorb(99) == 1
    lane.check_invariants()


def test_what_is_certain_is_not_more_than_the_page_says():
    lane = make("abc")
    assert lane.absorb(3) == 0
    lane.frozen = True
    assert lane.absorb(3) == 0
