"""Arguments, checked at the call that gives them."""

from __future__ import annotations

import math
import time
from numbers import Real

__all__ = [
    "check_bytes",
    "check_count",
    "check_maxsize",
    "check_reason",
    "check_timeout",
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
    if not isinstance(max_bytes, int):
        raise TypeError(
            f"max_bytes must be a whole number or None, not {type(max_bytes).__name__}"
        )
    if max_bytes <= 0:
        raise ValueError("max_bytes must be positive; None is unbounded")
    return max_bytes


def check_count(count: object, name: str) -> int:
    """A whole number that is at least one."""
    if not isinstance(count, int):
        raise TypeError(f"{name} must be a whole number, not {type(count).__name__}")
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {count}")
    return count


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
