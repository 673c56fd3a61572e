"""What a worker calls with a line: the function, from bytes to bytes.

Decoding, formatting and encoding are done here, so that the workers share them, and
what fails there is a failure of its line.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

__all__ = ["LineCall", "WrongFunction", "call_for", "find_function"]


class WrongFunction(Exception):
    """There is no such function, or no worker could call it; says what to do."""


class LineCall:
    """Calls a function with a line, and gives the line of its result."""

    def __init__(self, function: Callable[[str], Any], as_json: bool) -> None:
        self.func = function  # by this name a pool finds what it is called
        self._as_json = as_json

    def __call__(self, line: bytes) -> Any:
        """The line of the result; an awaitable of it, if the function gives one."""
        result = self.func(line.decode("utf-8", "surrogateescape"))
        if inspect.isawaitable(result):
            return self._later(result)
        return self._format(result)

    async def _later(self, result: Any) -> bytes:
        return self._format(await result)

    def _format(self, result: Any) -> bytes:
        if self._as_json:
            text = _as_json(result)
        else:
            text = result if type(result) is str else str(result)
        return text.encode("utf-8", "surrogateescape") + b"\n"


class AsyncLineCall(LineCall):
    """The same for a coroutine function, which an event loop is to recognize."""

    async def __call__(self, line: bytes) -> bytes:
        """The line of the result."""
        result = await self.func(line.decode("utf-8", "surrogateescape"))
        return self._format(result)


def _as_json(result: Any) -> str:
    import json

    try:
        return json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"the result cannot be written as JSON: {error}") from None


def call_for(function: Callable[[str], Any], as_json: bool) -> LineCall:
    """What is to be called with each line."""
    called = getattr(function, "__call__", None)  # noqa: B004  # of an object
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        return AsyncLineCall(function, as_json)
    return LineCall(function, as_json)


def find_function(place: str) -> Callable[[str], Any]:
    """The function at `module:function`.

    Raises:
        WrongFunction: there is none, or no worker could find it.
    """
    name, colon, path = place.partition(":")
    if not (name and colon and path):
        raise WrongFunction(
            f"{place!r} is not the place of a function; write it as module:function"
        )
    found = _import(name, path)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise WrongFunction(f"the module {name} has no {path}") from None
    _check(found, place)
    function: Callable[[str], Any] = found
    return function


def _import(name: str, path: str) -> Any:
    import sys

    if "/" in name:
        raise WrongFunction(_as_in_an_import(name, path))
    try:
        # What a module prints is not a result.
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise WrongFunction(_not_found(name, path, error.name)) from None
        raise _failed(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(name, error) from error


def _not_found(name: str, path: str, missing: str) -> str:
    if name.endswith(".py"):
        return _as_in_an_import(name, path)
    return (
        f"there is no module {missing}; start where it can be imported, "
        "and write it as in an import: package.module"
    )


def _as_in_an_import(file: str, path: str) -> str:
    *folders, name = os.path.normpath(file.removesuffix(".py")).split("/")
    if folders and folders[0] in ("", ".."):
        right = f"start in {os.path.dirname(file)}, and write {name}:{path}"
    else:
        right = f"write {'.'.join([*folders, name])}:{path}"
    return f"{file} is a file, and not the name of a module; {right}"


def _failed(name: str, error: BaseException) -> WrongFunction:
    # Workers import this module, and have no use for these.
    from aioprocq.cli.reasons import named
    from aioprocq.cli.tracebacks import place_of

    return WrongFunction(f"{name} cannot be imported: {named(error)}{place_of(error)}")


def _check(found: object, place: str) -> None:
    if not callable(found):
        raise WrongFunction(
            f"{place} is not a function, but of type {type(found).__name__}"
        )
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise WrongFunction(
            f"{place} is a generator; give a function that returns one result a line"
        )
    try:
        pickle.dumps(found, 5)
    except Exception as error:
        raise WrongFunction(
            f"a worker cannot find {place}, because it does not pickle: {error}; "
            "define it at the top of its module, by that name"
        ) from error
