"""Which event loop a command runs on."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import cast

__all__ = ["LOOPS", "new_runner"]

LOOPS = ("asyncio", "uvloop")


def new_runner(loop: str) -> asyncio.Runner:
    """A runner on the named loop.

    Raises:
        ImportError: uvloop is asked for and not installed.
    """
    if loop == "asyncio":
        return asyncio.Runner()
    uvloop = importlib.import_module("uvloop")
    factory = cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)
    return asyncio.Runner(loop_factory=factory)
