"""Hand-outs of one step each, announced and looked at as with the lock."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from aioprocq.machines.lock_free import MISSING, POSSIBLE, LockFreeRun
from aioprocq.wire.page import ALERT, HANDED, SETTLED, new_page

from .simulation import PausingPage

DEADLINE = 20.0


def run_of(
    items: list[object], *, handed: int = 0, alert: int = 0, mine: bool = False
) -> tuple[LockFreeRun, PausingPage, deque[object]]:
    page, here = PausingPage(), deque(items)
    page[HANDED], page[ALERT] = handed, alert
    caller = threading.get_ident if mine else None
    return LockFreeRun(page, here, handed, alert, caller), page, here


def elsewhere(iterator: Iterator[object]) -> object:
    """What another thread gets."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(next(iterator, MISSING)))
    thread.start()
    thread.join(DEADLINE)
    return found[0]


def test_it_is_possible_where_there_is_one_lock_for_the_interpreter() -> None:
    assert sys.implementation.name == "cpython"
    assert POSSIBLE is getattr(sys, "_is_gil_enabled", lambda: True)()


def test_all_but_the_last_are_handed_out_in_order() -> None:
    run, page, here = run_of([None, "b", MISSING, "d"], handed=7)
    assert next(run.items) is None
    assert page[HANDED] == 8
    assert next(run.items) == "b"
    assert next(run.items) is MISSING
    assert next(run.items, "nothing") == "nothing"
    assert (page[HANDED], list(here)) == (10, ["d"])


@pytest.mark.parametrize("mine", [False, True], ids=["anybody", "one"])
def test_who_is_handed_an_item_has_announced_it_before_it_looks(
    mine: bool,
) -> None:
    run, page, here = run_of(["a", "b", "c"], mine=mine)
    seen: list[tuple[int, int]] = []
    page.before_load[ALERT] = lambda: seen.append((page[HANDED], len(here)))
    assert next(run.items) == "a"
    assert seen == [(1, 3)]


@pytest.mark.parametrize("alert", [0, 3, 1 << 62])
def test_a_new_alert_ends_it_with_one_announcement(alert: int) -> None:
    run, page, here = run_of(["a", "b", "c", "d"], alert=alert)
    assert next(run.items) == "a"
    page[ALERT] = alert + 1
    for _ in range(3):
        assert next(run.items, MISSING) is MISSING
        assert (page[HANDED], len(here)) == (2, 3)
    page[ALERT] = alert
    assert next(run.items, MISSING) is MISSING, "it has ended"


def test_once_closed_it_announces_nothing() -> None:
    run, page, here = run_of(["a", "b", "c"], mine=True)
    run.settle_from(page, 0)
    assert next(run.items) == "a"
    run.close()
    assert run.settling is not None
    assert next(run.items, MISSING) is next(run.settling, MISSING) is MISSING
    assert (page[HANDED], page[SETTLED], list(here)) == (1, 0, ["b", "c"])


def test_only_the_holder_gets_some() -> None:
    run, page, here = run_of(["a", "b", "c"], mine=True)
    assert next(run.items) == "a"
    assert elsewhere(run.items) is MISSING
    assert (page[HANDED], list(here)) == (1, ["b", "c"])
    assert next(run.items, MISSING) is MISSING, "it has ended"


def test_without_a_holder_any_thread_gets_some() -> None:
    run, page, _ = run_of(["a", "b", "c"])
    assert next(run.items) == "a"
    assert elsewhere(run.items) == "b"
    assert page[HANDED] == 2


def test_what_was_handed_out_is_settled_in_order() -> None:
    run, page, _ = run_of(["c", "d", "e", "f"], handed=2, mine=True)
    page[SETTLED] = 1
    run.settle_from(page, 1)  # one item was held before
    assert run.settling is not None
    assert next(run.settling) is True
    assert page[SETTLED] == 2
    assert next(run.items) == "c"
    assert next(run.items) == "d"
    assert elsewhere(run.settling) is True
    assert page[SETTLED] == 3
    assert next(run.settling) is True
    assert next(run.settling, MISSING) is MISSING, "nothing is held"
    assert next(run.items) == "e"
    assert next(run.settling, MISSING) is MISSING, "it has ended"
    assert page[SETTLED] == 4


@pytest.mark.parametrize("alert", [0, 9])
def test_who_settles_hears_of_a_new_alert_and_has_settled_before(alert: int) -> None:
    page = PausingPage()
    page[ALERT] = alert
    here: deque[object] = deque("abc")
    run = LockFreeRun(page, here, 0, alert, threading.get_ident)
    run.settle_from(page, 0)
    assert run.settling is not None
    assert [next(run.items) for _ in range(2)] == ["a", "b"]
    seen = []
    page.before_load[ALERT] = lambda: seen.append(page[SETTLED])
    assert next(run.settling) is True
    assert seen == [1], "first it says so, then it looks"
    page[ALERT] = 1
    assert next(run.settling) is False
    assert page[SETTLED] == 2


def test_the_last_item_is_not_settled() -> None:
    run, page, here = run_of(["a", "b"], mine=True)
    run.settle_from(page, 0)
    assert run.settling is not None
    assert next(run.items) == "a"
    page[HANDED] = 2
    here.pop()
    assert [next(run.settling, MISSING) for _ in range(2)] == [True, MISSING]


def test_each_item_goes_to_one_of_many_threads(
    request: pytest.FixtureRequest,
) -> None:
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-6)
    count, page = 50_000, new_page()
    here: deque[object] = deque(range(count + 1))
    run = LockFreeRun(page, here, 0, 0)
    got: list[list[object]] = [[] for _ in range(4)]

    def take(mine: list[object]) -> None:
        while (item := next(run.items, MISSING)) is not MISSING:
            mine.append(item)

    threads = [threading.Thread(target=take, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(item for mine in got for item in mine) == list(range(count))  # type: ignore[type-var]  # they are numbers
    assert all(mine == sorted(mine) for mine in got)  # type: ignore[type-var]  # likewise
    assert (page[HANDED], list(here)) == (count, [count])


def test_whatever_the_depth_of_the_stack_nothing_is_settled_twice() -> None:
    page, here = new_page(), deque[object](range(1000))
    run = LockFreeRun(page, here, 0, 0, threading.get_ident)
    run.settle_from(page, 0)
    settling = run.settling
    assert settling is not None
    done: list[object] = []

    def deeper() -> None:
        try:
            deeper()
        except RecursionError:
            done.append(next(settling, MISSING))

    for _ in range(50):
        next(run.items)
    for _ in range(20):
        deeper()
    assert 0 < done.count(True) == page[SETTLED]
