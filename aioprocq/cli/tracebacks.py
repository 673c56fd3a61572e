"""Tracebacks that begin where the user's own code does."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import traceback
from types import ModuleType

import aioprocq

__all__ = ["place_of", "render", "without_library"]


def _folder(module: ModuleType) -> str:
    assert module.__file__ is not None
    return os.path.join(os.path.dirname(module.__file__), "")


_OURS = (*map(_folder, (aioprocq, asyncio, importlib)), "<frozen importlib")
_HEAD = r"^Traceback \(most recent call last\):\n"
_FRAME = rf'  File "(?:{"|".join(map(re.escape, _OURS))}).*\n(?:    .*\n)*'
_BEFORE_USERS = re.compile(f"({_HEAD})(?:{_FRAME})+", re.MULTILINE)


def without_library(rendered: str) -> str:
    """A traceback without the frames through which the library came to the user's.

    Those that the user's code has called stay.
    """
    return _BEFORE_USERS.sub(r"\1", rendered)


def render(error: BaseException) -> str:
    """The traceback of an exception, from the user's code on."""
    return without_library("".join(traceback.format_exception(error)))


def place_of(error: BaseException) -> str:
    """The file and line in which it was raised, to be put behind it; may be empty."""
    raised = traceback.extract_tb(error.__traceback__)
    frames = [one for one in raised if not one.filename.startswith(_OURS)]
    if not frames or isinstance(error, SyntaxError):  # which says so itself
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
