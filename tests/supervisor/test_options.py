"""What a group of workers may be started with, and how what it may not be is told."""

from __future__ import annotations

import enum
import functools
import math
import operator
import os
import types
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy
import pytest

from aioprocq import AioprocqError, Backoff
from aioprocq.machines.restart import RestartPolicy
from aioprocq.supervisor import options
from aioprocq.supervisor.options import (
    NotInAFile,
    Options,
    check_keywords,
    check_nice,
    check_number,
    check_target,
    check_text,
    environment,
)

from .stand_ins import options as usual_options

HUGE = 10**400
"""An int that no float can hold."""


def test_what_is_left_out_is_off():
    usual = usual_options()
    assert usual.rules.restart is RestartPolicy.ON_FAILURE
    assert (usual.rules.max_restarts, usual.rules.within) == (5, 60.0)
    assert usual.rules.backoff == Backoff()
    assert (usual.degrade, usual.tells_ready, usual.nice) == (False, False, 0)
    off = (usual.max_items, usual.max_age, usual.max_rss, usual.heartbeat)
    assert off == (None,) * 4
    assert (usual.job_timeout, usual.loop, usual.env, usual.output) == (None,) * 4
    timeouts = (usual.start_timeout, usual.drain_timeout, usual.stop_timeout)
    assert timeouts == (60.0, 10.0, 5.0)


def test_what_is_given_is_kept():
    backoff = Backoff(initial=3)
    given = usual_options(
        restart="never",
        max_restarts=0,
        within=1,
        backoff=backoff,
        on_exhausted="degrade",
        loop="uvloop",
        env={"AIOPROCQ_TEST": "1"},
        output=print,
        max_items=1,
        max_rss=2,
        nice=19,
        ready="told",
        max_age=3,
        job_timeout=4,
        heartbeat=5,
        start_timeout=6,
        drain_timeout=7,
        stop_timeout=8,
    )
    assert given.rules.restart is RestartPolicy.NEVER
    assert (given.rules.max_restarts, given.rules.within) == (0, 1.0)
    assert given.rules.backoff is backoff
    assert (given.degrade, given.tells_ready, given.loop) == (True, True, "uvloop")
    assert given.env is not None
    assert given.env["AIOPROCQ_TEST"] == "1"
    assert (given.output, given.nice) == (print, 19)
    assert (given.max_items, given.max_rss) == (1, 2)
    times = (given.max_age, given.job_timeout, given.heartbeat)
    assert times == (3.0, 4.0, 5.0)
    timeouts = (given.start_timeout, given.drain_timeout, given.stop_timeout)
    assert timeouts == (6.0, 7.0, 8.0)
    with pytest.raises(AttributeError):
        given.nice = 1


@pytest.mark.parametrize("policy", ["always", "on-failure", "never"])
def test_each_policy_is_known(policy):
    assert usual_options(restart=policy).rules.restart.value == policy


# Seconds

TIMEOUTS = ["within", "start_timeout", "drain_timeout", "stop_timeout"]
OPTIONAL = ["max_age", "heartbeat", "job_timeout"]


def seconds_of(given: Options, name: str) -> Any:
    return given.rules.within if name == "within" else getattr(given, name)


@pytest.mark.parametrize("name", TIMEOUTS + OPTIONAL)
@pytest.mark.parametrize(
    "value",
    [
        1,
        2.5,
        5e-324,
        1e300,
        Fraction(1, 2),
        numpy.float64(2.5),
        numpy.float32(2.5),
        numpy.int64(1),
        enum.IntEnum("N", "ONE").ONE,
    ],
)
def test_any_finite_number_of_seconds_becomes_a_plain_float(name, value):
    seconds = seconds_of(usual_options(**{name: value}), name)
    assert type(seconds) is float
    assert seconds == value


