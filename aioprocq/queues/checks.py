"""Arguments, checked at the call that gives them."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from numbers import Real
from operator import index
from typing import Any

__all__ = [
    "check_bytes",
    "check_count",
    "check_maxsize",
    "check_reason",
    "check_timeout",
    "check_whole",
    "safe_repr",
]


_NEVER = 1e9
"""Seconds that no process waits for: thirty years. Not every clock can count more."""


def check_maxsize(maxsize: object) -> float:
    """A bound in items; TypeError unless it is a real number."""
    if not isinstance(maxsize, Real):
        raise TypeError(
            f"maxsize must be a number of items, not {type(maxsize).__name__}; "
            "0 is unbounded"
        )
    return _number(maxsize, "maxsize")


def check_reason(reason: object) -> None:
    """Why an attempt failed; TypeError unless it is text."""
    if not isinstance(reason, str):
        raise TypeError(
            f"reason must be a str, not {type(reason).__name__}; pass repr() of it"
        )


def safe_repr(failure: BaseException) -> str:
    """The ``repr()`` of an exception, or its type where that raises another one."""
    try:
        return repr(failure)
    except Exception:
        return f"{type(failure).__qualname__}, whose repr() fails"


def check_bytes(max_bytes: object) -> int | None:
    """A bound in bytes; None is unbounded."""
    if max_bytes is None:
        return None
    size = check_whole(max_bytes, "max_bytes", "a whole number or None")
    if size <= 0:
        raise ValueError("max_bytes must be positive; None is unbounded")
    return size


def check_count(count: object, name: str) -> int:
    """A whole number that is at least one."""
    number = check_whole(count, name)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, not {number}")
    return number


def check_whole(value: Any, name: str, wanted: str = "a whole number") -> int:
    """A whole number of any type, such as one of NumPy's, and no truth value."""
    if not isinstance(value, bool):
        with suppress(TypeError):
            return index(value)
    raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def check_timeout(timeout: object) -> float | None:
    """When a timeout in seconds is over, on the monotonic clock; None: never."""
    if timeout is None:
        return None
    if not isinstance(timeout, Real):
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}"
        )
    seconds = _number(timeout, "timeout")
    return None if seconds >= _NEVER else time.monotonic() + max(0.0, seconds)


def _number(value: Real, name: str) -> float:
    if isinstance(value, int):
        return value
    number = float(value)
    if math.isnan(number):
        raise ValueError(f"{name} must be a number, and nan is none")
    return number
