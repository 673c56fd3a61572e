"""What becomes of an exception between a worker and the app, whatever its class."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
from typing import Any

import pytest

from aioprocq import RemoteError
from aioprocq.supervisor import remote
from aioprocq.supervisor.remote import Failure, notes_of, text_of


def raised(failure: BaseException) -> BaseException:
    """The same exception, with a traceback."""
    try:
        raise failure
    except BaseException as caught:
        return caught


def travelled(failure: BaseException, worker: str = "w-0") -> BaseException:
    """What the app has of an exception that was raised in a worker."""
    message = pickle.dumps(Failure.capture(raised(failure)))
    rebuilt = pickle.loads(message).rebuild(worker)
    assert isinstance(rebuilt, BaseException)
    return rebuilt


class Plain(Exception):
    """Nothing special."""

    class Nested(Exception):
        """In another class."""


class Detailed(Exception):
    """Has more to it than its arguments."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 7


def detailed() -> Detailed:
    failure = Detailed("more")
    failure.code = 8
    return failure


# As themselves

SURVIVORS: Any = [
    ValueError("why"),
    ValueError(),
    KeyError("missing"),
    OSError(2, "no such thing", "name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    subprocess.CalledProcessError(1, ["false"], output=b"out"),
    Plain("why"),
    Plain.Nested("\ud800 is no text"),
    detailed(),
    ExceptionGroup("both", [ValueError(1), Plain(2)]),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("why"),
    StopIteration(1),
]


@pytest.mark.parametrize("failure", SURVIVORS)
def test_what_survives_the_pickler_comes_home_as_itself(failure):
    failure = copy.copy(failure)
    rebuilt = travelled(failure)
    assert type(rebuilt) is type(failure)
    assert str(rebuilt) == str(failure)
    assert repr(rebuilt.args) == repr(failure.args)
    (note,) = rebuilt.__notes__
    assert note.startswith("aioprocq: in worker w-0:\n")
    assert "Traceback (most recent call last):\n" in note
    assert "in raised\n" in note
    assert note == note.rstrip()


def test_attributes_come_along():
    rebuilt: Any = travelled(detailed())
    assert rebuilt.code == 8
    error: Any = travelled(OSError(2, "no such thing", "name"))
    assert (type(error), error.errno) == (FileNotFoundError, 2)
    assert error.filename == "name"


def test_its_notes_come_first_and_the_worker_s_traceback_last():
    failure = Plain("why")
    failure.add_note("first")
    failure.add_note("second")
    rebuilt = travelled(failure, "reader-3")
    assert rebuilt.__notes__[:2] == ["first", "second"]
    assert rebuilt.__notes__[2].startswith("aioprocq: in worker reader-3:\nTraceback")
    assert "first\nsecond" in rebuilt.__notes__[2]
    assert failure.__notes__ == ["first", "second"]


def test_each_hop_adds_its_own_traceback():
    rebuilt = travelled(travelled(Plain("why"), "inner-0"), "outer-0")
    first, second = rebuilt.__notes__
    assert first.startswith("aioprocq: in worker inner-0:\n")
    assert second.startswith("aioprocq: in worker outer-0:\n")


def test_every_rebuilding_gives_another_exception():
    failure = Failure.capture(raised(Plain("why")))
    one, other = failure.rebuild("a-0"), failure.rebuild("b-0")
    assert one is not other
    assert len(one.__notes__) == len(other.__notes__) == 1
    assert "in worker b-0" in other.__notes__[0]


def test_the_cause_is_told_in_the_traceback():
    failure = Plain("effect")
    failure.__cause__ = KeyError("the cause")
    (note,) = travelled(failure).__notes__
    assert "KeyError: 'the cause'" in note
    assert note.index("the cause") < note.index("effect")


def test_one_that_was_never_raised_has_no_traceback_but_comes_home():
    rebuilt = Failure.capture(Plain("why")).rebuild("w-0")
    assert type(rebuilt) is Plain
    assert rebuilt.__notes__ == [f"aioprocq: in worker w-0:\n{__name__}.Plain: why"]


class Listed(Exception):
    """Shows an object that has no repr of its own."""

    def __init__(self, *things: object) -> None:
        super().__init__(*things)

    def __str__(self) -> str:
        return f"these: {self.args!r}"


class Thing:
    """No repr of its own: it shows where it lies."""


class Moving:
    """Lies somewhere else after each copy."""

    def __init__(self, copies: int = 0) -> None:
        self.copies = copies

    def __repr__(self) -> str:
        return f"0x{self.copies}z"

    def __reduce__(self):
        return type(self), (self.copies + 1,)


class Counting(Moving):
    """Says how many copies it is away from the first."""

    def __repr__(self) -> str:
        return f"copy {self.copies}"


def test_where_its_arguments_lie_in_memory_makes_no_difference():
    rebuilt = travelled(Listed(Thing(), Thing()))
    assert type(rebuilt) is Listed
    assert [type(thing) for thing in rebuilt.args] == [Thing, Thing]


def test_any_other_difference_in_what_it_says_does():
    assert type(travelled(Plain(Moving()))) is Plain
    changed = travelled(Listed("a", Counting()))
    assert type(changed) is RemoteError
    assert changed.message == "these: ('a', copy 0)"


# Described


class Picky(Exception):
    """Cannot be made of what it says."""

    def __init__(self, number: int, word: str) -> None:
        super().__init__(f"{number}: {word}")


class KeywordsOnly(Exception):
    """Cannot be made without a keyword."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


class Growing(Exception):
    """Says more each time it is made."""

    def __init__(self, text: str) -> None:
        super().__init__(f"<{text}>")


class Attached(Exception):
    """Holds on to what does not pickle."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handler = lambda: 0


class Refusing(Exception):
    """Raises an exception of choice when it is pickled."""

    def __reduce__(self):
        raise self.args[0]


class Reviving(Exception):
    """Raises an exception of choice when it is unpickled."""

    def __reduce__(self):
        return give_up, (self.args[0],)


class Changing(Exception):
    """Comes back as something of choice."""

    def __reduce__(self):
        return self.args


class Muted(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise LookupError("str")

    __repr__ = __str__


class Numeric(Exception):
    """Its str() is none."""

    def __str__(self):
        return 3  # type: ignore[return-value]  # that is what is tested


def give_up(failure: BaseException) -> None:
    raise failure


def local() -> Exception:
    class Local(Exception):
        pass

    return Local("made here")


def deep() -> Exception:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    failure = Detailed("deep")
    failure.code = nested  # type: ignore[assignment]  # only its depth matters
    return failure


DESCRIBED: Any = [
    (Picky(7, "seven"), "7: seven"),
    (KeywordsOnly(code=3), "code 3"),
    (Growing("text"), "<text>"),
    (Attached("why"), "why"),
    (Refusing(TypeError("no")), "no"),
    (Refusing(SystemExit(3)), "3"),
    (Refusing(KeyboardInterrupt("stop")), "stop"),
    (Reviving(TypeError("no")), "no"),
    (Reviving(SystemExit(3)), "3"),
    (Reviving(asyncio.CancelledError("stop")), "stop"),
    (Changing(ValueError, ("x",)), f"({ValueError!r}, ('x',))"),
    (Changing(str, ("x",)), f"({str!r}, ('x',))"),
    (Muted("why"), "<its str() fails>"),
    (Numeric("why"), "<its str() fails>"),
    (ExceptionGroup("both", [ValueError(1), Picky(7, "x")]), "both (2 sub-exceptions)"),
]


@pytest.mark.parametrize(("failure", "message"), DESCRIBED)
def test_what_does_not_survive_comes_home_described(failure, message):
    error = travelled(failure)
    assert type(error) is RemoteError
    kind = type(failure)
    own = kind.__module__ != "builtins"
    assert error.type_name == (f"{__name__}.{kind.__name__}" if own else kind.__name__)
    assert error.message == message
    assert str(error) == f"{error.type_name}: {message}"
    assert "in raised\n" in error.traceback
    note = f"aioprocq: in worker w-0:\n{error.traceback.rstrip()}"
    assert error.__notes__ == [note]


def test_a_class_that_cannot_be_found_by_name_comes_home_described():
    error = travelled(local())
    assert type(error) is RemoteError
    assert error.type_name == f"{__name__}.local.<locals>.Local"
    assert error.message == "made here"


def test_what_is_nested_too_deeply_for_the_pickler_comes_home_described():
    error = travelled(deep())
    assert (type(error), error.message) == (RemoteError, "deep")


def test_a_description_keeps_the_notes():
    failure = Picky(7, "seven")
    failure.add_note("look here")
    error = travelled(failure)
    assert error.notes == ("look here",)
    assert len(error.__notes__) == 1
    assert "look here" in error.__notes__[0]


def test_a_description_comes_home_a_second_time_as_it_is():
    error = travelled(travelled(Picky(7, "seven"), "inner-0"), "outer-0")
    assert type(error) is RemoteError
    assert error.type_name == f"{__name__}.Picky"
    assert "in raised\n" in error.traceback
    inner, outer = error.__notes__
    assert "in worker inner-0" in inner
    assert "in worker outer-0" in outer


def test_one_without_a_message_is_described_by_its_type():
    error = travelled(Refusing(RuntimeError()))
    assert str(error) == error.type_name == f"{__name__}.Refusing"


def test_types_are_named_as_in_a_traceback(monkeypatch):
    def name_of(kind: type[Exception]) -> str:
        return Failure.capture(kind()).type_name

    assert name_of(ValueError) == "ValueError"
    assert name_of(Plain.Nested) == f"{__name__}.Plain.Nested"
    assert name_of(asyncio.QueueEmpty) == "asyncio.queues.QueueEmpty"
    monkeypatch.setattr(Plain, "__module__", "__main__")
    assert name_of(Plain) == "Plain"


def test_what_is_too_large_is_described(monkeypatch):
    failure = raised(Plain("x" * 1000))
    size = len(pickle.dumps(failure, 5))
    monkeypatch.setattr(remote, "_MOST_PICKLED", size)
    assert type(Failure.capture(failure).rebuild("w-0")) is Plain
    monkeypatch.setattr(remote, "_MOST_PICKLED", size - 1)
    error = Failure.capture(failure).rebuild("w-0")
    assert type(error) is RemoteError
    assert error.message == "x" * 1000


def test_of_a_long_traceback_the_end_is_kept(monkeypatch):
    monkeypatch.setattr(remote, "_MOST", 30)
    error = travelled(Picky(7, "the very end"))
    assert len(error.traceback) == 30
    assert error.traceback.endswith("Picky: 7: the very end\n")


def test_capturing_leaves_the_exception_as_it_was():
    for failure in (raised(Plain("why")), raised(Picky(7, "seven"))):
        trace = failure.__traceback__
        Failure.capture(failure)
        assert not hasattr(failure, "__notes__")
        assert failure.__traceback__ is trace


# What only the app finds wrong

HERE: Any = None
"""What the unpickling of a Late does: nothing, raise, or give something else."""


class Late(Exception):
    """Does in the app what it did not do in the worker."""

    def __reduce__(self):
        return revive, self.args


def revive(*args: object) -> object:
    if isinstance(HERE, BaseException):
        raise HERE
    return Late(*args) if HERE is None else HERE


LATE: Any = [
    ModuleNotFoundError("no such module here"),
    AttributeError("no such class here"),
    SystemExit(3),
    asyncio.CancelledError(),
    GeneratorExit(),
    "not an exception",
    ValueError,
]


@pytest.mark.parametrize("here", LATE)
def test_nothing_that_a_worker_raises_can_fail_in_the_app(monkeypatch, here):
    failure = Failure.capture(raised(Late("why")))
    assert type(failure.rebuild("w-0")) is Late
    monkeypatch.setitem(globals(), "HERE", here)
    error = failure.rebuild("w-0")
    assert type(error) is RemoteError
    assert (error.type_name, error.message) == (f"{__name__}.Late", "why")
    assert "in raised\n" in error.__notes__[-1]


def test_but_an_interruption_of_the_app_goes_on(monkeypatch):
    failure = Failure.capture(Late("why"))
    monkeypatch.setitem(globals(), "HERE", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        failure.rebuild("w-0")


class Unnotable(Exception):
    """Takes no notes."""

    def add_note(self, note: str) -> None:
        raise TypeError("no notes")


@pytest.mark.parametrize("notes", ["a string", 3, ("a tuple",), {"a": "dict"}])
def test_notes_that_are_no_list_are_no_reason_to_fail(notes):
    failure: Any = Plain("why")
    failure.__notes__ = notes
    error = travelled(failure)
    assert type(error) is RemoteError
    assert error.message == "why"
    assert error.notes == (notes if isinstance(notes, tuple) else ())
    assert "in worker w-0" in error.__notes__[0]


def test_a_class_that_takes_no_notes_is_described():
    error = travelled(Unnotable("why"))
    assert type(error) is RemoteError
    assert error.type_name == f"{__name__}.Unnotable"


# What an exception says, if its class lets it


class Unrendered(Exception):
    """Cannot be rendered: the traceback module asks each exception for its cause."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__cause__":
            raise LookupError("cause")
        return super().__getattribute__(name)


def test_one_that_cannot_be_rendered_says_so():
    failure = raised(Unrendered("why"))
    captured = Failure.capture(failure)
    assert captured.rendered == "Unrendered: <it cannot be rendered>"
    assert captured.message == "why"


class Endless(Exception):
    def __str__(self) -> str:
        return f"{self!s}"


TEXTS: Any = [
    (ValueError("why"), "why"),
    (ValueError(), ""),
    (ValueError(1, 2), "(1, 2)"),
    (KeyError("k"), "'k'"),
    (Muted("why"), "<its str() fails>"),
    (Numeric("why"), "<its str() fails>"),
    (Endless(), "<its str() fails>"),
]


@pytest.mark.parametrize(("failure", "text"), TEXTS)
def test_its_text_is_its_str_where_there_is_one(failure, text):
    assert text_of(failure) == text


NOTES: Any = [
    ([], ()),
    (["a", "b"], ("a", "b")),
    (("a", "b"), ("a", "b")),
    ([1, "a", None, b"b", "c"], ("a", "c")),
    ("a string", ()),
    ({"a": "dict"}, ()),
    (None, ()),
    (3, ()),
]


@pytest.mark.parametrize(("notes", "kept"), NOTES)
def test_of_its_notes_those_are_kept_that_are_strings_in_a_list(notes, kept):
    failure: Any = ValueError()
    assert notes_of(failure) == ()
    failure.__notes__ = notes
    assert notes_of(failure) == kept