@pytest.mark.parametrize("name", TIMEOUTS + OPTIONAL)
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "1",
        b"1",
        [],
        1j,
        Decimal(1),
        numpy.bool_(True),
        numpy.ones(1),
    ],
)
def test_what_is_no_number_of_seconds_is_named(name, value):
    kind = type(value).__name__
    with pytest.raises(TypeError, match=f"^{name} must be seconds, not {kind}$"):
        usual_options(**{name: value})


@pytest.mark.parametrize("name", TIMEOUTS + OPTIONAL)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (-1, "-1.0"),
        (-5e-324, "-5e-324"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (HUGE, "inf"),
        (numpy.float64("nan"), "nan"),
    ],
)
def test_seconds_that_never_come_or_never_end_are_refused(name, value, shown):
    message = f"^{name} must be zero or more seconds, not {shown}$"
    with pytest.raises(ValueError, match=message):
        usual_options(**{name: value})


@pytest.mark.parametrize("name", TIMEOUTS)
def test_a_timeout_may_be_zero_but_not_none(name):
    for zero in (0, -0.0) if name != "start_timeout" else ():
        assert seconds_of(usual_options(**{name: zero}), name) == 0.0
    with pytest.raises(TypeError, match=f"^{name} must be seconds, not NoneType$"):
        usual_options(**{name: None})


def test_a_start_takes_more_than_no_time():
    for zero in (0, -0.0):
        with pytest.raises(ValueError, match="start_timeout must be more than zero"):
            usual_options(start_timeout=zero)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_may_be_off_may_be_none_but_not_zero(name):
    assert getattr(usual_options(**{name: None}), name) is None
    for zero in (0, 0.0, -0.0):
        with pytest.raises(ValueError, match=f"^{name} .* None turns it off$"):
            usual_options(**{name: zero})


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        ({}, None),
        ({"max_age": 1, "max_items": 1}, None),
        ({"heartbeat": 3}, 3.0),
        ({"job_timeout": 8}, 2.0),
        ({"max_rss": 1}, 1.0),
        ({"heartbeat": 3, "job_timeout": 8}, 2.0),
        ({"heartbeat": 3, "job_timeout": 80}, 3.0),
        ({"heartbeat": 3, "job_timeout": 80, "max_rss": 1}, 1.0),
        ({"heartbeat": 0.5, "max_rss": 1}, 0.5),
    ],
)
def test_the_workers_are_looked_at_as_often_as_the_hastiest_option_asks(
    given, interval
):
    assert usual_options(**given).interval == interval


# Whole numbers

NOT_WHOLE: Any = [
    True,
    False,
    1.0,
    "1",
    None,
    Decimal(1),
    math.nan,
    numpy.bool_(True),
]


@pytest.mark.parametrize("value", NOT_WHOLE)
def test_what_is_no_whole_number_is_named(value):
    message = f"^count must be a whole number, not {type(value).__name__}$"
    with pytest.raises(TypeError, match=message):
        check_number(value, "count", 0)


def test_a_whole_number_has_a_least_value_and_no_greatest():
    assert check_number(3, "count", 3) == 3
    number = check_number(numpy.int64(4), "count", 3)  # type: ignore[arg-type]  # is one
    assert (number, type(number)) == (4, int)
    assert check_number(HUGE, "count", 0) == HUGE
    assert check_number(-1, "count", -1) == -1
    with pytest.raises(ValueError, match=r"^count must be 3 or more, not 2$"):
        check_number(2, "count", 3)


@pytest.mark.parametrize("name", ["max_items", "max_rss"])
def test_a_limit_is_none_or_at_least_one(name):
    assert getattr(usual_options(**{name: 1}), name) == 1
    assert getattr(usual_options(**{name: None}), name) is None
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"^{name} must be 1 or more, not {value}"):
            usual_options(**{name: value})
    with pytest.raises(TypeError, match=f"^{name} must be a whole number, not bool"):
        usual_options(**{name: True})


def test_restarts_may_be_none_at_all_but_not_fewer():
    assert usual_options(max_restarts=0).rules.max_restarts == 0
    with pytest.raises(ValueError, match=r"^max_restarts must be 0 or more, not -1$"):
        usual_options(max_restarts=-1)
    with pytest.raises(TypeError, match=r"^max_restarts must be a whole number"):
        usual_options(max_restarts=None)


