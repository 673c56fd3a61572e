"""Calls and answers as they travel."""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import pytest

from aioprocq.drivers.segment import build_parcel
from aioprocq.pool import calls
from aioprocq.pool.calls import (
    Call,
    Functions,
    References,
    add_note,
    draft_answer,
    draft_call,
    ident_of,
    name_of,
    pack_record,
    pickles,
    records,
)
from aioprocq.supervisor.remote import Failure
from aioprocq.wire.payload import Payload

from . import jobs

IDENTS = [0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**40, 2**63]


def payload_of(draft: Any) -> Payload:
    return draft if isinstance(draft, bytes) else build_parcel(draft)


@pytest.mark.parametrize("ident", IDENTS)
def test_the_number_is_found_where_the_rest_does_not_unpickle(ident):
    for argument in (jobs.BadInWorker(), [jobs.BadInWorker(), "x" * 100]):
        assert ident_of(payload_of(draft_call(ident, b"ref", (argument,)))) == ident
        assert ident_of(payload_of(draft_answer((ident, argument)))) == ident
    answer = draft_answer((ident, calls.FAILED, jobs.BadInWorker()))
    assert ident_of(payload_of(answer)) == ident
    keywords = draft_call(ident, b"ref", (), {"a": 1}, {0: 2})
    assert ident_of(payload_of(keywords)) == ident


@pytest.mark.parametrize("ident", IDENTS)
def test_the_number_of_what_lies_in_a_segment(ident):
    for argument in ("x" * (1 << 20), bytearray(1 << 20), [jobs.BadInWorker()] * 50000):
        payload = payload_of(draft_call(ident, b"ref", (argument,)))
        assert not isinstance(payload, bytes)
        assert ident_of(payload) == ident


def test_what_has_no_number():
    with pytest.raises(ValueError, match="without a number"):
        ident_of(payload_of(draft_answer(("x",))))


def test_a_function_is_pickled_once_and_found_once():
    references, functions = References(), Functions()
    reference = references.of(jobs.double)
    assert isinstance(reference, bytes)
    assert references.of(jobs.double) is reference
    assert functions.find(reference) is jobs.double
    assert functions.find(reference) is functions.find(bytes(reference))
    for other in (len, math.factorial, jobs.Multiplier(2).times, jobs.Multiplier):
        assert references.of(other) is other
        assert functions.find(other) is other


def test_functions_that_no_worker_finds_are_refused():
    def local() -> None: ...

    def generator() -> Any:
        yield

    for function in (local, lambda: 1, generator):
        with pytest.raises(TypeError):
            References().of(function)


def test_the_caches_do_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(calls, "_MOST_KNOWN", 2)
    references, functions = References(), Functions()
    for function in (jobs.double, jobs.pid, jobs.fail, jobs.double):
        reference = references.of(function)
        assert functions.find(reference) is function
        assert len(references._known) <= 2
        assert len(functions._known) <= 2


def test_a_reference_that_leads_nowhere():
    with pytest.raises(AttributeError):
        Functions().find(b"\x80\x05cos\nno_such_thing\n.")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (jobs.double, "double"),
        (functools.partial(functools.partial(jobs.double, 1)), "double"),
        (jobs.Multiplier(1).times, "Multiplier.times"),
        (jobs.Multiplier(1), "Multiplier"),
        (len, "len"),
    ],
)
def test_names(function, name):
    assert name_of(function) == name


def test_a_call_without_more_is_a_short_one():
    import pickle

    short = draft_call(1, b"f", (2,))
    assert isinstance(short, bytes)
    assert Call(*pickle.loads(short)) == Call(1, b"f", (2,), None, None)
    long = draft_call(1, b"f", (2,), {"a": 3}, {0: 4})
    assert isinstance(long, bytes)
    assert Call(*pickle.loads(long)) == Call(1, b"f", (2,), {"a": 3}, {0: 4})


def test_records_come_out_as_they_went_in():
    failure = Failure.capture(ValueError("why"))
    values = [1, None, "x" * 1000, failure, [failure]]
    data = b"".join(map(pack_record, values))
    found = records(data)
    assert [failed for failed, _ in found] == [False, False, False, True, False]
    assert [value for _, value in found] == values
    assert records(b"") == []


@pytest.mark.parametrize("how", ["raise", "leave", "cancelled"])
def test_a_record_that_does_not_unpickle_fails_alone(how):
    import os

    data = pack_record(1) + pack_record(jobs.BadAtHome(os.getpid(), how))
    (_, one), (failed, failure), (_, three) = records(data + pack_record(3))
    assert (one, three, failed) == (1, 3, True)
    assert isinstance(failure, BaseException)
    assert "could not be unpickled here" in str(failure.__notes__)


def test_a_note_is_left_out_where_none_is_taken():
    failure = jobs.NotedError("n")
    add_note(failure, "more")
    assert failure.__notes__ == "not a list"
    other = ValueError()
    add_note(other, "more")
    assert other.__notes__ == ["more"]


def test_inputs_that_cannot_be_changed_travel_together():
    import pickle

    inputs = [1, "a", b"b", None, 2.5, True, 1j]
    packed = draft_call(1, b"f", inputs)
    assert isinstance(packed, bytes)
    assert Call(*pickle.loads(packed)).args == inputs


def test_all_others_are_pickled_one_by_one():
    import pickle

    shared = ["x"]
    packed = draft_call(1, b"f", [shared, (shared, 2), 3])
    assert isinstance(packed, bytes)
    data = Call(*pickle.loads(packed)).args
    one, two, three = map(pickle.loads, pickles(data))
    assert (one, two, three) == (["x"], (["x"], 2), 3)
    assert one is not two[0]
    assert pickles(b"") == []


def test_what_does_not_pickle_is_named():
    with pytest.raises(TypeError) as caught:
        draft_call(1, b"f", (1, {"lock": threading.Lock()}))
    assert "args[1]['lock'] cannot be pickled" in caught.value.__notes__[0]
    with pytest.raises(TypeError) as caught:
        draft_call(1, b"f", (), {"key": threading.Lock()})
    assert "kwargs['key'] cannot be pickled" in caught.value.__notes__[0]
    with pytest.raises(TypeError) as caught:
        draft_answer((1, [threading.Lock()]))
    assert "the result[0] cannot be pickled" in caught.value.__notes__[0]
