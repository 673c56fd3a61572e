"""Calls and answers as they travel.

Invariants:

* The first element of both is the number of the job, so that it can be told even
  where the rest does not unpickle.
* A function that is found by its name is pickled once in the pool, and looked up
  once in each worker.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Sequence
from struct import Struct
from types import FunctionType
from typing import Any, NamedTuple

from ..drivers.segment import peek
from ..supervisor.options import check_target
from ..supervisor.remote import Failure
from ..wire.payload import Draft, Payload, dumps, pack_item

__all__ = [
    "FAILED",
    "HELLO",
    "PART",
    "SKIPPED",
    "Call",
    "Functions",
    "References",
    "add_note",
    "draft_answer",
    "draft_call",
    "ident_of",
    "name_of",
    "pack_record",
    "pickles",
    "records",
    "unopened",
    "unreadable",
]

FAILED, SKIPPED, PART, HELLO = range(4)
"""What is in an answer of three parts: number, kind, data. Two are a result."""


class Call(NamedTuple):
    """What a worker is asked to do.

    ``args`` is a list for a chunk: calls with one argument each; or bytes, with the
    pickle of each. ``values`` are those of context variables.
    """

    ident: int
    function: Any
    args: Any
    kwargs: dict[str, Any] | None = None
    values: dict[int, Any] | None = None


_MOST_KNOWN = 4096
_RECORD = Struct("<IB")
_PARTS = ("number", "the function", "args", "kwargs", "context variables")
_ATOMS = frozenset({bool, bytes, complex, float, int, str, type(None)})
"""Types whose instances cannot be changed, and have no parts."""
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1"})


def name_of(function: object) -> str:
    """What a function is called in messages."""
    while hasattr(function, "func"):  # a partial
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name)


class References:
    """The pickles of functions that were called before."""

    def __init__(self) -> None:
        self._known: dict[FunctionType, bytes] = {}

    def of(self, function: object) -> object:
        """What stands for a function in a call: its pickle, or the function itself.

        Raises TypeError for one that no worker could find.
        """
        if type(function) is not FunctionType:
            return function
        try:
            return self._known[function]
        except KeyError:
            pass
        check_target(function)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = self._known[function] = dumps(function, 5)
        return known


class Functions:
    """The functions that a worker was called with before, by their pickles."""

    def __init__(self) -> None:
        self._known: dict[bytes, Callable[..., Any]] = {}

    def find(self, reference: object) -> Callable[..., Any]:
        """The function; raises what its import raises."""
        if type(reference) is not bytes:
            return reference  # type: ignore[return-value]
        try:
            return self._known[reference]
        except KeyError:
            pass
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        function: Callable[..., Any] = pickle.loads(reference)
        self._known[reference] = function
        return function


def draft_call(
    ident: int,
    reference: object,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    values: dict[int, Any] | None = None,
) -> bytes | Draft:
    """Pickle a call; a list of arguments is a chunk of calls with one each.

    Raises what the pickler raises, with the culprit in a note.
    """
    if type(args) is list and not _ATOMS.issuperset(map(type, args)):
        # Each by itself: what several have in common is not to be shared there, or what
        # a call does to its argument would depend on how many there are in a chunk.
        args = b"".join(map(pack_record, args))
    if kwargs or values:
        return pack_item((ident, reference, args, kwargs, values), _PARTS)
    return pack_item((ident, reference, args), _PARTS)


def draft_answer(answer: tuple[Any, ...]) -> bytes | Draft:
    """Pickle an answer. Raises as ``draft_call`` does."""
    return pack_item(answer, ("number", "the result", "the answer"))


def ident_of(payload: Payload) -> int:
    """The number of the job in a message whose rest does not unpickle."""
    for opcode, argument, _ in pickletools.genops(peek(payload, 64)):
        if opcode.name in _NUMBERS:
            return int(argument or 0)
    raise ValueError("a message without a number")


def pack_record(value: object) -> bytes:
    """One result of a chunk, or the Failure in its place, as the outbox has it."""
    data = dumps(value, 5)
    return _RECORD.pack(len(data), isinstance(value, Failure)) + data


def pickles(data: bytes) -> list[memoryview]:
    """The inputs of a chunk, each as its pickle."""
    found: list[memoryview] = []
    at, view = 0, memoryview(data)
    while at < len(data):
        length, _ = _RECORD.unpack_from(data, at)
        at += _RECORD.size + length
        found.append(view[at - length : at])
    return found


def unopened(failure: BaseException) -> None:
    """Say of what was raised that it comes from unpickling arguments."""
    add_note(
        failure,
        "aioprocq: the job's arguments could not be unpickled in its worker; "
        "see that their classes can be imported there",
    )


def records(data: bytes) -> list[tuple[bool, Any]]:
    """What an outbox has: for each result whether it failed, and the result.

    A result that does not unpickle here has failed with what that raised.
    """
    found: list[tuple[bool, Any]] = []
    at, view = 0, memoryview(data)
    while at < len(data):
        length, failed = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        try:
            found.append((bool(failed), pickle.loads(view[at : at + length])))
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # whatever: it is one result's
            found.append((True, unreadable(failure)))
        at += length
    return found


def unreadable(failure: BaseException) -> BaseException:
    """What is raised for a result that does not unpickle."""
    add_note(
        failure,
        "aioprocq: the job has returned, and its result could not be unpickled here; "
        "see that its class can be imported in this process",
    )
    return failure


def add_note(failure: BaseException, note: str) -> None:
    """Add a note, if the exception takes any."""
    try:
        failure.add_note(note)
    except Exception:  # what was raised is more important
        pass