def test_workers_may_be_nicer_than_the_app_but_not_rougher():
    assert [check_nice(value) for value in (0, 1, 19)] == [0, 1, 19]
    with pytest.raises(ValueError, match=r"^nice must be 19 or less, not 20$"):
        check_nice(20)
    with pytest.raises(ValueError, match=r"^nice must be 0 or more, not -1$"):
        check_nice(-1)
    with pytest.raises(TypeError, match=r"^nice must be a whole number, not bool$"):
        check_nice(True)
    with pytest.raises(ValueError, match=r"^nice must be 19 or less, not 20$"):
        usual_options(nice=20)


# Choices

CHOICES = {
    "restart": "'always', 'on-failure', 'never'",
    "on_exhausted": "'raise', 'degrade'",
    "loop": "'asyncio', 'uvloop'",
    "ready": "'imported', 'told'",
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("value", ["", "Always", " raise", b"uvloop", 0, True, [], {}])
def test_what_is_no_choice_is_shown_beside_those_there_are(name, value):
    with pytest.raises(ValueError) as caught:
        usual_options(**{name: value})
    assert str(caught.value) == f"{name} must be one of {CHOICES[name]}, not {value!r}"


@pytest.mark.parametrize("name", sorted(CHOICES.keys() - {"loop"}))
def test_none_is_no_choice_except_of_a_loop(name):
    with pytest.raises(ValueError, match=f"^{name} must be one of .*, not None$"):
        usual_options(**{name: None})


# Objects

ODD_BACKOFFS: Any = [(Backoff, "type"), (0, "int"), (False, "bool"), ({}, "dict")]


@pytest.mark.parametrize(("value", "kind"), ODD_BACKOFFS)
def test_a_backoff_is_one_even_where_something_else_is_false(value, kind):
    with pytest.raises(TypeError, match=f"^backoff must be a Backoff, not {kind}$"):
        usual_options(backoff=value)


@pytest.mark.parametrize("value", ["log", 0, False, [], {}])
def test_output_is_called_so_it_has_to_be_callable(value):
    with pytest.raises(TypeError, match=r"^output must be callable with a worker's"):
        usual_options(output=value)


@pytest.mark.parametrize(
    "value", [print, [].append, dict, functools.partial(print), lambda *line: None]
)
def test_output_may_be_anything_callable(value):
    assert usual_options(output=value).output is value


# The environment


def test_no_environment_means_the_app_s_own_whatever_it_is_then():
    assert environment(None) is None


def test_changes_of_the_environment_leave_the_app_s_own_alone(monkeypatch):
    monkeypatch.setenv("AIOPROCQ_KEPT", "kept")
    monkeypatch.setenv("AIOPROCQ_CHANGED", "before")
    monkeypatch.setenv("AIOPROCQ_GONE", "here")
    before = dict(os.environ)
    changes = {
        "AIOPROCQ_CHANGED": "after",
        "AIOPROCQ_EMPTY": "",
        "AIOPROCQ_GONE": None,
        "AIOPROCQ_NEVER_THERE": None,
    }
    changed = environment(types.MappingProxyType(changes))
    assert changed is not None
    expected = {**before, "AIOPROCQ_CHANGED": "after", "AIOPROCQ_EMPTY": ""}
    del expected["AIOPROCQ_GONE"]
    assert changed == expected
    assert os.environ == before
    assert environment({}) == before
    assert changes["AIOPROCQ_GONE"] is None


def test_bytes_that_are_no_text_may_be_in_the_environment():
    value = os.fsdecode(b"\xff")
    changed = environment({"AIOPROCQ_" + value: value})
    assert changed is not None
    assert changed["AIOPROCQ_" + value] == value


BAD_ENVIRONMENTS: Any = [
    (["A=1"], TypeError, "^env must be a mapping, not list$"),
    ("A=1", TypeError, "^env must be a mapping, not str$"),
    ({("A", "1")}, TypeError, "^env must be a mapping, not set$"),
    ({1: "1"}, TypeError, "^a name in env must be a string, not int$"),
    ({b"A": "1"}, TypeError, "^a name in env must be a string, not bytes$"),
    ({None: None}, TypeError, "^a name in env must be a string, not NoneType$"),
    ({"A": 1}, TypeError, r"^env\['A'\] must be a string, not int$"),
    ({"A": False}, TypeError, r"^env\['A'\] must be a string, not bool$"),
    ({"A": b"1"}, TypeError, r"^env\['A'\] must be a string, not bytes$"),
    ({"A": "\0"}, ValueError, r"^env\['A'\] must be text without null characters"),
    ({"A": "\ud800"}, ValueError, r"^env\['A'\] must be text without null"),
    ({"A\0": "1"}, ValueError, "^a name in env must be text without null characters"),
    ({"\ud800": None}, ValueError, "^a name in env must be text without null"),
    ({"": "1"}, ValueError, "^no variable of the environment can be named ''$"),
    ({"A=B": "1"}, ValueError, "^no variable of the environment can be named 'A=B'"),
    ({"=": None}, ValueError, "^no variable of the environment can be named '='$"),
]


@pytest.mark.parametrize(("env", "error", "message"), BAD_ENVIRONMENTS)
def test_an_environment_that_no_process_can_have_is_refused(env, error, message):
    with pytest.raises(error, match=message):
        environment(env)
    with pytest.raises(error, match=message):
        usual_options(env=env)


# Text and keywords


def test_text_is_what_an_argument_of_a_process_can_be():
    for fine in ("", "a", "é", "\n", os.fsdecode(b"\xff")):
        check_text(fine, "name")
    no_text: Any = (3, b"a", None, ["a"])
    for value in no_text:
        kind = type(value).__name__
        with pytest.raises(TypeError, match=f"^name must be a string, not {kind}$"):
            check_text(value, "name")
    for value in ("\0", "a\0b", "\ud800"):
        with pytest.raises(ValueError) as caught:
            check_text(value, "name")
        message = f"name must be text without null characters, not {value!r}"
        assert str(caught.value) == message


class Lazy(Mapping[str, int]):
    """A mapping that is no dict."""

    def __getitem__(self, name: str) -> int:
        return len(name)

    def __iter__(self):
        return iter(("a", "bc"))

    def __len__(self) -> int:
        return 2


def test_keywords_are_copied_from_any_mapping():
    given = {"a": 1}
    kept = check_keywords(given)
    given["b"] = 2
    assert kept == {"a": 1}
    assert check_keywords(Lazy()) == {"a": 1, "bc": 2}
    assert check_keywords(None) == check_keywords({}) == {}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ([("a", 1)], "^kwargs must be a mapping, not list$"),
        ("", "^kwargs must be a mapping, not str$"),
        (0, "^kwargs must be a mapping, not int$"),
        ({1: 1}, "^a name in kwargs must be a string, not 1$"),
        ({"a": 1, None: 1}, "^a name in kwargs must be a string, not None$"),
    ],
)
def test_keywords_that_no_call_can_have_are_refused(kwargs, message):
    with pytest.raises(TypeError, match=message):
        check_keywords(kwargs)


