"""Who of a process holds which items."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.machines import holdings as module
from aioprocq.machines.holdings import Holdings


def make(*holders: str | None) -> Holdings:
    """Holdings of items 0, 1, …"""
    holdings = Holdings()
    for index, holder in enumerate(holders):
        holdings.hold(index, holder)
    holdings.check_invariants()
    return holdings


def test_nothing_is_held():
    holdings = make()
    assert not holdings
    assert holdings.choose("a") is None
    assert holdings.latest("a") is None
    assert holdings.drop_first("a") is None
    assert not holdings.drop(0)
    assert holdings.prefix(7) == 7


def test_what_is_held():
    holdings = make("a", "b")
    assert len(holdings) == 2
    assert 1 in holdings
    assert 2 not in holdings


def test_task_done_settles_what_its_holder_got_first():
    holdings = make("a", "b", "a", "b")
    assert holdings.choose("a") == 0
    assert holdings.choose("b") == 1
    assert holdings.latest("b") == 3


def test_task_done_of_somebody_else_settles_the_oldest():
    assert make("a", "b").choose("c") == 0


def test_task_done_never_settles_a_delivery():
    holdings = make(None, None)
    assert holdings.choose("a") is None
    assert holdings.drop_first("a") is None
    holdings.hold(2, "b")
    assert holdings.choose("a") == 2
    assert holdings.drop_first("a") == 2
    assert len(holdings) == 2


def test_which_are_deliveries():
    assert make("a", None, "b", None).deliveries() == {1, 3}
    assert make("a", "a").deliveries() == set()


def test_dropping():
    holdings = make("a", "a", None, "a")
    assert holdings.drop(1)
    assert not holdings.drop(1)
    assert holdings.drop(2)
    assert holdings.drop(0)
    holdings.check_invariants()
    assert holdings.choose("a") == holdings.latest("a") == 3
    assert holdings.drop(3)
    assert holdings.choose("a") is None
    assert not holdings


def test_dropping_the_first():
    holdings = make("a", "b", "a")
    assert [holdings.drop_first("a") for _ in range(4)] == [0, 2, 1, None]
    holdings.check_invariants()


def test_the_prefix_is_the_first_that_is_held():
    holdings = make("a", None, "a")
    assert holdings.prefix(3) == 0
    holdings.drop(1)
    assert holdings.prefix(3) == 0
    holdings.drop(0)
    assert holdings.prefix(3) == 2
    holdings.drop(2)
    assert holdings.prefix(3) == 3


@pytest.mark.parametrize("how", ["drop", "drop_first"])
def test_holders_that_come_and_go_are_forgotten(monkeypatch, how):
    monkeypatch.setattr(module, "_MOST_IDLE", 4)
    holdings = Holdings()
    for index in range(50):
        holdings.hold(index, f"task {index}")
        holdings.drop(index) if how == "drop" else holdings.drop_first(f"task {index}")
        assert len(holdings._by_holder) <= 5
    holdings.check_invariants()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40))
def test_against_a_list(steps):
    holdings, model, index = Holdings(), dict[int, int | None](), 0
    for kind, number in steps:
        if kind == 0:
            holder = number % 3 or None
            holdings.hold(index, holder)
            model[index] = holder
            index += 1
        elif kind == 1:
            assert holdings.drop(number) == (number in model)
            model.pop(number, None)
        else:
            holder = number % 3 + 1
            mine = [i for i, h in model.items() if h == holder]
            others = [i for i, h in model.items() if h is not None]
            first = min(mine or others, default=None)
            assert holdings.choose(holder) == first
            assert holdings.latest(holder) == max(mine, default=None)
            if kind == 3:
                assert holdings.drop_first(holder) == first
                model.pop(-1 if first is None else first, None)
        holdings.check_invariants()
        assert len(holdings) == len(model)
        assert holdings.prefix(index) == min(model, default=index)
