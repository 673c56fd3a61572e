"""Looking again before sleeping: until something comes, not for long, not in vain."""

from __future__ import annotations

import os
from typing import Any

import pytest

from aioprocq.drivers import spinning
from aioprocq.drivers.spinning import SPIN, Spinner

from .awake import Time

pytestmark = pytest.mark.usefixtures("time")


class Lane:
    """Has something at the look of that number."""

    def __init__(self, comes_at: int) -> None:
        self.comes_at = comes_at
        self.looks = 0

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        assert timeout == 0, "this would be sleeping"
        self.looks += 1
        return [(3, 1)] if self.looks >= self.comes_at else []


NEVER = 1 << 30


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(spinning, "time", clock)
    monkeypatch.setattr(os, "sched_yield", clock.sched_yield)
    monkeypatch.setattr(spinning, "_USEFUL", True)
    return clock


def spin(spinner: Spinner, lane: Any) -> list[int]:
    return spinner.spin(lane)


def waits_until_due(spinner: Spinner) -> int:
    waits = 1
    while not spinner.is_due():
        waits += 1
    return waits


def test_it_ends_with_the_first_look_that_finds_something() -> None:
    spinner, lane = Spinner(), Lane(comes_at=3)
    assert spinner.is_due()
    assert spin(spinner, lane) == [3]
    assert lane.looks == 3
    assert spinner.is_due()


def test_what_is_looked_for_may_be_anything() -> None:
    spinner, found = Spinner(), iter([0, 0, 7])
    assert spinner.look(lambda: next(found)) == 7
    assert spinner.look(lambda: None) is None
    assert not spinner.is_due()


@pytest.mark.parametrize(("comes_at", "at_once"), [(1, True), (2, False)])
def test_it_says_whether_the_first_look_was_enough(
    comes_at: int, at_once: bool
) -> None:
    spinner = Spinner()
    spinner.at_once = not at_once
    assert spin(spinner, Lane(comes_at))
    assert spinner.at_once == at_once


def test_it_ends_when_a_sleep_would_have_been_as_long(time: Time) -> None:
    spinner, lane = Spinner(), Lane(NEVER)
    begun = time.now
    assert not spin(spinner, lane)
    assert time.now - begun == pytest.approx(SPIN, rel=0.2)


def test_a_core_that_others_keep_busy_ends_it_at_the_next_look(time: Time) -> None:
    time.step = 1.0
    lane = Lane(NEVER)
    assert not spin(Spinner(), lane)
    assert lane.looks == 2


def test_in_vain_it_is_tried_ever_more_seldom() -> None:
    spinner = Spinner()
    pauses = []
    for _ in range(10):
        assert not spin(spinner, Lane(NEVER))
        pauses.append(waits_until_due(spinner) - 1)
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_what_comes_soon_again_is_soon_believed() -> None:
    spinner = Spinner()
    for _ in range(8):
        spin(spinner, Lane(NEVER))
        waits_until_due(spinner)
    for _ in range(4):
        assert spin(spinner, Lane(comes_at=2))
        assert spinner.is_due()
    spin(spinner, Lane(NEVER))
    assert waits_until_due(spinner) == 3


def test_with_one_core_nobody_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "_USEFUL", False)
    spinner = Spinner()
    assert not any(spinner.is_due() for _ in range(1000))
