from __future__ import annotations

import math
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from aioprocq.queues.checks import (
    check_bytes,
    check_count,
    check_maxsize,
    check_timeout,
)


@pytest.mark.parametrize("given", [0, -1, 3, 2.5, Fraction(7, 2), math.inf])
def test_a_bound_is_a_real_number(given: Any) -> None:
    assert check_maxsize(given) == given


@pytest.mark.parametrize("given", ["3", None, 3j, Decimal(3), [3]])
def test_a_bound_that_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"maxsize must be .*; 0 is unbounded"):
        check_maxsize(given)


@pytest.mark.parametrize("check", [check_maxsize, check_timeout])
def test_nan_is_no_number(check: Any) -> None:
    with pytest.raises(ValueError, match="nan is none"):
        check(math.nan)


def test_a_bound_in_bytes() -> None:
    assert check_bytes(None) is None
    assert check_bytes(1) == 1
    for wrong in (0, -5):
        with pytest.raises(ValueError, match="None is unbounded"):
            check_bytes(wrong)
    for odd, name in ((1.0, "float"), (True, "bool")):
        with pytest.raises(TypeError, match=f"whole number or None, not {name}"):
            check_bytes(odd)


class Whole:
    """A whole number of another library."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_a_whole_number_of_any_type() -> None:
    for number in (check_bytes(Whole(7)), check_count(Whole(7), "max_items")):
        assert (number, type(number)) == (7, int)
    with pytest.raises(ValueError, match="max_items must be at least 1, not 0"):
        check_count(Whole(0), "max_items")
    with pytest.raises(TypeError, match="max_items must be a whole number, not bool"):
        check_count(True, "max_items")


def test_a_count_is_at_least_one() -> None:
    assert check_count(1, "max_items") == 1
    with pytest.raises(ValueError, match="max_items must be at least 1, not 0"):
        check_count(0, "max_items")
    with pytest.raises(TypeError, match="max_items must be a whole number, not str"):
        check_count("1", "max_items")


@pytest.mark.parametrize("given", [None, math.inf, 1e300, 10**400, 1e9])
def test_a_timeout_that_is_never_over(given: Any) -> None:
    assert check_timeout(given) is None


@pytest.mark.parametrize(("given", "seconds"), [(5, 5), (0.5, 0.5), (0, 0), (-9, 0)])
def test_when_a_timeout_is_over(given: float, seconds: float) -> None:
    before = time.monotonic()
    until = check_timeout(given)
    assert until is not None
    assert before + seconds <= until <= time.monotonic() + seconds


@pytest.mark.parametrize("given", ["1", 1j, [1]])
def test_a_timeout_that_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="number of seconds or None, not"):
        check_timeout(given)
