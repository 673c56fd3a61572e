"""What a group of workers is started with, checked at the call."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..errors import AioprocqError
from ..machines.restart import Backoff, RestartPolicy, Rules
from ..queues.checks import check_whole
from .child import Output
from .main_module import has_main

__all__ = [
    "Options",
    "check_keywords",
    "check_nice",
    "check_number",
    "check_options",
    "check_output",
    "check_seconds",
    "check_target",
    "check_text",
    "environment",
]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``Supervisor.start``, checked."""

    rules: Rules
    degrade: bool
    start_timeout: float
    drain_timeout: float
    stop_timeout: float
    max_items: int | None
    max_age: float | None
    max_rss: int | None
    nice: int
    heartbeat: float | None
    job_timeout: float | None
    loop: str | None
    env: Mapping[str, str] | None
    output: Output | None
    tells_ready: bool

    @property
    def interval(self) -> float | None:
        """How often somebody has to look at the workers; None: never."""
        times = []
        if self.heartbeat is not None:
            times.append(self.heartbeat)
        if self.job_timeout is not None:
            times.append(self.job_timeout / 4)
        if self.max_rss is not None:
            times.append(1.0)
        return min(times, default=None)


def check_options(
    *,
    restart: str,
    max_restarts: int,
    within: float,
    backoff: Backoff | None,
    on_exhausted: str,
    loop: str | None,
    env: Mapping[str, str | None] | None,
    output: Output | None,
    max_items: int | None,
    max_rss: int | None,
    nice: int,
    ready: str = "imported",
    **times: float | None,
) -> Options:
    """The options; TypeError or ValueError says which is wrong, and what to give."""
    if backoff is not None and not isinstance(backoff, Backoff):
        raise TypeError(f"backoff must be a Backoff, not {type(backoff).__name__}")
    check_output(output)
    rules = Rules(
        restart=RestartPolicy(_one_of(restart, "restart", _POLICIES)),
        max_restarts=check_number(max_restarts, "max_restarts", 0),
        within=check_seconds(within, "within"),
        backoff=backoff or Backoff(),
    )
    if loop is not None:
        _one_of(loop, "loop", ("asyncio", "uvloop"))
    checked = {
        name: None
        if value is None and name in _OPTIONAL
        else check_seconds(value, name)
        for name, value in times.items()
    }
    return Options(
        rules=rules,
        degrade=_one_of(on_exhausted, "on_exhausted", ("raise", "degrade"))
        == "degrade",
        max_items=_limit(max_items, "max_items"),
        max_rss=_limit(max_rss, "max_rss"),
        nice=check_nice(nice),
        loop=loop,
        env=environment(env),
        output=output,
        tells_ready=_one_of(ready, "ready", ("imported", "told")) == "told",
        **checked,  # type: ignore[arg-type]
    )


_POLICIES = ("always", "on-failure", "never")
_NICEST = 19
_OPTIONAL = frozenset({"max_age", "heartbeat", "job_timeout"})


def check_nice(value: int) -> int:
    """How much nicer than the app; TypeError or ValueError if it cannot be that."""
    nice = check_number(value, "nice", 0)
    if nice > _NICEST:
        raise ValueError(f"nice must be {_NICEST} or less, not {nice}")
    return nice


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        choice = ", ".join(map(repr, allowed))
        raise ValueError(f"{name} must be one of {choice}, not {value!r}")
    return value


def check_seconds(value: object, name: str) -> float:
    """A finite time, zero or more; an optional one is None or more than zero."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be seconds, not {type(value).__name__}")
    try:
        seconds = float(value)
    except OverflowError:  # an int beyond every float
        seconds = math.inf
    if not seconds >= 0 or math.isinf(seconds):
        raise ValueError(f"{name} must be zero or more seconds, not {seconds!r}")
    if seconds == 0 and name in _OPTIONAL:
        raise ValueError(f"{name} must be more than zero seconds; None turns it off")
    if seconds == 0 and name == "start_timeout":
        raise ValueError(
            f"{name} must be more than zero seconds: no process is so quick"
        )
    return seconds


def _limit(value: int | None, name: str) -> int | None:
    return None if value is None else check_number(value, name, 1)


def check_number(value: int, name: str, least: int) -> int:
    """A whole number of at least ``least``."""
    number = check_whole(value, name)
    if number < least:
        raise ValueError(f"{name} must be {least} or more, not {number}")
    return number


def check_text(value: object, name: str) -> None:
    """Something that can be handed to a new process."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    try:
        whole = b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise ValueError(f"{name} must be text without null characters, not {value!r}")


def check_output(output: object) -> None:
    """Who is given the lines that workers print, or None."""
    if output is not None and not callable(output):
        raise TypeError(
            "output must be callable with a worker's name, a stream's and a line"
        )


def check_keywords(kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keyword arguments of the target."""
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs must be a mapping, not {type(kwargs).__name__}")
    for name in kwargs:
        if not isinstance(name, str):
            raise TypeError(f"a name in kwargs must be a string, not {name!r}")
    return dict(kwargs)


def environment(env: Mapping[str, str | None] | None) -> Mapping[str, str] | None:
    """The environment with these changes; None takes a variable away."""
    if env is None:
        return None
    if not isinstance(env, Mapping):
        raise TypeError(f"env must be a mapping, not {type(env).__name__}")
    for name, value in env.items():
        check_text(name, "a name in env")
        if value is not None:
            check_text(value, f"env[{name!r}]")
        if not name or "=" in name:
            raise ValueError(f"no variable of the environment can be named {name!r}")
    changed: dict[str, str | None] = {**os.environ, **env}
    return {name: value for name, value in changed.items() if value is not None}


def check_target(target: Callable[..., Any]) -> str:
    """The target's name; an error if no worker could ever find it."""
    if not callable(target):
        raise TypeError(
            f"target must be a function, plain or async, not {type(target).__name__}"
        )
    function = target
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            "a generator would have nobody to iterate over it; return a list, or put "
            "what it yields into a queue"
        )
    function = getattr(function, "__func__", function)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None)
    if "<lambda>" in name or "<locals>" in name:
        raise TypeError(
            f"{name} cannot be found by a worker, which imports it by its name; "
            "define it at the top of a module"
        )
    if module == "__main__" and not has_main():
        raise NotInAFile(
            f"{name} was defined interactively, and a worker has no file to import "
            "it from; put it into a module and import it from there"
        )
    return str(getattr(function, "__name__", name))


class NotInAFile(AioprocqError, TypeError):
    """The target lives in a session and not in a file."""