# Targets


def plain() -> None: ...


async def coroutine() -> None: ...


def generator():
    yield


async def async_generator():
    yield


@functools.lru_cache
def cached() -> None: ...


class Thing:
    """Something callable, with all kinds of methods."""

    def __call__(self) -> None: ...

    def method(self) -> None: ...

    @classmethod
    def of_the_class(cls) -> None: ...

    @staticmethod
    def of_nobody() -> None: ...

    def iterate(self):
        yield

    async def iterate_async(self):
        yield

    class Inner:
        """Something callable in a class."""

        def __call__(self) -> None: ...


class Wrapping:
    """No partial, though it has something of that name."""

    func = staticmethod(lambda: 0)

    def __call__(self) -> None:
        pass


class Partial(functools.partial):
    """A partial of one's own."""


def local() -> Any:
    def inner() -> None: ...

    return inner


def local_class() -> Any:
    class Local:
        def __call__(self) -> None: ...

        def method(self) -> None: ...

    return Local


FOUND: Any = [
    (plain, "plain"),
    (coroutine, "coroutine"),
    (cached, "cached"),
    (functools.partial(plain), "plain"),
    (Wrapping(), "Wrapping"),
    (functools.partial(functools.partial(coroutine)), "coroutine"),
    (Partial(Partial(plain)), "plain"),
    (functools.partial(Thing().method), "method"),
    (functools.partial(Thing()), "Thing"),
    (Thing, "Thing"),
    (Thing(), "Thing"),
    (Thing.Inner, "Inner"),
    (Thing.Inner(), "Thing.Inner"),
    (Thing().method, "method"),
    (Thing.method, "method"),
    (Thing.of_the_class, "of_the_class"),
    (Thing.of_nobody, "of_nobody"),
    (print, "print"),
    (dict, "dict"),
    ([].append, "append"),
    (str.upper, "upper"),
    ("x".join, "join"),
    (operator.itemgetter(1), "itemgetter"),
    (numpy.add, "add"),
    (functools.partial(int, base=2), "int"),
]


