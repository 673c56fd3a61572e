from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aioprocq.machines.recycling import Shelf, ShelfStatistics, capacity_for

KIB = 1024


def shelf(**changes: int) -> Shelf:
    given = {"most": 3, "most_bytes": 1000 * KIB, "patience": 10}
    return Shelf(**{**given, **changes})


def admitted(shelf: Shelf, capacity: int) -> int:
    shelf.begin()
    return shelf.admit(capacity)


@pytest.mark.parametrize(
    ("size", "capacity"),
    [
        (1, 65536),
        (65536, 65536),
        (65537, 73728),
        (1 << 20, 1 << 20),
        ((1 << 20) + 192, (1 << 20) + (1 << 17)),
    ],
)
def test_a_capacity_leaves_an_eighth_at_most(size: int, capacity: int) -> None:
    assert capacity_for(size) == capacity


@pytest.mark.parametrize("size", [*range(60_000, 200_000, 777), 10**9 + 7])
def test_a_capacity_is_enough_and_not_too_much(size: int) -> None:
    assert size <= capacity_for(size) <= max(65536, size + size // 8 + 1)


def test_what_is_lent_is_not_lent_again_before_it_came_back() -> None:
    one = shelf()
    number = admitted(one, 100 * KIB)
    assert one.suspects(100 * KIB) == [number]
    assert one.lend(100 * KIB) is None
    one.came_back(number)
    assert one.suspects(100 * KIB) == []
    assert one.lend(100 * KIB) == number
    assert one.lend(100 * KIB) is None
    assert one.statistics() == ShelfStatistics(
        idle=0, lent=1, kept_bytes=100 * KIB, loans=1, reused=1
    )


def test_suspects_are_those_of_the_right_size_the_longest_lent_first() -> None:
    one = shelf(most=4)
    numbers = [admitted(one, size * KIB) for size in (200, 64, 150, 400)]
    assert one.suspects(100 * KIB) == [numbers[0], numbers[2], numbers[3]]
    assert one.suspects(90 * KIB) == [numbers[0], numbers[2]], "400 KiB is too much"
    assert one.suspects(KIB) == [numbers[1]]
    assert one.suspects() == numbers
    one.came_back(numbers[0])
    assert one.lend(200 * KIB) == numbers[0]
    assert one.suspects() == [*numbers[1:], numbers[0]]


def test_the_smallest_that_is_large_enough_is_lent_and_of_those_the_last_used() -> None:
    one = shelf(most=4)
    numbers = [admitted(one, size * KIB) for size in (200, 150, 150)]
    for number in numbers:
        one.came_back(number)
    assert [one.lend(100 * KIB) for _ in range(4)] == [numbers[2], numbers[1], 0, None]


def test_idle_ones_make_room_and_lent_ones_do_not() -> None:
    one = shelf()
    numbers = [admitted(one, 300 * KIB) for _ in range(3)]
    assert not one.has_room(KIB)
    with pytest.raises(ValueError, match="no room"):
        one.admit(KIB)
    one.came_back(numbers[1])
    assert one.has_room(400 * KIB)
    assert not one.has_room(401 * KIB)
    assert one.admit(400 * KIB) == 3
    assert one.given_up == [numbers[1]]
    one.check_invariants()


def test_what_does_not_fit_at_all_has_no_room() -> None:
    assert not shelf().has_room(1001 * KIB)


def test_what_is_not_used_for_long_is_given_up() -> None:
    one = shelf()
    held, idle, used = (admitted(one, 100 * KIB) for _ in range(3))
    one.came_back(idle)
    for _ in range(10):
        one.begin()
        one.came_back(used)
        one.lend(100 * KIB)
        one.came_back(idle) if idle in one.suspects() else None
    assert held in one.given_up
    one.check_invariants()


def test_everything_can_be_given_up() -> None:
    one = shelf()
    numbers = [admitted(one, 100 * KIB) for _ in range(3)]
    one.give_up_all()
    assert one.given_up == numbers
    assert repr(one) == "<shelf idle=0 lent=0 bytes=0 reused=0/3>"


class AnyUse(RuleBasedStateMachine):
    """Items that are put, held, and let go in any order, by a model of the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf = shelf(patience=6)
        self.visible: dict[int, int] = {}  # holders of what was written, by number
        self.capacities: dict[int, int] = {}

    def find(self, suspects: list[int]) -> bool:
        for number in suspects:
            if not self.visible[number]:
                self.shelf.came_back(number)
                return True
        return False

    @rule(size=st.integers(1, 1200 * KIB), holders=st.integers(1, 3))
    def put(self, size: int, holders: int) -> None:
        one = self.shelf
        one.begin()
        number = one.lend(size)
        if number is None and self.find(one.suspects(size)):
            number = one.lend(size)
        if number is None:
            capacity = capacity_for(size)
            while not one.has_room(capacity) and self.find(one.suspects()):
                pass
            if not one.has_room(capacity):
                return
            number = one.admit(capacity)
            assert number not in self.visible, "a number was used again"
            self.capacities[number] = capacity
            self.visible[number] = 0
        assert not self.visible[number], "it was lent while somebody could see it"
        assert self.capacities[number] >= size
        self.visible[number] = holders

    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        held = sorted(number for number, count in self.visible.items() if count)
        if held:
            self.visible[data.draw(st.sampled_from(held))] -= 1

    @rule(data=st.data())
    def be_held_by_one_more(self, data: st.DataObject) -> None:
        held = sorted(number for number, count in self.visible.items() if count)
        if held:
            self.visible[data.draw(st.sampled_from(held))] += 1

    @rule()
    def look_at_all(self) -> None:
        while self.find(self.shelf.suspects()):
            pass

    @rule()
    def run_out_of_something(self) -> None:
        self.shelf.give_up_all()

    @invariant()
    def holds(self) -> None:
        self.shelf.check_invariants()
        figures = self.shelf.statistics()
        assert figures.reused <= figures.loans
        assert figures.idle + figures.lent <= self.shelf.most


TestAnyUse = AnyUse.TestCase