@pytest.mark.parametrize(("target", "name"), FOUND)
def test_workers_are_called_after_their_target(target, name):
    found = check_target(target)
    assert (type(found), found) == (str, name)


NOWHERE: Any = [
    lambda: 0,
    functools.partial(lambda: 0),
    local(),
    functools.partial(functools.partial(local())),
    local_class(),
    local_class()(),
    local_class()().method,
    functools.partial(local_class()().method),
]


@pytest.mark.parametrize("target", NOWHERE)
def test_what_has_no_name_that_a_worker_could_import_is_refused(target):
    with pytest.raises(TypeError, match="cannot be found by a worker") as caught:
        check_target(target)
    assert "<lambda>" in str(caught.value) or "<locals>" in str(caught.value)


GENERATORS: Any = [
    generator,
    async_generator,
    functools.partial(generator),
    functools.partial(functools.partial(async_generator)),
    Thing().iterate,
    Thing().iterate_async,
    functools.partial(Thing().iterate),
]


@pytest.mark.parametrize("target", GENERATORS)
def test_a_generator_is_refused_as_nobody_would_iterate_over_it(target):
    with pytest.raises(TypeError, match=r"^a generator would have nobody to iterate"):
        check_target(target)


@pytest.mark.parametrize("target", ["plain", None, 1, [plain], b"x", object()])
def test_a_target_that_cannot_be_called_is_refused(target):
    kind = type(target).__name__
    with pytest.raises(TypeError, match=f"^target must be a function, .* not {kind}$"):
        check_target(target)


class OfMain:
    """Pretends to be of the app's main script."""

    __module__ = "__main__"

    def __call__(self) -> None: ...

    def method(self) -> None: ...


OfMain.method.__module__ = "__main__"

OF_MAIN: Any = [
    (OfMain, "OfMain"),
    (OfMain(), "OfMain"),
    (OfMain().method, "OfMain.method"),
    (functools.partial(OfMain().method), "OfMain.method"),
]


@pytest.mark.parametrize(("target", "name"), OF_MAIN)
def test_what_is_of_the_main_script_needs_a_script(monkeypatch, target, name):
    monkeypatch.setattr(options, "has_main", lambda: True)
    assert check_target(target) == name.rpartition(".")[2]
    monkeypatch.setattr(options, "has_main", lambda: False)
    message = f"^{name} was defined interactively, .* put it into a module"
    with pytest.raises(NotInAFile, match=message) as caught:
        check_target(target)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, AioprocqError)
    assert check_target(plain) == "plain"
